#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../wire/cleanup.h"
#include "keeper.h"

void connection_close(struct keeper *keeper, struct connection *connection)
{
    source_close(keeper, &connection->source);
    if (connection->descriptor >= 0)
        close(connection->descriptor);
    connection->descriptor = -1;
    connection->dead = true;
}

void connection_free(struct connection *connection)
{
    wire_parser_free(&connection->parser);
    wire_record_free(&connection->record);
    buffer_free(&connection->out);
    free(connection);
}

static void flush(struct keeper *keeper, struct connection *connection)
{
    if (buffer_flush(&connection->out, connection->source.fd) < 0) {
        connection_close(keeper, connection);
        return;
    }
    uint32_t more = buffer_size(&connection->out) > 0 ? EPOLLOUT : 0;
    source_watch(keeper, &connection->source, EPOLLIN | more);
}

static void send_record(struct keeper *keeper, struct connection *connection, uint8_t type,
                        uint32_t channel, const struct wire_record *record)
{
    size_t size;
    cleanup_free uint8_t *frames = wire_record_frames(record, type, channel, &size);
    /* A daemon that asks and asks but never reads is cut off; it can connect again. */
    bool full = buffer_size(&connection->out) + size > WIRE_RECORD_MAX + CLIENT_MAX;
    if (frames == NULL || full || buffer_put(&connection->out, frames, size) < 0) {
        connection_close(keeper, connection);
        return;
    }
    flush(keeper, connection);
}

static struct connection *find(struct keeper *keeper, uint64_t serial)
{
    for (struct connection *at = keeper->connections; at != NULL; at = at->next)
        if (at->serial == serial && !at->dead)
            return at;
    return NULL;
}

void reply_record(struct keeper *keeper, struct reply reply, const struct wire_record *record)
{
    struct connection *connection = find(keeper, reply.serial);
    if (connection != NULL)
        send_record(keeper, connection, WIRE_OK, reply.channel, record);
}

void reply_error(struct keeper *keeper, struct reply reply, int error, int exit_code,
                 const char *message)
{
    struct connection *connection = find(keeper, reply.serial);
    if (connection == NULL)
        return;
    struct wire_record record = {0};
    wire_put(&record, "message", message);
    wire_put_number(&record, "errno", error);
    if (exit_code != 0)
        wire_put_number(&record, "exit", exit_code);
    send_record(keeper, connection, WIRE_ERROR, reply.channel, &record);
    wire_record_free(&record);
}

void event_send(struct keeper *keeper, const struct wire_record *record)
{
    for (struct connection *at = keeper->connections; at != NULL; at = at->next)
        if (!at->dead)
            send_record(keeper, at, WIRE_EVENT, 0, record);
}

/* Takes the one descriptor a message may bring. More than one breaks the protocol. */
static int take_descriptor(struct connection *connection, struct msghdr *message)
{
    int result = message->msg_flags & MSG_CTRUNC ? -EBADMSG : 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (connection->descriptor < 0) {
                connection->descriptor = fd;
            } else {
                close(fd);
                result = -EBADMSG;
            }
        }
    }
    return result;
}

/* Reads at most to the end of the frame under way: what comes with it belongs to it. */
static ssize_t receive(struct connection *connection)
{
    struct iovec part;
    uint8_t *where;
    part.iov_len = wire_parser_need(&connection->parser, &where);
    part.iov_base = where;
    if (part.iov_len == 0)
        return -ENOMEM;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof control.bytes,
    };
    ssize_t count = recvmsg(connection->source.fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (count <= 0)
        return count < 0 ? -errno : 0;
    int error = take_descriptor(connection, &message);
    if (error != 0)
        return error;
    wire_parser_filled(&connection->parser, (size_t)count);
    return count;
}

static int parse(struct keeper *keeper, struct connection *connection)
{
    struct wire_frame frame;
    int got = wire_parser_next(&connection->parser, &frame);
    if (got <= 0)
        return got;
    int whole = wire_record_add(&connection->record, &frame);
    if (whole <= 0)
        return whole;
    request_run(keeper, connection);
    /* Nobody took it: it came with a request that has none. */
    if (connection->descriptor >= 0)
        return -EBADMSG;
    wire_record_free(&connection->record);
    return 0;
}

static void connection_ready(struct keeper *keeper, struct source *source, uint32_t events)
{
    struct connection *connection = of_source(source, struct connection, source);
    if (events & EPOLLOUT)
        flush(keeper, connection);
    if (connection->dead || (events & ~(uint32_t)EPOLLOUT) == 0)
        return;
    ssize_t count = receive(connection);
    if (count == -EAGAIN || count == -EINTR)
        return;
    if (count <= 0 || parse(keeper, connection) < 0) {
        connection_close(keeper, connection);
        return;
    }
    if (!connection->dead && !wire_parser_torn(&connection->parser))
        wire_parser_free(&connection->parser);
}

static void listener_ready(struct keeper *keeper, struct source *source, uint32_t events)
{
    (void)events;
    cleanup_close int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
        /* Left in the queue it would wake us again and again. */
        close(keeper->spare);
        fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC);
        close(steal_fd(fd));
        keeper->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0)
        return;
    int count = 0;
    for (struct connection *at = keeper->connections; at != NULL; at = at->next)
        count += !at->dead;
    struct connection *connection = count < CONNECTIONS_MAX ? calloc(1, sizeof *connection) : NULL;
    if (connection == NULL)
        return;
    connection->serial = ++keeper->serial;
    connection->descriptor = -1;
    connection->next = keeper->connections;
    keeper->connections = connection;
    source_open(keeper, &connection->source, steal_fd(fd), EPOLLIN, connection_ready);
}

/* Where the socket can be seen, somebody listens: so it is named last. */
static int listen_here(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "keeper.new"};
    cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    unlink(address.sun_path);
    /* Between bind and chmod nobody but root can connect. */
    mode_t mask = umask(0077);
    int bound = bind(fd, (struct sockaddr *)&address, sizeof address);
    umask(mask);
    if (bound < 0 || chmod(address.sun_path, 0660) < 0 || listen(fd, 64) < 0 ||
        rename(address.sun_path, "keeper.sock") < 0)
        return -errno;
    return steal_fd(fd);
}

int control_open(struct keeper *keeper)
{
    int inherited = (int)keeper->conf.listen_fd;
    int fd = inherited >= 0 ? inherited : listen_here();
    if (fd < 0)
        return fd;
    keeper->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return source_open(keeper, &keeper->listener, fd, EPOLLIN, listener_ready);
}
