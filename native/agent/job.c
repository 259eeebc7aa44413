#include "job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK = 32 * 1024, CREDIT_STEP = 64 * 1024, TERMINAL_DRAIN_MS = 50, ROUNDS = 4 };

static bool bytes_add(struct bytes *bytes, const void *data, size_t length, size_t bound)
{
    if (bytes->start > 0) {
        memmove(bytes->data, bytes->data + bytes->start, bytes->end - bytes->start);
        bytes->end -= bytes->start;
        bytes->start = 0;
    }
    if (bytes->end + length > bound)
        return false;
    if (bytes->end + length > bytes->capacity) {
        size_t capacity = bytes->capacity == 0 ? 4096 : bytes->capacity;
        while (capacity < bytes->end + length)
            capacity *= 2;
        uint8_t *grown = realloc(bytes->data, capacity);
        if (grown == NULL)
            return false;
        bytes->data = grown;
        bytes->capacity = capacity;
    }
    memcpy(bytes->data + bytes->end, data, length);
    bytes->end += length;
    return true;
}

static void close_end(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

struct job *job_new(uint32_t channel, enum job_kind kind, const struct child *child, bool terminal)
{
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return NULL;
    job->channel = channel;
    job->kind = kind;
    job->child = *child;
    job->terminal = terminal;
    job->credit = WIRE_CREDIT_START;
    job->ended[0] = child->out < 0;
    job->ended[1] = child->err < 0;
    return job;
}

void job_free(struct job *job)
{
    close_end(&job->child.in);
    close_end(&job->child.out);
    close_end(&job->child.err);
    close_end(&job->child.report);
    free(job->input.data);
    free(job->report.data);
    free(job);
}

/* A program's output waits for STARTED, so that the keeper hears things in their order. */
static bool may_read(const struct job *job, int stream, bool link_busy)
{
    if (job->over || job->ended[stream])
        return true;
    return (job->kind == JOB_CALL || job->started) && job->credit > 0 && !link_busy;
}

size_t job_poll(const struct job *job, bool link_busy, struct pollfd *out)
{
    size_t count = 0;
    const struct child *child = &job->child;
    if (child->report >= 0)
        out[count++] = (struct pollfd){.fd = child->report, .events = POLLIN};
    if (child->in >= 0 && job->input.end > job->input.start)
        out[count++] = (struct pollfd){.fd = child->in, .events = POLLOUT};
    if (child->out >= 0 && may_read(job, 0, link_busy))
        out[count++] = (struct pollfd){.fd = child->out, .events = POLLIN};
    if (child->err >= 0 && may_read(job, 1, link_busy))
        out[count++] = (struct pollfd){.fd = child->err, .events = POLLIN};
    return count;
}

/* All that the child wrote is in the pipe when it has ended; a terminal hands it on later. */
static bool drained(const struct job *job, int64_t now)
{
    return job->child.pid == 0 && (!job->terminal || now - job->reaped_at >= TERMINAL_DRAIN_MS);
}

static void end_stream(struct job *job, struct link *link, int stream)
{
    if (!job->ended[stream] && !job->over)
        link_frame(link, WIRE_A_EOF, (uint8_t)(stream + 1), job->channel, NULL, 0);
    job->ended[stream] = true;
}

static void pump_output(struct job *job, struct link *link, int stream, int64_t now)
{
    int *fd = stream == 0 ? &job->child.out : &job->child.err;
    uint8_t chunk[CHUNK];
    for (int round = 0; round < ROUNDS && *fd >= 0; round++) {
        if (!may_read(job, stream, link_pending(link) >= LINK_BUSY))
            return;
        bool unheard = job->over || job->ended[stream];
        size_t most = unheard || job->credit > CHUNK ? CHUNK : job->credit;
        ssize_t count = read(*fd, chunk, most);
        if (count > 0 && !unheard) {
            job->credit -= (uint32_t)count;
            link_frame(link, WIRE_A_DATA, (uint8_t)(stream + 1), job->channel, chunk,
                       (uint32_t)count);
        }
        if (count > 0 || (count < 0 && errno == EINTR))
            continue;
        bool waiting = count < 0 && errno == EAGAIN;
        if (waiting && !drained(job, now))
            return;
        /* Others may still hold the stream: it stays open for them, and unheard. */
        if (!waiting)
            close_end(fd);
        end_stream(job, link, stream);
        return;
    }
}

static void pump_input(struct job *job, struct link *link)
{
    struct bytes *input = &job->input;
    size_t before = input->end - input->start;
    while (input->end > input->start) {
        ssize_t count = -1;
        errno = EPIPE;
        if (job->child.in >= 0)
            count = write(job->child.in, input->data + input->start, input->end - input->start);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN)
            break;
        if (count < 0) { /* nobody reads any more: what comes is thrown away */
            close_end(&job->child.in);
            input->start = input->end;
            break;
        }
        input->start += (size_t)count;
    }
    job->owed += (uint32_t)(before - (input->end - input->start));
    if (job->input_ended && input->end == input->start && !job->terminal)
        close_end(&job->child.in);
    if (job->owed >= CREDIT_STEP && !job->over && !job->input_ended) {
        uint8_t credit[4];
        wire_put_u32(credit, job->owed);
        link_frame(link, WIRE_A_CREDIT, 0, job->channel, credit, sizeof credit);
        job->owed = 0;
    }
}

