#include "agent.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* Modules that can wait are loaded this long after the main process started. */
enum { LATE_MS = 300 };

void send_failure(struct agent *agent, uint32_t channel, const struct failure *why)
{
    struct wire_record record = {0};
    wire_put(&record, "message", why->message);
    wire_put_number(&record, "errno", why->error);
    wire_put_number(&record, "exit", why->exit);
    link_record(&agent->link, WIRE_A_ERROR, channel, &record);
}

struct job *find_job(struct agent *agent, uint32_t channel)
{
    for (struct job *job = agent->jobs; job != NULL; job = job->next)
        if (job->channel == channel && !job->over)
            return job;
    return NULL;
}

/* Room for a new job: output that nobody hears is given up first. */
static bool make_place(struct agent *agent)
{
    for (struct job **slot = &agent->jobs; agent->job_count >= JOBS_MAX && *slot != NULL;) {
        struct job *job = *slot;
        if (!job->over || job->child.pid != 0) {
            slot = &job->next;
            continue;
        }
        *slot = job->next;
        agent->job_count--;
        job_free(job);
    }
    return agent->job_count < JOBS_MAX;
}

void start_job(struct agent *agent, uint32_t channel, enum job_kind kind, struct order *order,
               child_body *body)
{
    struct failure why = {.exit = kind == JOB_CALL ? 0 : 126};
    struct child child;
    order->channel = channel;
    order->config = &agent->config;
    order->root = agent->root;
    order->upper = agent->upper;
    order->lower = agent->lower;
    int error = find_job(agent, channel) != NULL ? -EEXIST : make_place(agent) ? 0 : -EAGAIN;
    if (error == 0)
        error = child_start(order, body, &child);
    if (error != 0) {
        fail(&why, -error, "cannot start a process");
        send_failure(agent, channel, &why);
        return;
    }
    struct job *job = job_new(channel, kind, &child, order->terminal);
    if (job == NULL) {
        kill(child.pid, SIGKILL);
        agent->link.gone = true;
        return;
    }
    job->next = agent->jobs;
    agent->jobs = job;
    agent->job_count++;
    if (kind == JOB_MAIN)
        agent->main_pid = child.pid;
}

static void spawn(struct agent *agent, uint32_t channel, enum job_kind kind,
                  const struct wire_record *request)
{
    struct order order = {
        .request = request,
        .terminal = wire_flag(request, "tty"),
        .has_input = wire_flag(request, "stdin"),
        .has_output = true,
        .has_error = true,
    };
    int64_t rows, columns;
    wire_number(request, "rows", 0, 65535, 0, &rows);
    wire_number(request, "columns", 0, 65535, 0, &columns);
    start_job(agent, channel, kind, &order, child_program);
    struct job *job = find_job(agent, channel);
    if (job != NULL && job->terminal && rows + columns > 0)
        set_size(job->child.out, rows, columns);
}

static void apply_config(struct agent *agent)
{
    struct failure why = {.exit = 125};
    if (agent->configured) {
        agent->link.gone = true;
        return;
    }
    agent->configured = true;
    agent->config = agent->incoming;
    agent->incoming = (struct wire_record){0};
    if (agent->machine && configure(agent, &why) != 0) {
        why.exit = 125;
        send_failure(agent, 1, &why);
        agent->leaving = true;
        return;
    }
    spawn(agent, 1, JOB_MAIN, &agent->config);
    if (agent->initramfs >= 0)
        agent->late_at = monotonic() + LATE_MS;
    if (agent->main_pid == 0)
        agent->leaving = true;
}

static void apply_record(struct agent *agent)
{
    struct wire_record *record = &agent->incoming;
    struct job *job = find_job(agent, record->channel);
    int64_t first, second;
    switch (record->type) {
    case WIRE_A_CONFIG:
        apply_config(agent);
        break;
    case WIRE_A_SPAWN:
        if (agent->configured)
            spawn(agent, record->channel, JOB_EXEC, record);
        break;
    case WIRE_A_SIGNAL:
        if (wire_number(record, "signal", 1, 64, 0, &first) == 0 && first > 0 && job != NULL &&
            job->child.pid > 0)
            kill(job->child.pid, (int)first);
        break;
    case WIRE_A_RESIZE:
        wire_number(record, "rows", 0, 65535, 0, &first);
        wire_number(record, "columns", 0, 65535, 0, &second);
        if (job != NULL && job->terminal && job->child.out >= 0)
            set_size(job->child.out, first, second);
        break;
    case WIRE_A_CALL:
        dispatch_call(agent, record->channel);
        break;
    }
}

static void take_credit(struct agent *agent, const struct wire_frame *frame)
{
    struct job *job = find_job(agent, frame->channel);
    if (frame->length != 4) {
        agent->link.gone = true;
        return;
    }
    uint32_t more = wire_get_u32(frame->payload);
    if (job != NULL && __builtin_add_overflow(job->credit, more, &job->credit))
        agent->link.gone = true;
}

void dispatch(struct agent *agent, const struct wire_frame *frame)
{
    struct job *job;
    if (agent->incoming.partial && frame->type != agent->incoming.type) {
        agent->link.gone = true;
        return;
    }
    switch (frame->type) {
    case WIRE_A_DATA:
        job = find_job(agent, frame->channel);
        if (job != NULL && !job_input(job, frame->payload, frame->length))
            agent->link.gone = true;
        break;
    case WIRE_A_EOF:
        job = find_job(agent, frame->channel);
        if (job != NULL)
            job->input_ended = true;
        break;
    case WIRE_A_CREDIT:
        take_credit(agent, frame);
        break;
    case WIRE_A_CONFIG:
    case WIRE_A_SPAWN:
    case WIRE_A_SIGNAL:
    case WIRE_A_RESIZE:
    case WIRE_A_CALL: {
        int state = wire_record_add(&agent->incoming, frame);
        if (state < 0)
            agent->link.gone = true;
        else if (state > 0)
            apply_record(agent);
        break;
    }
    default:
        agent->link.gone = true;
    }
}
