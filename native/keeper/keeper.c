#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper.h"

#define EVENTS 16
#define END_MS 5000 /* for the last events and for processes that were killed */

/*
 * While an engine is under way its children may end before their pids are known. They are left
 * unreaped until then, so that their status is still there: only known children are waited for.
 */
static void reap(struct keeper *keeper)
{
    int status;
    bool under_way = false;
    for (struct task *at = keeper->tasks; at != NULL; at = at->next)
        under_way |= at->engine > 0;
    if (under_way) {
        pid_t pid;
        for (size_t n = 0; (pid = keeper->carrier->child(keeper, n)) > 0;)
            if (waitpid(pid, &status, WNOHANG) != pid)
                n++;
            else if (!keeper->carrier->reaped(keeper, pid, status))
                return;
        for (struct task *at = keeper->tasks; at != NULL; at = at->next)
            if (at->engine > 0)
                return;
    }
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        keeper->carrier->reaped(keeper, pid, status);
}

static void signals_ready(struct keeper *keeper, struct source *source, uint32_t events)
{
    struct signalfd_siginfo info;
    bool child = false;
    (void)events;
    while (read(source->fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            child = true;
        else if (keeper->main->state == TASK_WAITING)
            keeper_end(keeper);
    }
    if (child)
        reap(keeper);
}

/*
 * Before it moves a process to another control group the kernel waits for an RCU grace period, some
 * 10 ms, unless it has just waited for one. A child that moves itself to where it is already makes
 * it wait now, while the engine, which is going to move the guest, is still being started.
 */
static void nudge(const char *file)
{
    if (file == NULL || fork() != 0)
        return;
    syscall(SYS_close_range, 0, ~0U, 0); /* what is reserved ends with the keeper */
    int fd = open(file, O_WRONLY);
    _exit(fd >= 0 && write(fd, "0", 1) == 1 ? 0 : 1);
}

int keeper_open(struct keeper *keeper)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_SETMASK, &set, NULL) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return -errno;
    setsid();
    keeper->epoll = epoll_create1(EPOLL_CLOEXEC);
    keeper->chunk = malloc(CHUNK);
    keeper->main = task_new(keeper, "main");
    if (keeper->epoll < 0 || keeper->chunk == NULL || keeper->main == NULL)
        return keeper->epoll < 0 ? -errno : -ENOMEM;
    keeper->main->is_main = true;
    keeper->main->tty = keeper->conf.tty;
    keeper->main->with_stdin = keeper->conf.with_stdin;
    keeper->carrier = keeper->conf.machine ? &machine_carrier : &container_carrier;
    log_open(&keeper->log, &keeper->conf);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    int error = fd < 0 ? -errno : 0;
    if (error == 0)
        error = source_open(keeper, &keeper->signals, fd, EPOLLIN, signals_ready);
    if (error == 0)
        nudge(wire_get(&keeper->conf.record, "nudge"));
    return error == 0 ? control_open(keeper) : error;
}

void keeper_end(struct keeper *keeper)
{
    if (keeper->ending)
        return;
    keeper->ending = true;
    keeper->deadline = clock_ms() + END_MS;
    keeper->carrier->stop(keeper);
}

/* --- the loop -----------------------------------------------------------------------------------
 */

static void sweep_clients(struct task *task)
{
    for (struct client **at = &task->clients; *at != NULL;) {
        struct client *client = *at;
        if (!client->dead) {
            at = &client->next;
            continue;
        }
        *at = client->next;
        free(client);
    }
}

/* Frees what ended during the last round. The main task stays: others ask for its state. */
static void sweep(struct keeper *keeper)
{
    for (struct task **at = &keeper->tasks; *at != NULL;) {
        struct task *task = *at;
        sweep_clients(task);
        if (!task->dead || (task == keeper->main && !keeper->over) || task->engine > 0) {
            at = &task->next;
            continue;
        }
        *at = task->next;
        free(task);
    }
    for (struct connection **at = &keeper->connections; *at != NULL;) {
        struct connection *connection = *at;
        if (!connection->dead) {
            at = &connection->next;
            continue;
        }
        *at = connection->next;
        connection_free(connection);
    }
}

static void sooner(int64_t *deadline, int64_t other)
{
    if (other != 0 && (*deadline == 0 || other < *deadline))
        *deadline = other;
}

/* Acts on passed deadlines and returns how long to wait for the next one, in ms. */
static int run_deadlines(struct keeper *keeper)
{
    int64_t now = clock_ms(), next = keeper->deadline;
    for (struct task *task = keeper->tasks; task != NULL; task = task->next) {
        for (struct client *at = task->clients; at != NULL; at = at->next) {
            if (!at->dead && at->deadline != 0 && at->deadline <= now)
                client_close(keeper, at);
            if (!at->dead)
                sooner(&next, at->deadline);
        }
        if (!task->dead && task->deadline != 0 && task->deadline <= now)
            keeper->carrier->expired(keeper, task);
        if (!task->dead)
            sooner(&next, task->deadline);
    }
    if (next == 0)
        return -1;
    return next <= now ? 0 : (int)(next - now);
}

static bool finished(struct keeper *keeper)
{
    if (!keeper->ending)
        return false;
    if (clock_ms() >= keeper->deadline)
        return true;
    for (struct task *at = keeper->tasks; at != NULL; at = at->next)
        if (!at->dead && !(at->is_main && at->state == TASK_WAITING))
            return false;
    for (struct connection *at = keeper->connections; at != NULL; at = at->next)
        if (!at->dead && buffer_size(&at->out) > 0)
            return false;
    /* When the keeper is gone nothing holds the guest's disks any more. */
    return keeper->carrier->child(keeper, 0) == 0;
}

static void close_all(struct keeper *keeper)
{
    log_close(&keeper->log);
    for (struct task *at = keeper->tasks; at != NULL; at = at->next) {
        at->engine = 0;
        task_free(keeper, at);
    }
    for (struct connection *at = keeper->connections; at != NULL; at = at->next)
        connection_close(keeper, at);
    keeper->over = true;
    sweep(keeper);
    keeper->carrier->close(keeper);
    wire_record_free(&keeper->conf.record);
    free(keeper->chunk);
}

int keeper_run(struct keeper *keeper)
{
    struct epoll_event events[EVENTS];
    for (;;) {
        int timeout = run_deadlines(keeper);
        sweep(keeper);
        if (finished(keeper))
            break;
        int count = epoll_wait(keeper->epoll, events, EVENTS, timeout);
        if (count < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < count; i++) {
            struct source *source = events[i].data.ptr;
            if (source->fd >= 0)
                source->ready(keeper, source, events[i].events);
        }
    }
    close_all(keeper);
    unlink("keeper.sock");
    return 0;
}
