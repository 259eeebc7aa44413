/* A machine: QEMU carries the guest, and the agent in it starts processes and sends their streams.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../wire/cleanup.h"
#include "machine.h"

#define START_MS 180000 /* from QEMU's start to the main process' start, under emulation */
#define OFF_MS 10000    /* from the main process' end to QEMU's end */
#define CONSOLE_MAX (1 << 20)

/* --- programs -----------------------------------------------------------------------------------
 */

static void console_ready(struct keeper *keeper, struct source *source, uint32_t events)
{
    struct machine *machine = of_source(source, struct machine, console);
    (void)events;
    ssize_t count = read(source->fd, keeper->chunk, CHUNK);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        source_close(keeper, source);
        return;
    }
    size_t keep = (size_t)count;
    if (keep > CONSOLE_MAX - machine->console_size)
        keep = CONSOLE_MAX - machine->console_size;
    if (machine->console_log >= 0 && keep > 0 &&
        write(machine->console_log, keeper->chunk, keep) > 0)
        machine->console_size += keep;
}

static int spawn_aux(struct keeper *keeper, const char *const *env, int output)
{
    struct machine *machine = keeper->machine;
    uint32_t at = 0;
    for (const char *text; (text = wire_each(&keeper->conf.record, "aux", &at)) != NULL;) {
        cleanup_free char *copy = strdup(text);
        if (copy == NULL || machine->aux_count == AUX_MAX)
            return copy ? -E2BIG : -ENOMEM;
        const char *argv[AUX_ARGUMENTS + 1] = {0};
        size_t count = 0;
        for (char *rest = copy, *word; count < AUX_ARGUMENTS && (word = strsep(&rest, "\037"));)
            argv[count++] = word;
        struct spawn run = {.argv = argv,
                            .env = env,
                            .stdio = {-1, output, output},
                            .inherit = &keeper->conf.record};
        pid_t pid = spawn(&run);
        if (pid < 0)
            return pid;
        machine->aux[machine->aux_count++] = pid;
    }
    return 0;
}

static void close_inherited(const struct wire_record *record)
{
    uint32_t at = 0;
    for (const char *text; (text = wire_each(record, "child_fd", &at)) != NULL;)
        close(atoi(text));
}

static int spawn_all(struct keeper *keeper)
{
    struct machine *machine = keeper->machine;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    cleanup_close int theirs = ends[1];
    int error = source_open(keeper, &machine->console, ends[0], EPOLLIN, console_ready);
    cleanup_free const char **env = spawn_vector(&keeper->conf.record, "env", 0);
    cleanup_free const char **argv = spawn_vector(&keeper->conf.record, "argv", 0);
    if (error == 0 && (env == NULL || argv == NULL))
        error = -ENOMEM;
    if (error == 0)
        error = spawn_aux(keeper, env, theirs);
    if (error != 0)
        return error;
    struct spawn run = {
        .argv = argv, .env = env, .stdio = {-1, theirs, theirs}, .inherit = &keeper->conf.record};
    machine->qemu = spawn(&run);
    /* Only QEMU may hold its end of the link, or its death would not be seen. */
    close_inherited(&keeper->conf.record);
    return machine->qemu < 0 ? machine->qemu : 0;
}

static int machine_start(struct keeper *keeper, struct task *task)
{
    struct machine *machine = calloc(1, sizeof *machine);
    if (machine == NULL)
        return -ENOMEM;
    keeper->machine = machine;
    machine->link.fd = machine->console.fd = -1;
    machine->console_log = -1;
    if (keeper->conf.console_log != NULL)
        machine->console_log = open(keeper->conf.console_log,
                                    O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0640);
    int error = link_open(keeper);
    if (error == 0)
        error = spawn_all(keeper);
    if (error != 0)
        return error;
    link_channel(keeper, task);
    task->in_open = task->with_stdin;
    task->deadline = clock_ms() + START_MS;
    return 0;
}

/* --- the end of a machine ------------------------------------------------------------------------
 */

/* What no agent will answer any more. */
static void abandon(struct keeper *keeper, struct task *task, int code, const char *message)
{
    if (task->state == TASK_STARTING || (task->is_call && !task->answered)) {
        task_failed(keeper, task, EIO, 125, message);
        return;
    }
    if (task->state == TASK_RUNNING && !task->is_call) {
        task->code = code;
        snprintf(task->error, sizeof task->error, "%s", message);
    }
    task_done(keeper, task);
}

