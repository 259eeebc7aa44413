/* One connection to a socket of the machine, carried over the channel of a call. */
#include "call.h"

#include "../wire/cleanup.h"
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

/* Bytes on their way from one descriptor to the other. */
struct flow {
    int from, to;
    char data[32768];
    size_t start, end;
    bool ended; /* no more will come */
};

static bool is_empty(const struct flow *flow)
{
    return flow->start == flow->end;
}

/* Moves what can be moved without waiting. False when the receiver is gone. */
static bool move(struct flow *flow)
{
    if (is_empty(flow) && !flow->ended) {
        ssize_t count = read(flow->from, flow->data, sizeof flow->data);
        flow->start = 0;
        flow->end = count > 0 ? (size_t)count : 0;
        flow->ended = count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR);
    }
    if (is_empty(flow))
        return true;
    ssize_t count = write(flow->to, flow->data + flow->start, flow->end - flow->start);
    if (count > 0)
        flow->start += (size_t)count;
    return count > 0 || errno == EAGAIN || errno == EINTR;
}

static void watch(const struct flow *flow, struct pollfd *from, struct pollfd *to)
{
    if (!is_empty(flow))
        to->events |= POLLOUT;
    else if (!flow->ended)
        from->events |= POLLIN;
}

/*
 * Until the other side of the channel has said all, or the connection is gone. A connection of
 * which only one half was closed still waits for its answer.
 */
static void relay(int connection)
{
    static struct flow in, out;
    in = (struct flow){.from = STDIN_FILENO, .to = connection};
    out = (struct flow){.from = connection, .to = STDOUT_FILENO};
    for (;;) {
        struct pollfd polls[3] = {{.fd = STDIN_FILENO}, {.fd = connection}, {.fd = STDOUT_FILENO}};
        watch(&in, &polls[0], &polls[1]);
        watch(&out, &polls[1], &polls[2]);
        for (int i = 0; i < 3; i++)
            if (polls[i].events == 0 && !(i == 1 && out.ended && is_empty(&out)))
                polls[i].fd = -1; /* its end would be told all the time */
        if (poll(polls, 3, -1) < 0 && errno != EINTR)
            return;
        if (!move(&in) || !move(&out))
            return;
        bool hung_up = (polls[1].revents & (POLLHUP | POLLERR)) != 0;
        if ((in.ended && is_empty(&in)) || (hung_up && out.ended && is_empty(&out)))
            return;
    }
}

void call_accept(const struct order *order)
{
    struct failure why = {0};
    struct wire_record empty = {0};
    cleanup_close int connection = accept4(CHILD_LISTENER, NULL, NULL, SOCK_CLOEXEC);
    if (connection < 0) {
        fail(&why, errno, "cannot take a connection");
        child_fail(order, &why);
    }
    if (write_all(STDOUT_FILENO, "\1", 1) == 0) {
        int ends[] = {STDIN_FILENO, STDOUT_FILENO, connection};
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
            fcntl(ends[i], F_SETFL, fcntl(ends[i], F_GETFL) | O_NONBLOCK);
        signal(SIGPIPE, SIG_IGN);
        relay(connection);
    }
    child_report(order, WIRE_A_RESULT, &empty);
}
