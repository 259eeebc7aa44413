#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../wire/cleanup.h"
#include "keeper.h"

struct task *task_new(struct keeper *keeper, const char *id)
{
    size_t count = 0;
    struct task **end = &keeper->tasks;
    for (; *end != NULL; end = &(*end)->next)
        count++;
    struct task *task = count < TASKS_MAX ? calloc(1, sizeof *task) : NULL;
    if (task == NULL)
        return NULL;
    snprintf(task->id, sizeof task->id, "%s", id);
    task->console = task->errors = -1;
    task->out[0].fd = task->out[1].fd = task->stdin_source.fd = -1;
    *end = task;
    return task;
}

struct task *task_find(struct keeper *keeper, const char *id)
{
    for (struct task *at = keeper->tasks; at != NULL; at = at->next)
        if (!at->dead && strcmp(at->id, id) == 0)
            return at;
    return NULL;
}

static void close_descriptors(struct keeper *keeper, struct task *task)
{
    source_close(keeper, &task->out[0]);
    source_close(keeper, &task->out[1]);
    source_close(keeper, &task->stdin_source);
    if (task->console >= 0)
        close(task->console);
    if (task->errors >= 0)
        close(task->errors);
    task->console = task->errors = -1;
    buffer_free(&task->in);
    task->in_open = false;
}

/* To be swept away; its clients are closed first. */
void task_free(struct keeper *keeper, struct task *task)
{
    task->dead = true;
    close_descriptors(keeper, task);
    for (struct client *at = task->clients; at != NULL; at = at->next)
        client_close(keeper, at);
}

void task_update_clients(struct keeper *keeper, struct task *task)
{
    for (struct client *at = task->clients; at != NULL; at = at->next)
        client_update(keeper, at);
}

static void remember_start(const struct task *task)
{
    struct wire_record record = {0};
    wire_put_number(&record, "pid", task->pid);
    wire_put_number(&record, "started", task->started);
    text_write_record("started", &record);
    wire_record_free(&record);
}

void task_started(struct keeper *keeper, struct task *task, pid_t pid)
{
    struct wire_record answer = {0}, event = {0};
    task->state = TASK_RUNNING;
    task->pid = pid;
    task->started = clock_wall_ns();
    task->deadline = 0;
    task->answered = true;
    if (task->is_main)
        remember_start(task);
    wire_put_number(&answer, "pid", pid);
    wire_put_number(&answer, "started", task->started);
    reply_record(keeper, task->reply, &answer);
    wire_record_free(&answer);
    if (task->is_main) {
        wire_put(&event, "event", "started");
        wire_put_number(&event, "pid", pid);
        wire_put_number(&event, "started", task->started);
        event_send(keeper, &event);
        wire_record_free(&event);
    }
    if (task->tty && (task->rows > 0 || task->columns > 0))
        keeper->carrier->resize(keeper, task);
    task_update_clients(keeper, task);
}

static void remember_exit(struct keeper *keeper, const struct task *task)
{
    struct wire_record record = {0};
    wire_put_number(&record, "code", task->code);
    wire_put_number(&record, "signal", task->signal);
    wire_put_number(&record, "oom", text_oom_kills(keeper->conf.oom) > keeper->oom_before);
    wire_put_number(&record, "time", clock_wall_ns());
    if (task->error[0] != '\0')
        wire_put(&record, "error", task->error);
    text_write_record("exit", &record);
    wire_record_free(&record);
}

void task_failed(struct keeper *keeper, struct task *task, int error, int exit_code,
                 const char *message)
{
    if (task->dead)
        return;
    reply_error(keeper, task->reply, error, exit_code, message);
    if (task->is_main) {
        task->code = exit_code;
        snprintf(task->error, sizeof task->error, "%s", message);
        remember_exit(keeper, task);
        task->state = TASK_DONE;
        keeper_end(keeper);
    }
    task_free(keeper, task);
}

void task_output(struct keeper *keeper, struct task *task, int stream, const uint8_t *bytes,
                 size_t length)
{
    if (task->is_main)
        log_write(&keeper->log, stream, bytes, length);
    for (struct client *at = task->clients; at != NULL; at = at->next)
        client_write(keeper, at, stream, bytes, length);
    task_flow(keeper, task);
}

