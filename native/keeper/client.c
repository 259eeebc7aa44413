#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../wire/cleanup.h"
#include "keeper.h"

#define MUX_HEADER 8
#define PATIENCE_MS 10000 /* for a client that takes nothing after the end */

void client_close(struct keeper *keeper, struct client *client)
{
    if (client->dead)
        return;
    client->dead = true;
    if (client->source.fd >= 0) {
        /* Unread input would turn the client's end of file into a connection reset. */
        uint8_t rest[4096];
        shutdown(client->source.fd, SHUT_RDWR);
        for (int i = 0; i < 256 && recv(client->source.fd, rest, sizeof rest, MSG_DONTWAIT) > 0;
             i++)
            ;
    }
    source_close(keeper, &client->source);
    buffer_free(&client->out);
    if (client->in_open) {
        client->in_open = false;
        task_input_ended(keeper, client->task);
    }
    task_flow(keeper, client->task);
    if (client->task->state == TASK_DONE)
        task_settle(keeper, client->task);
}

void client_update(struct keeper *keeper, struct client *client)
{
    if (client->dead)
        return;
    uint32_t events = EPOLLERR;
    if (client->in_open && !client->ending && task_wants_input(client->task))
        events |= EPOLLIN;
    if (buffer_size(&client->out) > 0)
        events |= EPOLLOUT;
    if (client->gone)
        events &= EPOLLIN;
    source_watch(keeper, &client->source, events);
}

static void flush(struct keeper *keeper, struct client *client)
{
    size_t before = buffer_size(&client->out);
    if (buffer_flush(&client->out, client->source.fd) < 0 ||
        (client->ending && buffer_size(&client->out) == 0)) {
        client_close(keeper, client);
        return;
    }
    if (client->ending && buffer_size(&client->out) < before)
        client->deadline = clock_ms() + PATIENCE_MS;
    client_update(keeper, client);
    task_flow(keeper, client->task);
}

void client_finish(struct keeper *keeper, struct client *client)
{
    if (client->dead || client->ending)
        return;
    client->ending = true;
    client->deadline = clock_ms() + PATIENCE_MS;
    /* The kernel can hold the rest for a slow client, so that nobody waits for it. */
    int size = 4 * (int)(buffer_size(&client->out) + CHUNK);
    setsockopt(client->source.fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    flush(keeper, client);
}

void client_write(struct keeper *keeper, struct client *client, int stream, const uint8_t *bytes,
                  size_t length)
{
    if (client->dead || client->ending || !client->wants[stream])
        return;
    uint8_t header[MUX_HEADER] = {(uint8_t)stream};
    wire_put_u32(header + 4, (uint32_t)length);
    size_t head = client->mux ? MUX_HEADER : 0;
    struct iovec parts[2] = {{header, head}, {(void *)bytes, length}};
    ssize_t count = 0;
    if (buffer_size(&client->out) == 0)
        count = writev(client->source.fd, parts, 2);
    if (count < 0 && errno != EAGAIN && errno != EINTR) {
        client_close(keeper, client);
        return;
    }
    size_t done = count > 0 ? (size_t)count : 0;
    int error = 0;
    if (done < head)
        error = buffer_put(&client->out, header + done, head - done);
    size_t skip = done > head ? done - head : 0;
    if (error == 0 && skip < length)
        error = buffer_put(&client->out, bytes + skip, length - skip);
    /* A hole in the stream would be worse than its end. */
    if (error < 0)
        client_close(keeper, client);
    else
        client_update(keeper, client);
}

static void detached(struct keeper *keeper, struct client *client)
{
    struct wire_record event = {0};
    wire_put(&event, "event", "detach");
    wire_put(&event, "target", client->task->id);
    event_send(keeper, &event);
    wire_record_free(&event);
    client->in_open = false;
    client_finish(keeper, client);
}

/*
 * Passes input on up to the detach keys, and says whether they came. Keys that may be the beginning
 * of the sequence are held back until the next one decides.
 */
static bool watch_keys(struct keeper *keeper, struct client *client, const uint8_t *bytes,
                       size_t length)
{
    cleanup_free uint8_t *kept = malloc(length + KEYS_MAX);
    size_t count = 0;
    if (kept == NULL)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] != client->keys[client->key_at] && client->key_at > 0) {
            memcpy(kept + count, client->keys, client->key_at);
            count += client->key_at;
            client->key_at = 0;
        }
        if (bytes[i] != client->keys[client->key_at]) {
            kept[count++] = bytes[i];
        } else if (++client->key_at == client->key_count) {
            task_input(keeper, client->task, kept, count);
            return true;
        }
    }
    task_input(keeper, client->task, kept, count);
    return false;
}

