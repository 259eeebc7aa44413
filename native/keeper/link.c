/* The link to a machine's agent. Whatever comes from it is a guest's and not to be trusted. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../wire/cleanup.h"
#include "machine.h"

#define OUT_MAX (8u << 20)      /* queued for the agent: no further requests */
#define OUT_BUSY (256u << 10)   /* no further input */
#define CREDIT_STEP (64u << 10) /* credit is given back in pieces of at least this size */

/* --- sending ------------------------------------------------------------------------------------
 */

static void flush(struct keeper *keeper)
{
    struct machine *machine = keeper->machine;
    if (machine->link.fd < 0)
        return;
    if (buffer_flush(&machine->out, machine->link.fd) < 0)
        buffer_free(&machine->out); /* reading will tell that it is over */
    uint32_t more = buffer_size(&machine->out) > 0 ? EPOLLOUT : 0;
    source_watch(keeper, &machine->link, EPOLLIN | more);
}

static int send_bytes(struct keeper *keeper, const void *bytes, size_t length)
{
    struct machine *machine = keeper->machine;
    if (machine == NULL || machine->link.fd < 0)
        return -EIO;
    if (buffer_size(&machine->out) + length > OUT_MAX)
        return -EBUSY;
    int error = buffer_put(&machine->out, bytes, length);
    flush(keeper);
    return error;
}

static int send_record(struct keeper *keeper, uint8_t type, uint32_t channel,
                       const struct wire_record *record)
{
    size_t size;
    cleanup_free uint8_t *frames = wire_record_frames(record, type, channel, &size);
    return frames ? send_bytes(keeper, frames, size) : record->error ? record->error : -ENOMEM;
}

static int send_frame(struct keeper *keeper, uint8_t type, uint8_t flags, uint32_t channel,
                      const void *bytes, uint32_t length)
{
    uint8_t header[WIRE_HEADER];
    wire_header(header, type, flags, channel, length);
    int error = send_bytes(keeper, header, sizeof header);
    return error == 0 && length > 0 ? send_bytes(keeper, bytes, length) : error;
}

/* --- what tasks ask for --------------------------------------------------------------------------
 */

void link_channel(struct keeper *keeper, struct task *task)
{
    task->channel = ++keeper->machine->channels;
    task->credit = task->allowance = WIRE_CREDIT_START;
}

static bool is_one_of(const char *string, const char *const *keys)
{
    for (; *keys != NULL; keys++) {
        size_t length = strlen(*keys);
        if (strncmp(string, *keys, length) == 0 && string[length] == '=')
            return true;
    }
    return false;
}

int link_exec(struct keeper *keeper, struct task *task, const struct wire_record *record)
{
    static const char *const keys[] = {"argv",  "env",  "cwd",     "user", "tty",
                                       "stdin", "rows", "columns", NULL};
    struct wire_record spawn = {0};
    uint32_t at = 0;
    for (const char *string; (string = wire_string(record, &at)) != NULL;) {
        const char *value = strchr(string, '=') + 1;
        char key[16];
        if (!is_one_of(string, keys))
            continue;
        snprintf(key, sizeof key, "%.*s", (int)(value - 1 - string), string);
        wire_put(&spawn, key, value);
    }
    link_channel(keeper, task);
    task->in_open = task->with_stdin;
    int error = send_record(keeper, WIRE_A_SPAWN, task->channel, &spawn);
    wire_record_free(&spawn);
    return error;
}

/* Which streams a call has besides its answer. */
static const struct {
    const char *call;
    bool input, output;
} STREAMS[] = {
    {"tar-in", true, false},  {"tar-out", false, true},  {"tar-changes", false, true},
    {"changes", false, true}, {"tar-root", false, true}, {"secret", true, false},
    {"accept", true, true},
};

static bool has_stream(const char *call, bool input)
{
    for (size_t i = 0; i < sizeof STREAMS / sizeof *STREAMS; i++)
        if (strcmp(STREAMS[i].call, call) == 0)
            return input ? STREAMS[i].input : STREAMS[i].output;
    return false;
}

bool machine_call_reads(const char *call)
{
    return has_stream(call, true);
}

int machine_call(struct keeper *keeper, struct task *task, const struct wire_record *record)
{
    link_channel(keeper, task);
    task->in_open = task->with_stdin;
    task->state = TASK_RUNNING;
    task->out_ended = !has_stream(wire_get(record, "call"), false);
    int error = send_record(keeper, WIRE_A_CALL, task->channel, record);
    task_update_clients(keeper, task);
    return error;
}