void task_flow(struct keeper *keeper, struct task *task)
{
    size_t most = 0;
    for (struct client *at = task->clients; at != NULL; at = at->next)
        if (!at->dead && buffer_size(&at->out) > most)
            most = buffer_size(&at->out);
    bool paused = most > (task->paused ? CLIENT_RESUME : CLIENT_PAUSE);
    if (paused == task->paused)
        return;
    task->paused = paused;
    keeper->carrier->flow(keeper, task);
}

/* --- input --------------------------------------------------------------------------------------
 */

bool task_wants_input(const struct task *task)
{
    return task->state == TASK_RUNNING && task->in_open && !task->in_ending &&
           buffer_size(&task->in) == 0;
}

/*
 * A guest that sleeps is thawed by whoever reads this pipe. Nobody does while it is awake; there is
 * none when the guest has no input.
 */
static void tell_of_input(const struct task *task)
{
    if (!task->is_main)
        return;
    cleanup_close int pipe = open("input", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (pipe >= 0 && write(pipe, "", 1) < 0)
        return; /* it is full: it has been told */
}

static void input_close(struct keeper *keeper, struct task *task)
{
    buffer_free(&task->in);
    if (task->in_open) {
        task->in_open = false;
        keeper->carrier->input_end(keeper, task);
    }
}

void task_input(struct keeper *keeper, struct task *task, const uint8_t *bytes, size_t length)
{
    if (!task->in_open || length == 0)
        return;
    tell_of_input(task);
    ssize_t count = 0;
    if (buffer_size(&task->in) == 0)
        count = keeper->carrier->input(keeper, task, bytes, length);
    if (count < 0 && count != -EAGAIN) {
        input_close(keeper, task);
        return;
    }
    size_t done = count > 0 ? (size_t)count : 0;
    if (done < length && buffer_put(&task->in, bytes + done, length - done) < 0)
        input_close(keeper, task);
}

void task_input_flush(struct keeper *keeper, struct task *task)
{
    while (task->in_open && buffer_size(&task->in) > 0) {
        ssize_t count = keeper->carrier->input(keeper, task, task->in.data + task->in.start,
                                               buffer_size(&task->in));
        if (count == -EAGAIN)
            return;
        if (count < 0)
            input_close(keeper, task);
        else
            buffer_drop(&task->in, (size_t)count);
    }
    if (task->in_ending)
        input_close(keeper, task);
    task_update_clients(keeper, task);
}

void task_input_ended(struct keeper *keeper, struct task *task)
{
    if (task->tty || task->in_ending || task->state > TASK_RUNNING || task->dead)
        return;
    if (task->is_main && !keeper->conf.stdin_once)
        return;
    for (struct client *at = task->clients; at != NULL; at = at->next)
        if (at->in_open)
            return;
    task->in_ending = true;
    tell_of_input(task);
    if (task->state == TASK_RUNNING && buffer_size(&task->in) == 0)
        input_close(keeper, task);
}

/* --- the end ------------------------------------------------------------------------------------
 */

void task_done(struct keeper *keeper, struct task *task)
{
    if (task->state == TASK_DONE || task->dead)
        return;
    task->state = TASK_DONE;
    task->deadline = 0;
    close_descriptors(keeper, task);
    if (task->is_main)
        remember_exit(keeper, task);
    for (struct client *at = task->clients; at != NULL; at = at->next)
        client_finish(keeper, at);
    task_settle(keeper, task);
}

void task_settle(struct keeper *keeper, struct task *task)
{
    if (task->dead)
        return;
    for (struct client *at = task->clients; at != NULL; at = at->next)
        if (!at->dead)
            return;
    task->dead = true;
    if (!task->is_call) {
        struct wire_record event = {0};
        bool oom = task->is_main && text_oom_kills(keeper->conf.oom) > keeper->oom_before;
        wire_put(&event, "event", "exit");
        wire_put(&event, "target", task->id);
        wire_put_number(&event, "code", task->code);
        wire_put_number(&event, "signal", task->signal);
        wire_put_number(&event, "oom", oom);
        wire_put_number(&event, "time", clock_wall_ns());
        if (task->error[0] != '\0')
            wire_put(&event, "error", task->error);
        event_send(keeper, &event);
        wire_record_free(&event);
    }
    if (task->is_main)
        keeper_end(keeper);
}
