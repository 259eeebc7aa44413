#include "changes.h"

#include "../wire/cleanup.h"
#include "files.h"
#include "tar.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>

#ifndef FIFREEZE /* linux/fs.h */
#define FIFREEZE _IOWR('X', 119, int)
#define FITHAW _IOWR('X', 120, int)
#endif

enum { OPEN_DIRECTORY = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, XATTRS_MAX = 65536 };

/* A directory on the way to where the walk is. It is told when something in it is. */
struct frame {
    struct frame *above;
    struct change change;
    bool told;
};

struct walk {
    const struct wire_record *config;
    const struct change_sink *sink;
    struct failure *why;
};

struct views {
    int upper, lower, merged; /* -1: there is none */
};

struct names {
    struct dirent **list;
    int count;
};

static int by_bytes(const struct dirent **one, const struct dirent **other)
{
    return strcmp((*one)->d_name, (*other)->d_name);
}

static int is_entry(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int read_names(struct walk *walk, int fd, struct names *names)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    names->count = fd < 0 ? 0 : scandir(path, &names->list, is_entry, by_bytes);
    return names->count >= 0 ? 0 : fail(walk->why, errno, "cannot read what was changed");
}

static void free_names(struct names *names)
{
    for (int i = 0; i < names->count; i++)
        free(names->list[i]);
    free(names->list);
}

