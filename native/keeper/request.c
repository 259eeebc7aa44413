#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../wire/cleanup.h"
#include "keeper.h"

/* A request: what it says and whom to answer. Returns 0, or an errno when it is refused. */
struct request {
    const struct wire_record *record;
    struct reply reply;
    int *descriptor;
    const char *reason; /* of a refusal, for people */
};

typedef int (*request_call)(struct keeper *keeper, struct request *request);

static int refuse(struct request *request, int error, const char *reason)
{
    request->reason = reason;
    return error;
}

static const char *state_name(const struct task *task)
{
    switch (task->state) {
    case TASK_WAITING:
    case TASK_STARTING:
        return "waiting";
    case TASK_RUNNING:
        return "running";
    default:
        return "exited";
    }
}

static int hello(struct keeper *keeper, struct request *request)
{
    struct wire_record answer = {0};
    const struct task *task = keeper->main;
    wire_put(&answer, "version", WIRE_VERSION);
    wire_put(&answer, "id", keeper->conf.id);
    wire_put(&answer, "state", state_name(task));
    wire_put_number(&answer, "pid", task->pid);
    wire_put_number(&answer, "started", task->started);
    wire_put_number(&answer, "code", task->code);
    for (const struct task *at = keeper->tasks; at != NULL; at = at->next)
        if (!at->is_main && !at->is_call && !at->dead && at->state == TASK_RUNNING)
            wire_put(&answer, "execs", at->id);
    reply_record(keeper, request->reply, &answer);
    wire_record_free(&answer);
    return 0;
}

static int answer_ok(struct keeper *keeper, struct request *request)
{
    struct wire_record nothing = {0};
    reply_record(keeper, request->reply, &nothing);
    return 0;
}

/* A client's stream: a stream socket, or a pipe for a call to the agent. */
static int check_descriptor(struct request *request)
{
    struct stat stat;
    if (*request->descriptor < 0)
        return 0;
    if (fstat(*request->descriptor, &stat) < 0 ||
        !(S_ISSOCK(stat.st_mode) || S_ISFIFO(stat.st_mode)))
        return refuse(request, EINVAL, "the descriptor is no socket and no pipe");
    return 0;
}

static int attach(struct keeper *keeper, struct request *request)
{
    if (*request->descriptor < 0)
        return refuse(request, EINVAL, "attach needs a descriptor");
    int error = check_descriptor(request);
    if (error != 0)
        return error;
    if (keeper->main->state > TASK_RUNNING)
        return refuse(request, ESRCH, "the guest has ended");
    error = client_open(keeper, keeper->main, steal_fd(*request->descriptor), request->record);
    if (error != 0)
        return refuse(request, -error, "cannot attach");
    return answer_ok(keeper, request);
}

static int start(struct keeper *keeper, struct request *request)
{
    struct task *task = keeper->main;
    if (task->state != TASK_WAITING)
        return refuse(request, EALREADY, "the guest was started already");
    task->reply = request->reply;
    task->state = TASK_STARTING;
    keeper->oom_before = text_oom_kills(keeper->conf.oom);
    int error = keeper->carrier->start(keeper, task);
    if (error < 0)
        task_failed(keeper, task, -error, 125, "the keeper cannot start the engine");
    return 0;
}

static struct task *target_of(struct keeper *keeper, struct request *request)
{
    const char *target = wire_get(request->record, "target");
    struct task *task = target ? task_find(keeper, target) : NULL;
    if (task != NULL && !task->is_call)
        return task;
    request->reason = "there is no such process";
    return NULL;
}

static int send_signal(struct keeper *keeper, struct request *request)
{
    int64_t number;
    if (wire_number(request->record, "signal", 1, 64, 0, &number) != 0 || number == 0)
        return refuse(request, EINVAL, "a signal is a number from 1 to 64");
    struct task *task = target_of(keeper, request);
    if (task == NULL)
        return ESRCH;
    if (task->state != TASK_RUNNING)
        return refuse(request, ESRCH, "the process does not run");
    int error = keeper->carrier->signal(keeper, task, (int)number);
    return error < 0 ? refuse(request, -error, "the signal could not be sent")
                     : answer_ok(keeper, request);
}