int link_signal(struct keeper *keeper, struct task *task, int number)
{
    struct wire_record record = {0};
    wire_put_number(&record, "signal", number);
    int error = send_record(keeper, WIRE_A_SIGNAL, task->channel, &record);
    wire_record_free(&record);
    return error;
}

int link_resize(struct keeper *keeper, struct task *task)
{
    struct wire_record record = {0};
    wire_put_number(&record, "rows", task->rows);
    wire_put_number(&record, "columns", task->columns);
    int error = send_record(keeper, WIRE_A_RESIZE, task->channel, &record);
    wire_record_free(&record);
    return error;
}

ssize_t link_input(struct keeper *keeper, struct task *task, const uint8_t *bytes, size_t length)
{
    if (length > task->credit)
        length = task->credit;
    if (length > WIRE_PAYLOAD_MAX)
        length = WIRE_PAYLOAD_MAX;
    if (length == 0 || buffer_size(&keeper->machine->out) > OUT_BUSY)
        return -EAGAIN;
    int error = send_frame(keeper, WIRE_A_DATA, WIRE_STDIN, task->channel, bytes, (uint32_t)length);
    if (error < 0)
        return error;
    task->credit -= (uint32_t)length;
    return (ssize_t)length;
}

void link_input_end(struct keeper *keeper, struct task *task)
{
    send_frame(keeper, WIRE_A_EOF, WIRE_STDIN, task->channel, NULL, 0);
}

/* Credit is given back only while every client keeps up: so the guest stalls, not the keeper. */
void link_flow(struct keeper *keeper, struct task *task)
{
    uint8_t count[4];
    if (task->paused || task->owed < CREDIT_STEP)
        return;
    wire_put_u32(count, task->owed);
    task->allowance += task->owed;
    task->owed = 0;
    send_frame(keeper, WIRE_A_CREDIT, 0, task->channel, count, sizeof count);
}

/* --- what the agent says -------------------------------------------------------------------------
 */

static struct task *task_of(struct keeper *keeper, uint32_t channel)
{
    for (struct task *at = keeper->tasks; at != NULL; at = at->next)
        if (!at->dead && at->channel == channel && channel != 0)
            return at;
    return NULL;
}

static int got_data(struct keeper *keeper, struct task *task, const struct wire_frame *frame)
{
    if (frame->flags != WIRE_STDOUT && frame->flags != WIRE_STDERR)
        return -EBADMSG;
    if (frame->length > task->allowance)
        return -EBADMSG;
    task->allowance -= frame->length;
    task->owed += frame->length;
    if (task->state == TASK_RUNNING && frame->length > 0)
        task_output(keeper, task, frame->flags, frame->payload, frame->length);
    link_flow(keeper, task);
    return 0;
}

static void settle_call(struct keeper *keeper, struct task *task)
{
    if (task->answered && task->out_ended)
        task_done(keeper, task);
}

static int got_credit(struct keeper *keeper, struct task *task, const struct wire_frame *frame)
{
    if (frame->length != 4)
        return -EBADMSG;
    uint32_t count = wire_get_u32(frame->payload);
    if (count > UINT32_MAX - task->credit)
        return -EBADMSG;
    task->credit += count;
    task_input_flush(keeper, task);
    return 0;
}

static int got_exit(struct keeper *keeper, struct task *task, const struct wire_record *record)
{
    int64_t code, number;
    if (task->state != TASK_RUNNING || task->is_call ||
        wire_number(record, "code", 0, 255, 0, &code) != 0 ||
        wire_number(record, "signal", 0, 64, 0, &number) != 0)
        return -EBADMSG;
    task->code = (int)code;
    task->signal = (int)number;
    if (!task->is_main) {
        task_done(keeper, task);
        return 0;
    }
    task->state = TASK_ENDED;
    machine_main_exited(keeper);
    return 0;
}

static int got_error(struct keeper *keeper, struct task *task, const struct wire_record *record)
{
    int64_t error, code;
    const char *text = wire_get(record, "message");
    char message[MESSAGE_MAX];
    text_last_line(text ? text : "", text ? strlen(text) : 0, message);
    if (task->state != TASK_STARTING && !(task->is_call && !task->answered))
        return -EBADMSG;
    if (wire_number(record, "errno", 0, 4095, 0, &error) != 0 ||
        wire_number(record, "exit", 0, 255, 0, &code) != 0)
        return -EBADMSG;
    if (code == 0 && !task->is_call)
        code = 125;
    task_failed(keeper, task, (int)error, (int)code, message);
    return 0;
}

