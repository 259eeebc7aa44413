#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "keeper.h"

#define LOG_HEADER 16

static void path_of(const struct log *log, int number, char *out, size_t size)
{
    snprintf(out, size, "%s/%d", log->directory, number);
}

static void open_newest(struct log *log)
{
    char path[512];
    path_of(log, 0, path, sizeof path);
    log->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    struct stat stat;
    log->size = log->fd >= 0 && fstat(log->fd, &stat) == 0 ? stat.st_size : 0;
}

/* Where the last whole record ends. Small records are walked in memory, a page at a time. */
static int64_t whole_size(int fd, int64_t size)
{
    uint8_t page[4096];
    int64_t at = 0;
    for (;;) {
        ssize_t have = pread(fd, page, sizeof page, at);
        if (have < LOG_HEADER)
            return at;
        int64_t offset = 0;
        while (offset + LOG_HEADER <= have) {
            uint32_t length = wire_get_u32(page + offset + 4);
            if (length > CHUNK || at + offset + LOG_HEADER + length > size)
                return at + offset;
            offset += LOG_HEADER + length;
        }
        at += offset;
    }
}

/*
 * A power loss or a kill may leave a torn record at the end, and what follows it could not be read.
 * A log that was closed in order says so in `end` and need not be walked through.
 */
static void mend(struct log *log)
{
    char path[512];
    snprintf(path, sizeof path, "%s/end", log->directory);
    char text[24] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t length = read(fd, text, sizeof text - 1);
        (void)length;
        close(fd);
        unlink(path);
    }
    if (log->size == 0 || strtoll(text, NULL, 10) == log->size)
        return;
    path_of(log, 0, path, sizeof path);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    int64_t whole = whole_size(fd, log->size);
    if (whole < log->size && ftruncate(fd, whole) == 0)
        log->size = whole;
    close(fd);
}

void log_open(struct log *log, const struct conf *conf)
{
    *log = (struct log){.fd = -1, .directory = conf->log};
    log->size_max = conf->log_size;
    log->files = (int)conf->log_files;
    if (log->size_max == 0)
        log->directory = NULL;
    if (log->directory == NULL)
        return;
    mkdir(log->directory, 0750);
    open_newest(log);
    if (log->fd >= 0)
        mend(log);
}

void log_close(struct log *log)
{
    if (log->directory == NULL || log->fd < 0)
        return;
    char path[512], text[24];
    snprintf(path, sizeof path, "%s/end", log->directory);
    int length = snprintf(text, sizeof text, "%lld\n", (long long)log->size);
    text_write_file(path, text, (size_t)length);
    close(log->fd);
    log->fd = -1;
}

static void rotate(struct log *log)
{
    char from[512], to[512];
    close(log->fd);
    path_of(log, log->files - 1, to, sizeof to);
    unlink(to);
    for (int number = log->files - 2; number >= 0; number--) {
        path_of(log, number, from, sizeof from);
        path_of(log, number + 1, to, sizeof to);
        rename(from, to);
    }
    open_newest(log);
}

static int append(struct log *log, int stream, bool goes_on, const uint8_t *bytes, size_t length)
{
    if (log->size > 0 && log->size + LOG_HEADER + (int64_t)length > log->size_max)
        rotate(log);
    if (log->fd < 0)
        open_newest(log);
    if (log->fd < 0)
        return -errno;
    uint8_t header[LOG_HEADER] = {(uint8_t)stream, goes_on};
    uint64_t time = (uint64_t)clock_wall_ns();
    wire_put_u32(header + 4, (uint32_t)length);
    wire_put_u32(header + 8, (uint32_t)(time >> 32));
    wire_put_u32(header + 12, (uint32_t)time);
    struct iovec parts[2] = {{header, sizeof header}, {(void *)bytes, length}};
    ssize_t total = (ssize_t)(sizeof header + length);
    ssize_t count = writev(log->fd, parts, 2);
    if (count == total) {
        log->size += total;
        return 0;
    }
    int error = count < 0 ? -errno : -ENOSPC;
    /* Half a record would make the rest of the file unreadable. */
    if (count > 0 && ftruncate(log->fd, log->size) < 0)
        rotate(log);
    return error;
}

static void drop(struct log *log, size_t length, int error)
{
    log->lost += length;
    log->lost_errno = -error;
}

/* The gap in the log is told before the first record after it. */
static int confess(struct log *log)
{
    char text[160];
    int length = snprintf(text, sizeof text, "wirt: %llu bytes of output were not logged: %s\n",
                          (unsigned long long)log->lost, strerror(log->lost_errno));
    int error =
        append(log, WIRE_STDERR, log->open_line[WIRE_STDERR], (uint8_t *)text, (size_t)length);
    if (error == 0) {
        log->lost = 0;
        log->open_line[WIRE_STDERR] = false;
    }
    return error;
}

void log_write(struct log *log, int stream, const uint8_t *bytes, size_t length)
{
    if (log->directory == NULL || length == 0)
        return;
    int error = log->lost > 0 ? confess(log) : 0;
    if (error == 0)
        error = append(log, stream, log->open_line[stream], bytes, length);
    if (error != 0) {
        drop(log, length, error);
        return;
    }
    log->open_line[stream] = bytes[length - 1] != '\n';
}
