#include "../wire/cleanup.h"
#include "files.h"
#include "tar.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

struct unpacker {
    struct tar_reader reader;
    struct tar_member member;
    struct failure *why;
    const char *into;
    int root;
    bool no_overwrite;
};

/* `into` and the member's name as one path. Names with ".." are refused, not cleaned. */
static int join(const struct unpacker *unpacker, const char *name, char out[PATH_MAX])
{
    for (const char *at = name; *at != '\0';) {
        size_t length = strcspn(at, "/");
        if (length == 2 && at[0] == '.' && at[1] == '.')
            return -EINVAL;
        at += length + (at[length] == '/');
    }
    int length = snprintf(out, PATH_MAX, "%s/%s", unpacker->into, name);
    if (length >= PATH_MAX)
        return -ENAMETOOLONG;
    /* Strip "/" and "/." from the end: "dir/" and "./" name the directory itself. */
    while (length > 1 &&
           (out[length - 1] == '/' || (out[length - 1] == '.' && out[length - 2] == '/')))
        out[--length] = '\0';
    return 0;
}

static int remove_tree(int directory, const char *name, int depth)
{
    if (unlinkat(directory, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    int fd = depth > TAR_DEPTH_MAX
                 ? -1
                 : openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (entries == NULL)
        return depth > TAR_DEPTH_MAX ? -ELOOP : -errno;
    int error = 0;
    for (struct dirent *e; error == 0 && (e = readdir(entries)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            error = remove_tree(fd, e->d_name, depth + 1);
    closedir(entries);
    if (error == 0 && unlinkat(directory, name, AT_REMOVEDIR) != 0)
        error = -errno;
    return error;
}

/* Makes way for the member. 1: it is a directory that is there already. */
static int clear(struct unpacker *unpacker, int parent, const char *name)
{
    struct stat there;
    bool directory = unpacker->member.type == '5';
    if (fstatat(parent, name, &there, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : -errno;
    if (directory && S_ISDIR(there.st_mode))
        return 1;
    if (unpacker->no_overwrite && directory != S_ISDIR(there.st_mode))
        return fail(unpacker->why, 0, "cannot overwrite %s %s with %s",
                    directory ? "non-directory" : "directory", unpacker->member.path,
                    directory ? "directory" : "non-directory");
    return remove_tree(parent, name, 0);
}

static int write_file(struct unpacker *unpacker, int parent, const char *name)
{
    char chunk[65536];
    ssize_t count;
    cleanup_close int fd =
        openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    while ((count = tar_content(&unpacker->reader, chunk, sizeof chunk)) > 0) {
        int error = write_all(fd, chunk, (size_t)count);
        if (error != 0)
            return error;
    }
    return (int)count;
}

static int hard_link(struct unpacker *unpacker, int parent, const char *name)
{
    char path[PATH_MAX];
    const char *target;
    int error = join(unpacker, unpacker->member.link, path);
    if (error != 0)
        return error;
    cleanup_close int from = open_parent(unpacker->root, path, &target);
    if (from < 0 || linkat(from, target, parent, name, 0) != 0)
        return -errno;
    return 0;
}

static int make(struct unpacker *unpacker, int parent, const char *name)
{
    const struct tar_member *member = &unpacker->member;
    mode_t kinds[] = {['3'] = S_IFCHR, ['4'] = S_IFBLK, ['6'] = S_IFIFO};
    switch (member->type) {
    case '0':
        return write_file(unpacker, parent, name);
    case '1':
        return hard_link(unpacker, parent, name);
    case '2':
        return symlinkat(member->link, parent, name) == 0 ? 0 : -errno;
    case '3':
    case '4':
    case '6':
        return mknodat(parent, name, kinds[(unsigned char)member->type] | 0600,
                       makedev(member->major, member->minor)) == 0
                   ? 0
                   : -errno;
    case '5':
        return mkdirat(parent, name, 0700) == 0 ? 0 : -errno;
    default:
        return fail(unpacker->why, 0, "%s is of a kind that is not supported", member->path);
    }
}

/* Owner first: it clears setuid bits and capabilities that come after it. */
static int dress(const struct tar_member *member, int parent, const char *name)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = member->mtime}};
    if (member->type == '1')
        return 0;
    if (member->uid > UINT32_MAX - 1 || member->gid > UINT32_MAX - 1)
        return -EINVAL;
    if (fchownat(parent, name, (uid_t)member->uid, (gid_t)member->gid, AT_SYMLINK_NOFOLLOW) != 0)
        return -errno;
    if (member->type != '2') {
        char path[64 + NAME_MAX + 1];
        const char *key, *value;
        size_t at = 0, size;
        if (fchmodat(parent, name, member->mode, 0) != 0)
            return -errno;
        snprintf(path, sizeof path, "/proc/self/fd/%d/%s", parent, name);
        while (tar_each_xattr(member, &at, &key, &value, &size)) {
            char attribute[256];
            snprintf(attribute, sizeof attribute, "%.*s", (int)(value - key - 1), key);
            if (lsetxattr(path, attribute, value, size, 0) != 0 && errno != ENOTSUP)
                return -errno;
        }
    }
    utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW);
    return 0;
}

static int unpack_member(struct unpacker *unpacker)
{
    struct tar_member *member = &unpacker->member;
    char path[PATH_MAX];
    const char *name;
    int error = join(unpacker, member->path, path);
    if (error != 0)
        return error;
    if (strcmp(path, unpacker->into) == 0 || strcmp(path, "/") == 0)
        return 0;
    cleanup_close int parent = open_parent(unpacker->root, path, &name);
    if (parent < 0 && errno == ENOENT) {
        size_t head = (size_t)(strrchr(path, '/') - path);
        path[head] = '\0';
        error = make_directories(unpacker->root, path, 0755);
        path[head] = '/';
        parent = error == 0 ? open_parent(unpacker->root, path, &name) : -1;
    }
    if (parent < 0)
        return error != 0 ? error : -errno;
    error = clear(unpacker, parent, name);
    if (error == 0)
        error = make(unpacker, parent, name);
    return error < 0 ? error : dress(member, parent, name);
}

static int open_into(struct unpacker *unpacker)
{
    unpacker->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    cleanup_close int into = open_in_root(unpacker->root, unpacker->into, O_PATH | O_DIRECTORY, 0);
    if (into < 0)
        return fail(unpacker->why, errno, "%s", unpacker->into);
    return 0;
}

int tar_unpack(int fd, const char *into, bool no_overwrite, struct failure *why)
{
    cleanup_free struct unpacker *unpacker = calloc(1, sizeof *unpacker);
    if (unpacker == NULL)
        return fail(why, ENOMEM, "cannot unpack");
    char clean[PATH_MAX];
    snprintf(clean, sizeof clean, "%s", into);
    for (size_t length = strlen(clean); length > 0 && clean[length - 1] == '/';)
        clean[--length] = '\0';
    *unpacker = (struct unpacker){.reader.fd = fd,
                                  .why = why,
                                  .into = *into == '\0' ? "/" : into,
                                  .no_overwrite = no_overwrite};
    int state = open_into(unpacker);
    unpacker->into = clean;
    while (state == 0 && (state = tar_next(&unpacker->reader, &unpacker->member, why)) > 0) {
        *why->message = '\0';
        int error = unpack_member(unpacker);
        free(unpacker->member.xattrs);
        if (error != 0 && *why->message == '\0')
            fail(why, -error, "cannot unpack %.300s", unpacker->member.path);
        state = error != 0 ? -1 : 0;
    }
    if (unpacker->root >= 0)
        close(unpacker->root);
    return state < 0 ? state : 0;
}