static void pump_report(struct job *job)
{
    uint8_t chunk[CHUNK];
    while (job->child.report >= 0) {
        ssize_t count = read(job->child.report, chunk, sizeof chunk);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN)
            return;
        if (count <= 0 || !bytes_add(&job->report, chunk, (size_t)count, REPORT_MAX))
            close_end(&job->child.report);
    }
}

/* The last record of the report: where its frames begin, and its type (0: there is none). */
static uint8_t last_word(const struct bytes *report, size_t *start)
{
    uint8_t type = 0;
    bool more = false;
    for (size_t at = 0; at + WIRE_HEADER <= report->end;) {
        const uint8_t *frame = report->data + at;
        size_t length = WIRE_HEADER + wire_get_u32(frame);
        if (length > report->end - at)
            return 0;
        if (!more) {
            *start = at;
            type = frame[4];
        }
        more = (frame[5] & WIRE_MORE) != 0;
        at += length;
    }
    return more ? 0 : type;
}

static void send_error(struct job *job, struct link *link, const char *message)
{
    struct wire_record record = {0};
    wire_put(&record, "message", message);
    wire_put_number(&record, "errno", job->kind == JOB_CALL ? EIO : 0);
    wire_put_number(&record, "exit", job->kind == JOB_CALL ? 0 : 126);
    link_record(link, WIRE_A_ERROR, job->channel, &record);
    job->over = true;
}

/* The child has said all it will: pass its last word on. */
static void pass_report(struct job *job, struct link *link)
{
    size_t start = 0;
    uint8_t type = last_word(&job->report, &start);
    bool program = job->kind != JOB_CALL;
    if (type == WIRE_A_ERROR || type == (program ? WIRE_A_STARTED : WIRE_A_RESULT)) {
        link_bytes(link, job->report.data + start, job->report.end - start);
        job->started = program && type == WIRE_A_STARTED;
        job->over = !job->started;
    } else {
        send_error(job, link,
                   program ? "the process ended before its program was started"
                           : "the request was cut short");
    }
    free(job->report.data);
    job->report = (struct bytes){0};
}

void job_pump(struct job *job, struct link *link, int64_t now)
{
    pump_report(job);
    if (job->kind != JOB_CALL && !job->started && !job->over && job->child.report < 0)
        pass_report(job, link);
    pump_input(job, link);
    pump_output(job, link, 0, now);
    pump_output(job, link, 1, now);
}

bool job_input(struct job *job, const void *bytes, size_t length)
{
    if (job->over || job->input_ended)
        return true;
    return bytes_add(&job->input, bytes, length, WIRE_CREDIT_START);
}

void job_reaped(struct job *job, int status, int64_t now)
{
    job->child.pid = 0;
    job->status = status;
    job->reaped_at = now;
}

bool job_conclude(struct job *job, struct link *link)
{
    if (job->over)
        return true;
    if (job->child.pid != 0 || job->child.report >= 0 || !job->ended[0] || !job->ended[1])
        return false;
    if (job->kind == JOB_CALL) {
        pass_report(job, link);
        return true;
    }
    int signal = WIFSIGNALED(job->status) ? WTERMSIG(job->status) : 0;
    struct wire_record record = {0};
    wire_put_number(&record, "code", signal ? 128 + signal : WEXITSTATUS(job->status));
    wire_put_number(&record, "signal", signal);
    link_record(link, WIRE_A_EXIT, job->channel, &record);
    job->over = true;
    return true;
}

bool job_done(const struct job *job)
{
    return job->over && job->child.pid == 0 && job->child.out < 0 && job->child.err < 0;
}

int job_timeout(const struct job *job, int64_t now)
{
    if (job->over || job->child.pid != 0 || !job->terminal || job->ended[0])
        return -1;
    int64_t left = TERMINAL_DRAIN_MS - (now - job->reaped_at);
    return left < 0 ? 0 : (int)left;
}
