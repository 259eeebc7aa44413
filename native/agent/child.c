#include "child.h"

#include "../wire/cleanup.h"
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

/* Both ends of the standard streams: [0..2] the child's, and the agent's in `struct child`. */
struct ends {
    int own[3];
    int report;
};

static int pipe_pair(int *reader, int *writer, int *agents)
{
    int pair[2];
    if (pipe2(pair, O_CLOEXEC) != 0)
        return -errno;
    *reader = pair[0];
    *writer = pair[1];
    fcntl(*agents, F_SETFL, O_NONBLOCK);
    return 0;
}

static int open_terminal(struct ends *ends, struct child *out)
{
    out->out = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (out->out < 0)
        return -errno;
    int unlock = 0;
    if (ioctl(out->out, TIOCSPTLCK, &unlock) != 0)
        return -errno;
    ends->own[0] = ioctl(out->out, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    out->in = fcntl(out->out, F_DUPFD_CLOEXEC, 0);
    return ends->own[0] < 0 || out->in < 0 ? -errno : 0;
}

static int open_pipes(const struct order *order, struct ends *ends, struct child *out)
{
    int error = 0;
    if (order->has_input)
        error = pipe_pair(&ends->own[0], &out->in, &out->in);
    if (error == 0 && order->has_output)
        error = pipe_pair(&out->out, &ends->own[1], &out->out);
    if (error == 0 && order->has_error)
        error = pipe_pair(&out->err, &ends->own[2], &out->err);
    return error;
}

static void close_ends(struct ends *ends)
{
    for (int i = 0; i < 3; i++)
        if (ends->own[i] >= 0)
            close(ends->own[i]);
    if (ends->report >= 0)
        close(ends->report);
}

static void close_child(struct child *child)
{
    int *all[] = {&child->in, &child->out, &child->err, &child->report};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (*all[i] >= 0)
            close(*all[i]);
        *all[i] = -1;
    }
}

/* Moves the descriptors to their places: first all up and out of the way, then down. */
static void place(const struct order *order, struct ends *ends)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int wanted[CHILD_END] = {
        ends->own[0], ends->own[1], ends->own[2], ends->report,
        order->root,  order->upper, order->lower, order->listener > 0 ? order->listener : -1};
    if (order->terminal)
        wanted[1] = wanted[2] = wanted[0];
    for (int i = 0; i < CHILD_END; i++)
        wanted[i] = fcntl(wanted[i] >= 0 ? wanted[i] : null, F_DUPFD_CLOEXEC, 16);
    for (int i = 0; i < CHILD_END; i++)
        dup3(wanted[i], i, i < 3 ? 0 : O_CLOEXEC) < 0 ? _exit(125) : (void)0;
    syscall(SYS_close_range, CHILD_END, ~0u, 0);
}

_Noreturn static void child_main(const struct order *order, struct ends *ends, child_body *body)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    place(order, ends);
    if (order->terminal)
        ioctl(0, TIOCSCTTY, 0);
    umask(022);
    body(order);
    _exit(0);
}

int child_start(const struct order *order, child_body *body, struct child *out)
{
    struct ends ends = {.own = {-1, -1, -1}, .report = -1};
    *out = (struct child){.in = -1, .out = -1, .err = -1, .report = -1};
    int error = order->terminal ? open_terminal(&ends, out) : open_pipes(order, &ends, out);
    if (error == 0)
        error = pipe_pair(&out->report, &ends.report, &out->report);
    out->pid = error == 0 ? fork() : -1;
    if (out->pid == 0)
        child_main(order, &ends, body);
    if (error == 0 && out->pid < 0)
        error = -errno;
    close_ends(&ends);
    if (error != 0)
        close_child(out);
    return error;
}

void child_report(const struct order *order, uint8_t type, struct wire_record *record)
{
    size_t size = 0;
    cleanup_free uint8_t *frames = wire_record_frames(record, type, order->channel, &size);
    if (frames != NULL)
        write_all(CHILD_REPORT, frames, size);
    wire_record_free(record);
}

_Noreturn void child_fail(const struct order *order, const struct failure *why)
{
    struct wire_record record = {0};
    wire_put(&record, "message", why->message);
    wire_put_number(&record, "errno", why->error);
    wire_put_number(&record, "exit", why->exit);
    child_report(order, WIRE_A_ERROR, &record);
    _exit(125);
}

void set_size(int terminal, int64_t rows, int64_t columns)
{
    struct winsize size = {0};
    ioctl(terminal, TIOCGWINSZ, &size);
    if (rows > 0)
        size.ws_row = (unsigned short)rows;
    if (columns > 0)
        size.ws_col = (unsigned short)columns;
    ioctl(terminal, TIOCSWINSZ, &size);
}