static int got_started(struct keeper *keeper, struct task *task, const struct wire_record *record)
{
    int64_t pid;
    if (task->state != TASK_STARTING || wire_number(record, "pid", 1, INT32_MAX, 1, &pid) != 0)
        return -EBADMSG;
    /* The host knows a machine by QEMU's pid. */
    task_started(keeper, task, task->is_main ? keeper->machine->qemu : (pid_t)pid);
    task_input_flush(keeper, task);
    return 0;
}

static int got_result(struct keeper *keeper, struct task *task, const struct wire_record *record)
{
    if (!task->is_call || task->answered)
        return -EBADMSG;
    task->answered = true;
    reply_record(keeper, task->reply, record);
    settle_call(keeper, task);
    return 0;
}

static int got_record(struct keeper *keeper, const struct wire_record *record)
{
    struct task *task = task_of(keeper, record->channel);
    if (task == NULL)
        return 0; /* it ended meanwhile */
    switch (record->type) {
    case WIRE_A_STARTED:
        return got_started(keeper, task, record);
    case WIRE_A_EXIT:
        return got_exit(keeper, task, record);
    case WIRE_A_ERROR:
        return got_error(keeper, task, record);
    case WIRE_A_RESULT:
        return got_result(keeper, task, record);
    default:
        return -EBADMSG;
    }
}

static int got_frame(struct keeper *keeper, const struct wire_frame *frame)
{
    struct machine *machine = keeper->machine;
    struct task *task = task_of(keeper, frame->channel);
    bool raw =
        frame->type == WIRE_A_DATA || frame->type == WIRE_A_EOF || frame->type == WIRE_A_CREDIT;
    if (raw && (!machine->greeted || machine->record.partial))
        return -EBADMSG;
    if (raw && task == NULL)
        return 0;
    if (frame->type == WIRE_A_DATA)
        return got_data(keeper, task, frame);
    if (frame->type == WIRE_A_CREDIT)
        return got_credit(keeper, task, frame);
    if (frame->type == WIRE_A_EOF) {
        task->out_ended = true;
        if (task->is_call)
            settle_call(keeper, task);
        return 0;
    }
    int whole = wire_record_add(&machine->record, frame);
    if (whole <= 0)
        return whole;
    int error;
    if (machine->greeted) {
        error = got_record(keeper, &machine->record);
    } else {
        machine->greeted = true;
        struct wire_record config = {0};
        error = frame->type == WIRE_A_HELLO ? config_load(keeper, &config) : -EBADMSG;
        if (error == 0)
            error = send_record(keeper, WIRE_A_CONFIG, 0, &config);
        wire_record_free(&config);
    }
    wire_record_free(&machine->record);
    return error;
}

static bool read_once(struct keeper *keeper)
{
    struct machine *machine = keeper->machine;
    uint8_t *where;
    struct wire_frame frame;
    size_t room = wire_parser_room(&machine->parser, &where);
    ssize_t count = room > 0 ? read(machine->link.fd, where, room) : -1;
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (count <= 0) {
        source_close(keeper, &machine->link);
        machine_lost(keeper, "the connection to the machine's agent ended", false);
        return false;
    }
    wire_parser_filled(&machine->parser, (size_t)count);
    int got = 0;
    while (got == 0 && wire_parser_next(&machine->parser, &frame) == 1)
        got = got_frame(keeper, &frame);
    if (got < 0 || machine->parser.broken) {
        source_close(keeper, &machine->link);
        machine_lost(keeper, "the machine's agent broke the protocol", true);
        return false;
    }
    if (!wire_parser_torn(&machine->parser))
        wire_parser_free(&machine->parser);
    return true;
}

static void link_ready(struct keeper *keeper, struct source *source, uint32_t events)
{
    struct machine *machine = keeper->machine;
    if (events & EPOLLOUT) {
        flush(keeper);
        for (struct task *at = keeper->tasks; at != NULL; at = at->next)
            if (!at->dead && at->channel != 0 && buffer_size(&machine->out) <= OUT_BUSY)
                task_input_flush(keeper, at);
    }
    if ((events & ~(uint32_t)EPOLLOUT) != 0 && source->fd >= 0)
        read_once(keeper);
}

/* QEMU is dead: what it had sent is bounded by the socket's buffer. */
void link_drain(struct keeper *keeper)
{
    while (keeper->machine->link.fd >= 0 && read_once(keeper))
        ;
    source_close(keeper, &keeper->machine->link);
}

int link_open(struct keeper *keeper)
{
    return source_open(keeper, &keeper->machine->link, (int)keeper->conf.agent_fd, EPOLLIN,
                       link_ready);
}