static void qemu_ended(struct keeper *keeper, int status)
{
    struct machine *machine = keeper->machine;
    char message[MESSAGE_MAX] = "";
    machine->qemu = 0;
    /* Its last words, and the agent's, are in the pipes. */
    while (machine->console.fd >= 0 && machine->console_size < CONSOLE_MAX) {
        size_t before = machine->console_size;
        console_ready(keeper, &machine->console, EPOLLIN);
        if (machine->console_size == before)
            break;
    }
    link_drain(keeper);
    if (keeper->main->state == TASK_STARTING)
        text_last_line_of(keeper->conf.console_log, message);
    if (machine->broken[0] != '\0')
        snprintf(message, sizeof message, "%s", machine->broken);
    if (message[0] == '\0')
        snprintf(message, sizeof message, "%s",
                 keeper->main->state == TASK_STARTING
                     ? "the machine ended before its agent answered"
                     : "the machine ended without an exit status");
    int code = WIFSIGNALED(status) && machine->broken[0] == '\0' ? 137 : 255;
    for (struct task *at = keeper->tasks; at != NULL; at = at->next)
        if (!at->is_main && !at->dead)
            abandon(keeper, at, 137, message);
    if (!keeper->main->dead)
        abandon(keeper, keeper->main, code, message);
}

void machine_lost(struct keeper *keeper, const char *message, bool kill_now)
{
    struct machine *machine = keeper->machine;
    struct wire_record event = {0};
    if (machine->qemu <= 0 || machine->broken[0] != '\0')
        return;
    if (keeper->main->state == TASK_ENDED && !kill_now)
        return; /* it powers off */
    if (kill_now) {
        snprintf(machine->broken, sizeof machine->broken, "%s", message);
        kill(machine->qemu, SIGKILL);
    } else if (keeper->main->deadline == 0) {
        keeper->main->deadline = clock_ms() + OFF_MS;
    }
    wire_put(&event, "event", "lost");
    wire_put(&event, "message", message);
    event_send(keeper, &event);
    wire_record_free(&event);
}

static void machine_expired(struct keeper *keeper, struct task *task)
{
    struct machine *machine = keeper->machine;
    task->deadline = 0;
    if (!task->is_main || machine == NULL)
        return;
    if (task->state == TASK_STARTING)
        snprintf(machine->broken, sizeof machine->broken,
                 "the machine's agent did not answer within %d s", START_MS / 1000);
    if (machine->qemu > 0)
        kill(machine->qemu, SIGKILL);
}

static bool machine_reaped(struct keeper *keeper, pid_t pid, int status)
{
    struct machine *machine = keeper->machine;
    if (machine == NULL)
        return false;
    if (pid == machine->qemu) {
        qemu_ended(keeper, status);
        return true;
    }
    for (size_t i = 0; i < machine->aux_count; i++)
        if (machine->aux[i] == pid) {
            machine->aux[i] = 0;
            struct wire_record event = {0};
            wire_put(&event, "event", "lost");
            wire_put(&event, "message", "a program beside the machine ended");
            event_send(keeper, &event);
            wire_record_free(&event);
            return true;
        }
    return false;
}

static pid_t machine_child(struct keeper *keeper, size_t n)
{
    struct machine *machine = keeper->machine;
    if (machine != NULL && machine->qemu > 0 && n-- == 0)
        return machine->qemu;
    for (size_t i = 0; machine != NULL && i < machine->aux_count; i++)
        if (machine->aux[i] > 0 && n-- == 0)
            return machine->aux[i];
    return 0;
}

static void machine_stop(struct keeper *keeper)
{
    struct machine *machine = keeper->machine;
    if (machine == NULL)
        return;
    if (machine->qemu > 0)
        kill(machine->qemu, SIGKILL);
    for (size_t i = 0; i < machine->aux_count; i++)
        if (machine->aux[i] > 0)
            kill(machine->aux[i], SIGKILL);
}

static void machine_close(struct keeper *keeper)
{
    struct machine *machine = keeper->machine;
    if (machine == NULL)
        return;
    source_close(keeper, &machine->link);
    source_close(keeper, &machine->console);
    if (machine->console_log >= 0)
        close(machine->console_log);
    wire_parser_free(&machine->parser);
    wire_record_free(&machine->record);
    buffer_free(&machine->out);
    free(steal_pointer(keeper->machine));
}

void machine_main_exited(struct keeper *keeper)
{
    keeper->main->deadline = clock_ms() + OFF_MS;
    if (keeper->machine->qemu <= 0)
        task_done(keeper, keeper->main);
}

const struct carrier machine_carrier = {
    .start = machine_start,
    .exec = link_exec,
    .signal = link_signal,
    .resize = link_resize,
    .input = link_input,
    .input_end = link_input_end,
    .flow = link_flow,
    .reaped = machine_reaped,
    .child = machine_child,
    .expired = machine_expired,
    .stop = machine_stop,
    .close = machine_close,
};
