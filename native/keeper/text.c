#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../wire/cleanup.h"
#include "keeper.h"

void text_last_line(const char *text, size_t length, char out[MESSAGE_MAX])
{
    while (length > 0 && strchr("\r\n \t", text[length - 1]) != NULL)
        length--;
    size_t start = length;
    while (start > 0 && text[start - 1] != '\n')
        start--;
    size_t count = length - start;
    if (count > MESSAGE_MAX - 1)
        count = MESSAGE_MAX - 1;
    for (size_t i = 0; i < count; i++) {
        char c = text[start + i];
        out[i] = (unsigned char)c < ' ' ? ' ' : c;
    }
    out[count] = '\0';
}

void text_last_line_of(const char *path, char out[MESSAGE_MAX])
{
    out[0] = '\0';
    cleanup_close int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    struct stat stat;
    if (fd < 0 || fstat(fd, &stat) < 0)
        return;
    char tail[2048];
    off_t from = stat.st_size > (off_t)sizeof tail ? stat.st_size - (off_t)sizeof tail : 0;
    ssize_t length = pread(fd, tail, sizeof tail, from);
    if (length > 0)
        text_last_line(tail, (size_t)length, out);
}

int text_exit_code(const char *message)
{
    /* "open executable: Operation not permitted" is crun's word for a directory. */
    if ((strcasestr(message, "executable file") && strcasestr(message, "not found")) ||
        strcasestr(message, "no such file"))
        return 127;
    return strcasestr(message, "permission denied") || strcasestr(message, "exec format error") ||
                   strcasestr(message, "open executable")
               ? 126
               : 125;
}

/* Ids become file names. */
bool text_valid_id(const char *id)
{
    size_t length = strlen(id);
    return length >= 1 && length <= ID_MAX && id[0] != '.' && id[0] != '-' &&
           strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
               length;
}

static int write_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t count = write(fd, bytes, length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        bytes += count;
        length -= (size_t)count;
    }
    return 0;
}

int text_write_file(const char *path, const void *bytes, size_t length)
{
    char temporary[512];
    int size = snprintf(temporary, sizeof temporary, "%s.new", path);
    if (size >= (int)sizeof temporary)
        return -ENAMETOOLONG;
    cleanup_close int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return -errno;
    int error = write_all(fd, bytes, length);
    if (error == 0 && rename(temporary, path) < 0)
        error = -errno;
    if (error != 0)
        unlink(temporary);
    return error;
}

int text_write_record(const char *path, const struct wire_record *record)
{
    return record->error ? record->error : text_write_file(path, record->data, record->length);
}

/* `oom_kill N` stands in memory.events (v2) and in memory.oom_control (v1). */
int64_t text_oom_kills(const char *path)
{
    cleanup_close int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    char text[512];
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (length < 0)
        return 0;
    text[length] = '\0';
    const char *at = strstr(text, "oom_kill ");
    return at ? strtoll(at + strlen("oom_kill "), NULL, 10) : 0;
}
