#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keeper.h"

size_t buffer_size(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}

int buffer_put(struct buffer *buffer, const void *bytes, size_t length)
{
    size_t size = buffer_size(buffer);
    if (buffer->end + length > buffer->capacity && buffer->start > 0) {
        memmove(buffer->data, buffer->data + buffer->start, size);
        buffer->start = 0;
        buffer->end = size;
    }
    if (buffer->end + length > buffer->capacity) {
        size_t capacity = buffer->capacity ? buffer->capacity : 4096;
        while (capacity < buffer->end + length)
            capacity *= 2;
        uint8_t *data = realloc(buffer->data, capacity);
        if (data == NULL)
            return -ENOMEM;
        buffer->data = data;
        buffer->capacity = capacity;
    }
    memcpy(buffer->data + buffer->end, bytes, length);
    buffer->end += length;
    return 0;
}

/* An emptied buffer gives its memory back: idle guests shall cost nothing. */
void buffer_drop(struct buffer *buffer, size_t length)
{
    buffer->start += length;
    if (buffer->start == buffer->end)
        buffer_free(buffer);
}

int buffer_flush(struct buffer *buffer, int fd)
{
    while (buffer_size(buffer) > 0) {
        ssize_t count = write(fd, buffer->data + buffer->start, buffer_size(buffer));
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return errno == EAGAIN ? 0 : -errno;
        buffer_drop(buffer, (size_t)count);
    }
    return 0;
}
