#include "link.h"

#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool make_room(struct link *link, size_t more)
{
    if (link->start > 0 && link->end + more > link->capacity) {
        memmove(link->queue, link->queue + link->start, link->end - link->start);
        link->end -= link->start;
        link->start = 0;
    }
    if (link->end + more <= link->capacity)
        return true;
    size_t capacity = link->capacity == 0 ? 65536 : link->capacity;
    while (capacity < link->end + more)
        capacity *= 2;
    uint8_t *queue = realloc(link->queue, capacity);
    if (queue == NULL) {
        link->gone = true;
        return false;
    }
    link->queue = queue;
    link->capacity = capacity;
    return true;
}

void link_bytes(struct link *link, const void *bytes, size_t length)
{
    if (link->gone || length == 0 || !make_room(link, length))
        return;
    memcpy(link->queue + link->end, bytes, length);
    link->end += length;
}

void link_frame(struct link *link, uint8_t type, uint8_t flags, uint32_t channel,
                const void *payload, uint32_t length)
{
    uint8_t header[WIRE_HEADER];
    wire_header(header, type, flags, channel, length);
    if (!make_room(link, sizeof header + length))
        return;
    link_bytes(link, header, sizeof header);
    link_bytes(link, payload, length);
}

void link_record(struct link *link, uint8_t type, uint32_t channel, struct wire_record *record)
{
    size_t size = 0;
    uint8_t *frames = wire_record_frames(record, type, channel, &size);
    if (frames == NULL)
        link->gone = true;
    else
        link_bytes(link, frames, size);
    free(frames);
    wire_record_free(record);
}

size_t link_pending(const struct link *link)
{
    return link->end - link->start;
}

void link_flush(struct link *link)
{
    while (!link->gone && link_pending(link) > 0) {
        ssize_t count = write(link->fd, link->queue + link->start, link_pending(link));
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN)
            return;
        if (count <= 0) {
            link->gone = true;
            return;
        }
        link->start += (size_t)count;
    }
    link->start = link->end = 0;
    if (link->capacity > LINK_BUSY) {
        free(link->queue);
        link->queue = NULL;
        link->capacity = 0;
    }
}

void link_finish(struct link *link)
{
    if (link->gone)
        return;
    /* A write to a virtio port that may wait returns when the host has taken the buffer. */
    fcntl(link->fd, F_SETFL, fcntl(link->fd, F_GETFL) & ~O_NONBLOCK);
    write_all(link->fd, link->queue + link->start, link_pending(link));
    link->start = link->end = 0;
}

void link_receive(struct link *link)
{
    uint8_t *where;
    size_t room = wire_parser_room(&link->parser, &where);
    ssize_t count = room == 0 ? 0 : read(link->fd, where, room);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        link->gone = true;
        return;
    }
    wire_parser_filled(&link->parser, (size_t)count);
}
