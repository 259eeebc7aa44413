#include "agent.h"
#include "module.h"
#include "port.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How long the other processes may take to die after the main one, before the machine goes. */
enum { LEAVE_MS = 1000, POLL_MAX = 2 + 4 * JOBS_MAX };

int64_t monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void kill_all(struct agent *agent)
{
    if (agent->machine && getpid() == 1) {
        kill(-1, SIGKILL);
        return;
    }
    for (struct job *job = agent->jobs; job != NULL; job = job->next)
        if (job->child.pid > 0)
            kill(job->child.pid, SIGKILL);
}

static void reap(struct agent *agent, int64_t now)
{
    struct signalfd_siginfo drop[8];
    while (read(agent->signals, drop, sizeof drop) > 0)
        ;
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        for (struct job *job = agent->jobs; job != NULL; job = job->next)
            if (job->child.pid == pid)
                job_reaped(job, status, now);
        if (pid == agent->main_pid) {
            agent->main_ended_at = now;
            kill_all(agent);
        }
    }
}

static void receive(struct agent *agent)
{
    struct wire_frame frame;
    int found;
    link_receive(&agent->link);
    while (!agent->link.gone && (found = wire_parser_next(&agent->link.parser, &frame)) != 0) {
        if (found < 0)
            agent->link.gone = true;
        else
            dispatch(agent, &frame);
    }
}

/* The main process' end is the last word: the other jobs are given their own before. */
static bool may_conclude(const struct agent *agent, const struct job *job, int64_t now)
{
    if (job->kind != JOB_MAIN || agent->main_ended_at == 0)
        return true;
    for (const struct job *other = agent->jobs; other != NULL; other = other->next)
        if (other != job && !other->over)
            return now - agent->main_ended_at > LEAVE_MS;
    return true;
}

static void pump(struct agent *agent, int64_t now)
{
    for (struct job **slot = &agent->jobs; *slot != NULL;) {
        struct job *job = *slot;
        job_pump(job, &agent->link, now);
        bool over = may_conclude(agent, job, now) && job_conclude(job, &agent->link);
        if (over && job->kind == JOB_MAIN)
            agent->leaving = true;
        if (!job_done(job)) {
            slot = &job->next;
            continue;
        }
        *slot = job->next;
        agent->job_count--;
        job_free(job);
    }
}

/* Modules that no program waits for are loaded beside the guest's work. */
static void load_late(struct agent *agent, int64_t now)
{
    if (agent->late_at == 0 || now < agent->late_at)
        return;
    agent->late_at = 0;
    if (fork() != 0)
        return;
    struct failure why;
    load_modules(agent->initramfs, "late", &why);
    if (has_pci())
        load_modules(agent->initramfs, "grow", &why);
    drop_initramfs(agent->initramfs);
    _exit(0);
}

static int sooner(int one, int64_t other)
{
    if (other < 0)
        other = 0;
    return one < 0 || other < one ? (int)other : one;
}

static int timeout_of(const struct agent *agent, int64_t now)
{
    int timeout = -1;
    for (const struct job *job = agent->jobs; job != NULL; job = job->next) {
        int wish = job_timeout(job, now);
        if (wish >= 0)
            timeout = sooner(timeout, wish);
    }
    if (agent->late_at != 0)
        timeout = sooner(timeout, agent->late_at - now);
    if (agent->main_ended_at != 0)
        timeout = sooner(timeout, agent->main_ended_at + LEAVE_MS + 1 - now);
    return timeout;
}

void serve(struct agent *agent)
{
    struct pollfd polls[POLL_MAX];
    while (!agent->leaving && !agent->link.gone) {
        bool busy = link_pending(&agent->link) >= LINK_BUSY;
        short out = link_pending(&agent->link) > 0 ? POLLOUT : 0;
        size_t count = 0;
        polls[count++] = (struct pollfd){.fd = agent->link.fd, .events = (short)(POLLIN | out)};
        polls[count++] = (struct pollfd){.fd = agent->signals, .events = POLLIN};
        for (struct job *job = agent->jobs; job != NULL; job = job->next)
            count += job_poll(job, busy, polls + count);
        poll(polls, count, timeout_of(agent, monotonic()));
        int64_t now = monotonic();
        if (polls[0].revents & (POLLIN | POLLHUP | POLLERR))
            receive(agent);
        reap(agent, now);
        pump(agent, now);
        link_flush(&agent->link);
        load_late(agent, now);
    }
}