static int read_size(const struct wire_record *record, struct task *task)
{
    int64_t rows, columns;
    if (wire_number(record, "rows", 0, UINT16_MAX, 0, &rows) != 0 ||
        wire_number(record, "columns", 0, UINT16_MAX, 0, &columns) != 0)
        return -EINVAL;
    task->rows = (uint16_t)rows;
    task->columns = (uint16_t)columns;
    return 0;
}

/* A size that comes before the process runs is applied when it does. */
static int resize(struct keeper *keeper, struct request *request)
{
    struct task *task = target_of(keeper, request);
    if (task == NULL)
        return ESRCH;
    if (!task->tty)
        return refuse(request, ENOTTY, "the process has no terminal");
    if (read_size(request->record, task) != 0)
        return refuse(request, EINVAL, "rows and columns are numbers from 0 to 65535");
    int error = task->state == TASK_RUNNING ? keeper->carrier->resize(keeper, task) : 0;
    return error < 0 ? refuse(request, -error, "the terminal could not be resized")
                     : answer_ok(keeper, request);
}

static int open_task(struct keeper *keeper, struct request *request, const char *id, bool is_call,
                     struct task **out)
{
    int error = check_descriptor(request);
    if (error != 0)
        return error;
    if (keeper->main->state != TASK_RUNNING)
        return refuse(request, ESRCH, "the guest does not run");
    struct task *task = task_new(keeper, id);
    if (task == NULL)
        return refuse(request, EMFILE, "too many processes are under way");
    task->reply = request->reply;
    task->tty = wire_flag(request->record, "tty");
    task->is_call = is_call;
    task->with_stdin = is_call ? machine_call_reads(wire_get(request->record, "call"))
                               : wire_flag(request->record, "stdin") && *request->descriptor >= 0;
    task->state = TASK_STARTING;
    if (*request->descriptor >= 0)
        error = -client_open(keeper, task, steal_fd(*request->descriptor), request->record);
    if (error != 0) {
        task_free(keeper, task);
        return refuse(request, error, "the descriptor cannot be used");
    }
    *out = task;
    return 0;
}

static int execute(struct keeper *keeper, struct request *request)
{
    const char *id = wire_get(request->record, "id");
    struct task *task;
    if (id == NULL || !text_valid_id(id) || strcmp(id, "main") == 0)
        return refuse(request, EINVAL, "an exec needs an id of letters and digits");
    if (task_find(keeper, id) != NULL)
        return refuse(request, EEXIST, "an exec with this id is under way");
    int error = open_task(keeper, request, id, false, &task);
    if (error != 0)
        return error;
    error = read_size(request->record, task);
    if (error == 0)
        error = keeper->carrier->exec(keeper, task, request->record);
    if (error < 0)
        task_failed(keeper, task, -error, 125, "the keeper cannot run the process");
    return 0;
}

static int agent(struct keeper *keeper, struct request *request)
{
    char id[32];
    struct task *task;
    if (!keeper->conf.machine)
        return refuse(request, EOPNOTSUPP, "a container has no agent");
    if (wire_get(request->record, "call") == NULL)
        return refuse(request, EINVAL, "the call has no name");
    /* No exec can have this name: ids begin with no dash. */
    snprintf(id, sizeof id, "-%llu", (unsigned long long)++keeper->serial);
    int error = open_task(keeper, request, id, true, &task);
    if (error != 0)
        return error;
    error = machine_call(keeper, task, request->record);
    if (error < 0)
        task_failed(keeper, task, -error, 0, "the agent cannot be asked");
    return 0;
}

void request_run(struct keeper *keeper, struct connection *connection)
{
    static const request_call calls[] = {
        [WIRE_HELLO] = hello,        [WIRE_ATTACH] = attach, [WIRE_START] = start,
        [WIRE_SIGNAL] = send_signal, [WIRE_RESIZE] = resize, [WIRE_EXEC] = execute,
        [WIRE_AGENT] = agent,
    };
    struct request request = {
        .record = &connection->record,
        .reply = {connection->serial, connection->record.channel},
        .descriptor = &connection->descriptor,
        .reason = "no such request",
    };
    uint8_t type = connection->record.type;
    request_call call = type < sizeof calls / sizeof *calls ? calls[type] : NULL;
    int error = call != NULL ? call(keeper, &request) : EPROTO;
    if (error == 0)
        return;
    if (connection->descriptor >= 0)
        close(steal_fd(connection->descriptor));
    reply_error(keeper, request.reply, error, 0, request.reason);
}