static void read_input(struct keeper *keeper, struct client *client)
{
    ssize_t count = read(client->source.fd, keeper->chunk, CHUNK);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count < 0) {
        client_close(keeper, client);
    } else if (count == 0) {
        client->in_open = false;
        if (client->key_at > 0)
            task_input(keeper, client->task, client->keys, client->key_at);
        task_input_ended(keeper, client->task);
        if (client->gone)
            client_close(keeper, client);
    } else if (client->key_count == 0) {
        task_input(keeper, client->task, keeper->chunk, (size_t)count);
    } else if (watch_keys(keeper, client, keeper->chunk, (size_t)count)) {
        detached(keeper, client);
    }
    client_update(keeper, client);
}

static void client_ready(struct keeper *keeper, struct source *source, uint32_t events)
{
    struct client *client = of_source(source, struct client, source);
    if (events & EPOLLIN) {
        read_input(keeper, client);
    } else if ((events & EPOLLHUP) && client->in_open && !client->gone) {
        /* It went away, but what it sent before is still to be read. It gets nothing more: bytes
           queued for it would stall the guest. */
        client->gone = true;
        client->wants[WIRE_STDOUT] = client->wants[WIRE_STDERR] = false;
        buffer_free(&client->out);
        task_flow(keeper, client->task);
        client_update(keeper, client);
    } else if (events & (EPOLLERR | EPOLLHUP)) {
        client_close(keeper, client);
    }
    if (!client->dead && (events & EPOLLOUT))
        flush(keeper, client);
}

static int read_keys(struct client *client, const char *hex)
{
    size_t length = hex ? strlen(hex) : 0;
    if (length % 2 != 0 || length > 2 * KEYS_MAX ||
        (length > 0 && strspn(hex, "0123456789abcdefABCDEF") != length))
        return -EINVAL;
    for (size_t i = 0; i < length / 2; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        client->keys[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    client->key_count = (uint8_t)(length / 2);
    return 0;
}

static bool wanted(const struct wire_record *record, const char *key)
{
    return wire_get(record, key) == NULL || wire_flag(record, key);
}

int client_open(struct keeper *keeper, struct task *task, int fd, const struct wire_record *record)
{
    cleanup_close int descriptor = fd;
    size_t count = 0;
    for (struct client *at = task->clients; at != NULL; at = at->next) {
        /* The last input of those that went away may wait for ever; there must be room for others.
         */
        if (at->gone && count >= CLIENTS_MAX / 2)
            client_close(keeper, at);
        count += !at->dead;
    }
    cleanup_free struct client *client = count < CLIENTS_MAX ? calloc(1, sizeof *client) : NULL;
    if (client == NULL)
        return -EMFILE;
    int error = read_keys(client, wire_get(record, "detach"));
    if (error < 0)
        return error;
    if (!task->tty)
        client->key_count = 0;
    client->task = task;
    client->mux = wire_flag(record, "mux") && !task->tty;
    client->wants[WIRE_STDOUT] = wanted(record, "stdout");
    client->wants[WIRE_STDERR] = wanted(record, "stderr");
    client->in_open = task->with_stdin && (task->is_call || wire_flag(record, "stdin"));
    error = source_open(keeper, &client->source, steal_fd(descriptor), EPOLLERR, client_ready);
    if (error < 0) {
        source_close(keeper, &client->source);
        return error;
    }
    client->next = task->clients;
    task->clients = client;
    client_update(keeper, client);
    steal_pointer(client);
    return 0;
}