static bool has_name(const struct names *names, const char *name)
{
    int low = 0, high = names->count;
    while (low < high) {
        int middle = (low + high) / 2, order = strcmp(names->list[middle]->d_name, name);
        if (order == 0)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

/* --- comparing -------------------------------------------------------------------------------- */

static bool alike(const struct stat *one, const struct stat *other, bool with_time)
{
    return one->st_mode == other->st_mode && one->st_uid == other->st_uid &&
           one->st_gid == other->st_gid &&
           (!with_time || (one->st_mtim.tv_sec == other->st_mtim.tv_sec &&
                           one->st_mtim.tv_nsec == other->st_mtim.tv_nsec));
}

/* Whether `other` has all the attributes that `one` has, and how many these are. */
static bool has_attributes(int one, int other, size_t *count)
{
    static char names[XATTRS_MAX], mine[XATTRS_MAX], yours[XATTRS_MAX];
    ssize_t length = flistxattr(one, names, sizeof names);
    for (ssize_t at = 0; at < length; at += (ssize_t)strlen(names + at) + 1) {
        const char *name = names + at;
        if (!tar_keeps_xattr(name))
            continue;
        ssize_t size = fgetxattr(one, name, mine, sizeof mine);
        ssize_t other_size = fgetxattr(other, name, yours, sizeof yours);
        if (size != other_size || (size > 0 && memcmp(mine, yours, (size_t)size) != 0))
            return false;
        ++*count;
    }
    return true;
}

static bool same_attributes(int one, int other)
{
    size_t first = 0, second = 0;
    return has_attributes(one, other, &first) && has_attributes(other, one, &second) &&
           first == second;
}

/*
 * Whether the agent itself made `name`, or with `inside` something in the directory of that name:
 * managed files, and places for the kernel's trees on disks of older machines.
 */
static bool is_own(const struct walk *walk, const char *name, bool inside)
{
    static const char *const trees[] = {"dev", "proc", "sys"};
    uint32_t at = 0;
    size_t length = strlen(name);
    for (size_t i = 0; !inside && i < sizeof trees / sizeof *trees; i++)
        if (strcmp(name, trees[i]) == 0)
            return true;
    if (wire_flag(walk->config, "traceless"))
        return false;
    for (const char *text; (text = wire_each(walk->config, "file", &at)) != NULL;) {
        const char *rest = text + 1 + length;
        if (strncmp(text + 1, name, length) != 0)
            continue;
        if (inside ? *rest == '/' && rest[1 + strcspn(rest + 1, "/\037")] == WIRE_US
                   : *rest == WIRE_US)
            return true;
    }
    return false;
}

/* --- telling ---------------------------------------------------------------------------------- */

static int tell_frames(struct walk *walk, struct frame *frame)
{
    if (frame == NULL || frame->told)
        return 0;
    int error = tell_frames(walk, frame->above);
    frame->told = true;
    return error != 0 ? error : walk->sink->found(walk->sink->own, &frame->change, walk->why);
}

static int tell_removed(struct walk *walk, struct frame *frame, int lower, const char *name,
                        const char *leaf)
{
    struct stat before;
    if (fstatat(lower, leaf, &before, AT_SYMLINK_NOFOLLOW) != 0)
        return 0;
    int error = tell_frames(walk, frame);
    return error != 0 ? error : walk->sink->removed(walk->sink->own, name, &before, walk->why);
}

/* --- walking ---------------------------------------------------------------------------------- */

static int walk_inside(struct walk *walk, struct frame *above, const struct views *views,
                       const char *name, int depth);

static int open_inside(int directory, const char *leaf)
{
    return directory < 0 ? -1 : openat(directory, leaf, OPEN_DIRECTORY);
}

static int walk_directory(struct walk *walk, struct frame *above, const struct views *views,
                          const struct change *found, int depth)
{
    cleanup_close int upper = open_inside(found->parent, found->leaf);
    if (upper < 0) /* swapped since it was looked at */
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP
                   ? 0
                   : fail(walk->why, errno, "cannot read %s", found->name);
    bool was = found->before != NULL && S_ISDIR(found->before->st_mode);
    cleanup_close int lower = was ? open_inside(views->lower, found->leaf) : -1;
    cleanup_close int merged = open_inside(views->merged, found->leaf);
    struct views inside = {upper, lower, merged >= 0 ? merged : upper};
    struct frame frame = {.above = above, .change = *found};
    frame.change.fd = upper;
    int error = 0;
    bool with_time = !is_own(walk, found->name, true);
    if (lower < 0 || !alike(found->status, found->before, with_time) ||
        !same_attributes(upper, lower))
        error = tell_frames(walk, &frame);
    return error != 0 ? error : walk_inside(walk, &frame, &inside, found->name, depth + 1);
}

static int walk_entry(struct walk *walk, struct frame *above, const struct views *views,
                      const char *name, const char *leaf, int depth)
{
    struct stat status, before;
    if (fstatat(views->upper, leaf, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : fail(walk->why, errno, "cannot read %s", name);
    if ((S_ISCHR(status.st_mode) && status.st_rdev == 0) /* a whiteout */ ||
        is_own(walk, name, false))
        return 0;
    bool known =
        views->lower >= 0 && fstatat(views->lower, leaf, &before, AT_SYMLINK_NOFOLLOW) == 0;
    struct change found = {
        .name = name,
        .leaf = leaf,
        .parent = views->upper,
        .fd = -1,
        .status = &status,
        .before = known ? &before : NULL,
    };
    if (S_ISDIR(status.st_mode))
        return walk_directory(walk, above, views, &found, depth);
    int error = tell_frames(walk, above);
    return error != 0 ? error : walk->sink->found(walk->sink->own, &found, walk->why);
}

static int join(struct walk *walk, char out[TAR_PATH_MAX], const char *name, const char *leaf)
{
    int length = snprintf(out, TAR_PATH_MAX, "%s%s%s", name, *name == '\0' ? "" : "/", leaf);
    return length < TAR_PATH_MAX - 1 ? 0 : fail(walk->why, ENAMETOOLONG, "%s", name);
}

/* `views->lower` is what the image has, of which some is not seen any more. */
static int walk_removed(struct walk *walk, struct frame *above, const struct views *views,
                        const char *name)
{
    struct names below = {0}, seen = {0};
    char path[TAR_PATH_MAX];
    int error = read_names(walk, views->lower, &below);
    if (error == 0 && views->lower >= 0)
        error = read_names(walk, views->merged, &seen);
    for (int i = 0; error == 0 && i < below.count; i++) {
        const char *leaf = below.list[i]->d_name;
        if (has_name(&seen, leaf) || (error = join(walk, path, name, leaf)) != 0)
            continue;
        error = tell_removed(walk, above, views->lower, path, leaf);
    }
    free_names(&below);
    free_names(&seen);
    return error;
}

static int walk_inside(struct walk *walk, struct frame *above, const struct views *views,
                       const char *name, int depth)
{
    struct names own = {0};
    char path[TAR_PATH_MAX];
    if (depth > TAR_DEPTH_MAX)
        return fail(walk->why, ELOOP, "%.200s is too deep", name);
    int error = walk_removed(walk, above, views, name);
    if (error == 0)
        error = read_names(walk, views->upper, &own);
    for (int i = 0; error == 0 && i < own.count; i++) {
        error = join(walk, path, name, own.list[i]->d_name);
        if (error == 0)
            error = walk_entry(walk, above, views, path, own.list[i]->d_name, depth);
    }
    free_names(&own);
    return error;
}

int changes_walk(const struct change_views *views, const struct change_sink *sink,
                 struct failure *why)
{
    struct walk walk = {views->config, sink, why};
    cleanup_close int own = openat(views->upper, ".", OPEN_DIRECTORY);
    cleanup_close int image = openat(views->lower, ".", OPEN_DIRECTORY);
    cleanup_close int whole = openat(views->merged, ".", OPEN_DIRECTORY);
    struct stat status, before;
    if (own < 0 || image < 0 || whole < 0 || fstat(own, &status) != 0 || fstat(image, &before) != 0)
        return fail(why, errno, "cannot read what was changed");
    struct change root = {
        .name = ".", .leaf = ".", .parent = own, .fd = own, .status = &status, .before = &before};
    int error = 0;
    /* Its time changes with everything put into it. */
    if (!alike(&status, &before, false))
        error = sink->found(sink->own, &root, why);
    struct views opened = {own, image, whole};
    return error != 0 ? error : walk_inside(&walk, NULL, &opened, "", 0);
}

/* --- as a list -------------------------------------------------------------------------------- */

static unsigned long long size_of(const struct stat *status)
{
    return status != NULL && S_ISREG(status->st_mode) ? (unsigned long long)status->st_size : 0;
}

static int write_line(FILE *out, char kind, const char *name, const struct stat *status,
                      const struct stat *before, struct failure *why)
{
    int count =
        fprintf(out, "%c %llu %llu %s%c", kind, size_of(status), size_of(before), name, '\0');
    return count > 0 ? 0 : fail(why, errno, "cannot send what was changed");
}

static int list_removed(void *own, const char *name, const struct stat *before, struct failure *why)
{
    return write_line(own, 'D', name, NULL, before, why);
}

static int list_found(void *own, const struct change *change, struct failure *why)
{
    if (strcmp(change->name, ".") == 0)
        return 0;
    char kind = change->before == NULL ? 'A' : 'C';
    return write_line(own, kind, change->name, change->status, change->before, why);
}

int changes_list(const struct change_views *views, int fd, struct failure *why)
{
    FILE *out = fdopen(fd, "w");
    if (out == NULL)
        return fail(why, errno, "cannot send what was changed");
    struct change_sink sink = {list_removed, list_found, out};
    int error = changes_walk(views, &sink, why);
    if (fclose(out) != 0 && error == 0)
        error = fail(why, errno, "cannot send what was changed");
    return error;
}

/* --- standing still --------------------------------------------------------------------------- */

int hold_still(int directory, struct failure *why)
{
    cleanup_close int disk = openat(directory, ".", OPEN_DIRECTORY);
    if (disk < 0)
        return fail(why, errno, "cannot hold the disk still");
    /* Busy: whoever held it before was killed and could not let it go. */
    if (ioctl(disk, FIFREEZE, 0) != 0 && errno != EBUSY)
        return fail(why, errno, "cannot hold the disk still");
    return steal_fd(disk);
}

void let_go(int disk)
{
    ioctl(disk, FITHAW, 0);
    close(disk);
}
