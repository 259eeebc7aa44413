#include "../wire/cleanup.h"
#include "changes.h"
#include "files.h"
#include "tar.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

enum { BUCKETS = 4096, LINKS_MAX = 65536, XATTRS_MAX = 65536 };

/* A file with several names, by its first one. */
struct seen {
    struct seen *next;
    dev_t device;
    ino_t inode;
    char path[];
};

struct packer {
    int fd;
    struct failure *why;
    struct seen *bucket[BUCKETS];
    size_t count;
    struct tar_member member; /* too large for the stack of a deep walk */
};

/* The first name of this file, or NULL when this is it. Above a bound files become copies. */
static const char *first_name(struct packer *packer, const struct stat *status, const char *path)
{
    struct seen **slot = &packer->bucket[(size_t)status->st_ino % BUCKETS];
    for (struct seen *at = *slot; at != NULL; at = at->next)
        if (at->inode == status->st_ino && at->device == status->st_dev)
            return at->path;
    struct seen *seen = packer->count < LINKS_MAX ? malloc(sizeof *seen + strlen(path) + 1) : NULL;
    if (seen != NULL) {
        seen->next = *slot;
        seen->device = status->st_dev;
        seen->inode = status->st_ino;
        strcpy(seen->path, path);
        *slot = seen;
        packer->count++;
    }
    return NULL;
}

static void forget_names(struct packer *packer)
{
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct seen *at = packer->bucket[i], *next; at != NULL; at = next) {
            next = at->next;
            free(at);
        }
}

static char type_of(mode_t mode)
{
    return S_ISREG(mode)    ? '0'
           : S_ISLNK(mode)  ? '2'
           : S_ISCHR(mode)  ? '3'
           : S_ISBLK(mode)  ? '4'
           : S_ISDIR(mode)  ? '5'
           : S_ISFIFO(mode) ? '6'
                            : 0;
}

bool tar_keeps_xattr(const char *name)
{
    return (strncmp(name, "user.", 5) == 0 && strncmp(name, "user.overlay.", 13) != 0) ||
           strcmp(name, "security.capability") == 0;
}

/* The extended attributes that belong to the file itself, as pax records. */
static void read_xattrs(struct packer *packer, int fd)
{
    struct tar_member *member = &packer->member;
    static char names[XATTRS_MAX], value[XATTRS_MAX];
    ssize_t length = flistxattr(fd, names, sizeof names);
    for (ssize_t at = 0; at < length; at += (ssize_t)strlen(names + at) + 1) {
        const char *name = names + at;
        ssize_t size = tar_keeps_xattr(name) ? fgetxattr(fd, name, value, sizeof value) : -1;
        if (size < 0)
            continue;
        size_t most = strlen(name) + (size_t)size + 64;
        char *grown = realloc(member->xattrs, member->xattr_size + most);
        if (grown == NULL)
            return;
        member->xattrs = grown;
        member->xattr_size += tar_put_xattr(grown + member->xattr_size, name, value, (size_t)size);
    }
}

static int write_content(struct packer *packer, int file, uint64_t size, const char *path)
{
    char chunk[65536];
    uint64_t left = size;
    while (left > 0) {
        ssize_t count = read_all(file, chunk, left < sizeof chunk ? (size_t)left : sizeof chunk);
        if (count < 0)
            return fail(packer->why, (int)-count, "cannot read %s", path);
        /* The file became shorter meanwhile: its header has promised more. */
        if (count == 0)
            memset(chunk, 0, (size_t)(count = left < sizeof chunk ? (ssize_t)left : 65536));
        int error = write_all(packer->fd, chunk, (size_t)count);
        if (error != 0)
            return fail(packer->why, -error, "cannot send %s", path);
        left -= (uint64_t)count;
    }
    int error = tar_write_padding(packer->fd, size);
    return error == 0 ? 0 : fail(packer->why, -error, "cannot send %s", path);
}

static void describe(struct packer *packer, int directory, const char *entry, const char *name,
                     int fd, const struct stat *status)
{
    struct tar_member *member = &packer->member;
    bool is_directory = S_ISDIR(status->st_mode);
    *member = (struct tar_member){
        .type = type_of(status->st_mode),
        .mode = status->st_mode & 07777,
        .uid = status->st_uid,
        .gid = status->st_gid,
        .size = S_ISREG(status->st_mode) ? (uint64_t)status->st_size : 0,
        .mtime = status->st_mtim.tv_sec,
        .mtime_ns = status->st_mtim.tv_sec < 0 ? 0 : (uint32_t)status->st_mtim.tv_nsec,
        .major = major(status->st_rdev),
        .minor = minor(status->st_rdev),
    };
    snprintf(member->path, sizeof member->path, "%s%s", name, is_directory ? "/" : "");
    if (S_ISLNK(status->st_mode)) {
        ssize_t length = readlinkat(directory, entry, member->link, sizeof member->link - 1);
        member->link[length < 0 ? 0 : length] = '\0';
    }
    if (!is_directory && status->st_nlink > 1) {
        const char *first = first_name(packer, status, name);
        if (first != NULL) {
            member->type = '1';
            member->size = member->major = member->minor = 0;
            snprintf(member->link, sizeof member->link, "%s", first);
        }
    }
    if (fd >= 0 && member->type != '1')
        read_xattrs(packer, fd);
}

