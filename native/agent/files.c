#include "files.h"

#include "../wire/cleanup.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* struct open_how of linux/openat2.h. */
struct how {
    uint64_t flags, mode, resolve;
};
enum { IN_ROOT = 0x10, NO_MAGICLINKS = 0x02 };

int open_in_root(int root, const char *path, int flags, mode_t mode)
{
    /* openat2 refuses flags that O_PATH would ignore. */
    flags |= flags & O_PATH ? O_CLOEXEC : O_CLOEXEC | O_NOCTTY;
    struct how how = {
        .flags = (uint64_t)(unsigned)flags,
        .mode = mode,
        .resolve = IN_ROOT | NO_MAGICLINKS,
    };
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

int open_parent(int root, const char *path, const char **name)
{
    char parent[PATH_MAX];
    size_t length = strlen(path);
    const char *slash = strrchr(path, '/');
    *name = slash == NULL ? path : slash + 1;
    if (length >= sizeof parent || **name == '\0' || strcmp(*name, ".") == 0 ||
        strcmp(*name, "..") == 0) {
        errno = length >= sizeof parent ? ENAMETOOLONG : EINVAL;
        return -1;
    }
    size_t head = (size_t)(*name - path);
    memcpy(parent, path, head);
    strcpy(parent + head, ".");
    return open_in_root(root, parent, O_PATH | O_DIRECTORY, 0);
}

int make_directories(int root, const char *path, mode_t mode)
{
    char part[PATH_MAX];
    size_t length = strlen(path);
    if (length >= sizeof part)
        return -ENAMETOOLONG;
    for (size_t at = 1; at <= length; at++) {
        if (path[at] != '/' && path[at] != '\0')
            continue;
        memcpy(part, path, at);
        part[at] = '\0';
        cleanup_close int there = open_in_root(root, part, O_PATH | O_DIRECTORY, 0);
        if (there >= 0)
            continue;
        if (errno != ENOENT)
            return -errno;
        const char *name;
        cleanup_close int parent = open_parent(root, part, &name);
        if (parent < 0)
            return -errno;
        if (mkdirat(parent, name, mode) != 0 && errno != EEXIST)
            return -errno;
    }
    return 0;
}

int replace_file(int root, const char *path, const void *content, size_t length, mode_t mode)
{
    const char *name;
    cleanup_close int parent = open_parent(root, path, &name);
    if (parent < 0)
        return -errno;
    if (unlinkat(parent, name, 0) != 0 && errno != ENOENT)
        return -errno;
    cleanup_close int fd =
        openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return -errno;
    return write_all(fd, content, length);
}

int write_all(int fd, const void *bytes, size_t length)
{
    const char *at = bytes;
    while (length > 0) {
        ssize_t count = write(fd, at, length);
        if (count < 0 && errno == EAGAIN) {
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            poll(&wait, 1, -1);
            continue;
        }
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        at += count;
        length -= (size_t)count;
    }
    return 0;
}

ssize_t read_all(int fd, void *bytes, size_t length)
{
    size_t have = 0;
    while (have < length) {
        ssize_t count = read(fd, (char *)bytes + have, length - have);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        if (count == 0)
            break;
        have += (size_t)count;
    }
    return (ssize_t)have;
}

ssize_t read_text(const char *path, char *text, size_t size)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -errno;
    ssize_t count = read_all(fd, text, size - 1);
    text[count < 0 ? 0 : count] = '\0';
    return count;
}

int write_text(const char *path, const char *text)
{
    cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -errno;
    size_t length = strlen(text);
    ssize_t count = write(fd, text, length);
    if (count < 0)
        return -errno;
    return (size_t)count == length ? 0 : -EIO;
}