/* The object alone. `fd`: open, for files and directories. */
static int write_object(struct packer *packer, int directory, const char *entry, const char *name,
                        int fd, const struct stat *status)
{
    describe(packer, directory, entry, name, fd, status);
    int error = tar_write_member(packer->fd, &packer->member);
    free(packer->member.xattrs);
    if (error != 0)
        return fail(packer->why, -error, "cannot send %s", name);
    return packer->member.type == '0' ? write_content(packer, fd, packer->member.size, name) : 0;
}

static int pack(struct packer *packer, int directory, const char *entry, const char *name,
                int depth);

static int by_bytes(const struct dirent **one, const struct dirent **other)
{
    return strcmp((*one)->d_name, (*other)->d_name);
}

static int is_entry(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* In the order of bytes: the same tree gives the same stream. Closes `fd`. */
static int pack_entries(struct packer *packer, int fd, const char *name, int depth)
{
    struct dirent **entries = NULL;
    char through[64];
    snprintf(through, sizeof through, "/proc/self/fd/%d", fd);
    int count = scandir(through, &entries, is_entry, by_bytes);
    int error = count >= 0 ? 0 : fail(packer->why, errno, "cannot read %s", name);
    for (int i = 0; i < count; i++) {
        char path[TAR_PATH_MAX];
        if (error == 0 &&
            (size_t)snprintf(path, sizeof path, "%s%s%s", name, *name == '\0' ? "" : "/",
                             entries[i]->d_name) >= sizeof path - 1)
            error = fail(packer->why, ENAMETOOLONG, "%s", name);
        if (error == 0)
            error = pack(packer, fd, entries[i]->d_name, path, depth + 1);
        free(entries[i]);
    }
    free(entries);
    close(fd);
    return error;
}

static int pack(struct packer *packer, int directory, const char *entry, const char *name,
                int depth)
{
    struct stat status;
    if (depth > TAR_DEPTH_MAX)
        return fail(packer->why, ELOOP, "%s is too deep", name);
    if (fstatat(directory, entry, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT && depth > 0 ? 0 : fail(packer->why, errno, "cannot read %s", name);
    if (type_of(status.st_mode) == 0) /* a socket: tar cannot hold it */
        return 0;
    int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    bool opens = S_ISDIR(status.st_mode) || S_ISREG(status.st_mode);
    cleanup_close int fd = opens ? openat(directory, entry, flags) : -1;
    if (opens && (fd < 0 || fstat(fd, &status) != 0))
        return errno == ENOENT && depth > 0 ? 0 : fail(packer->why, errno, "cannot read %s", name);
    int error = write_object(packer, directory, entry, name, fd, &status);
    return error == 0 && S_ISDIR(status.st_mode) ? pack_entries(packer, steal_fd(fd), name, depth)
                                                 : error;
}

static struct packer *new_packer(int fd, struct failure *why)
{
    struct packer *packer = calloc(1, sizeof *packer);
    if (packer == NULL)
        return NULL;
    packer->fd = fd;
    packer->why = why;
    return packer;
}

static int finish(struct packer *packer, int error)
{
    if (error == 0 && (error = tar_write_end(packer->fd)) != 0)
        error = fail(packer->why, -error, "cannot send the end");
    forget_names(packer);
    free(packer);
    return error;
}

int tar_pack(const char *path, const char *name, int fd, struct failure *why)
{
    struct packer *packer = new_packer(fd, why);
    if (packer == NULL)
        return fail(why, ENOMEM, "cannot read %s", path);
    return finish(packer, pack(packer, AT_FDCWD, path, *name == '\0' ? "." : name, 0));
}

int tar_pack_inside(const char *path, int fd, struct failure *why)
{
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct packer *packer = directory < 0 ? NULL : new_packer(fd, why);
    if (packer == NULL)
        return fail(why, directory < 0 ? errno : ENOMEM, "cannot read %s", path);
    return finish(packer, pack_entries(packer, directory, "", 0));
}

/* --- changes ---------------------------------------------------------------------------------- */

static int pack_removed(void *own, const char *name, const struct stat *before, struct failure *why)
{
    struct packer *packer = own;
    (void)before;
    packer->member = (struct tar_member){.type = '3'};
    snprintf(packer->member.path, sizeof packer->member.path, "%s", name);
    int error = tar_write_member(packer->fd, &packer->member);
    return error == 0 ? 0 : fail(why, -error, "cannot send %s", name);
}

static int pack_found(void *own, const struct change *change, struct failure *why)
{
    struct packer *packer = own;
    struct stat status = *change->status;
    if (change->fd >= 0)
        return write_object(packer, change->parent, change->leaf, change->name, change->fd,
                            &status);
    if (type_of(status.st_mode) == 0) /* a socket: tar cannot hold it */
        return 0;
    int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    cleanup_close int fd =
        S_ISREG(status.st_mode) ? openat(change->parent, change->leaf, flags) : -1;
    if (S_ISREG(status.st_mode) && (fd < 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)))
        return fd >= 0 || errno == ENOENT || errno == ELOOP
                   ? 0
                   : fail(why, errno, "cannot read %s", change->name);
    return write_object(packer, change->parent, change->leaf, change->name, fd, &status);
}

int tar_pack_changes(const struct change_views *views, int fd, struct failure *why)
{
    struct packer *packer = new_packer(fd, why);
    if (packer == NULL)
        return fail(why, ENOMEM, "cannot read what was changed");
    struct change_sink sink = {pack_removed, pack_found, packer};
    return finish(packer, changes_walk(views, &sink, why));
}
