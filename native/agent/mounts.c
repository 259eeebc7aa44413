#include "mounts.h"

#include "../wire/cleanup.h"
#include "files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* Where shares are mounted before their place is known, in the initramfs. */
#define SHARES "share"
/* Where on the machine's disk goes what is written to shares that are not to be changed. */
#define DISCARDED "/disk/discarded"

struct entry {
    char *source, *target, *only;
    bool discard;
    unsigned long flags;
    char data[1024];
};

static bool take_flag(struct entry *entry, const char *option)
{
    static const struct {
        const char *name;
        unsigned long flag;
    } flags[] = {
        {"ro", MS_RDONLY},        {"rw", 0},
        {"noexec", MS_NOEXEC},    {"exec", 0},
        {"nosuid", MS_NOSUID},    {"suid", 0},
        {"nodev", MS_NODEV},      {"dev", 0},
        {"noatime", MS_NOATIME},  {"relatime", MS_RELATIME},
        {"sync", MS_SYNCHRONOUS},
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcmp(flags[i].name, option) == 0) {
            entry->flags |= flags[i].flag;
            return true;
        }
    return false;
}

static int parse_entry(char *text, struct entry *entry, struct failure *why)
{
    char *rest = text;
    *entry = (struct entry){.source = strsep(&rest, "\037")};
    entry->target = strsep(&rest, "\037");
    if (entry->target == NULL || *entry->target != '/')
        return fail(why, EINVAL, "a mount without an absolute target");
    if (*entry->source == '\0' || strchr(entry->source, '/') != NULL)
        return fail(why, EINVAL, "the mount on %s", entry->target);
    for (char *option; (option = strsep(&rest, "\037")) != NULL;) {
        if (*option == '\0' || take_flag(entry, option))
            continue;
        if (strncmp(option, "only=", 5) == 0) {
            entry->only = option + 5;
        } else if (strcmp(option, "discard") == 0) {
            entry->discard = true;
        } else {
            size_t used = strlen(entry->data);
            int more = snprintf(entry->data + used, sizeof entry->data - used, "%s%s",
                                used > 0 ? "," : "", option);
            if ((size_t)more >= sizeof entry->data - used)
                return fail(why, EINVAL, "the options of the mount on %s", entry->target);
        }
    }
    return 0;
}

/* Makes the target and gives a descriptor of it, never through a link out of the root. */
static int open_target(const char *target, struct failure *why)
{
    cleanup_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = open_in_root(root, target, O_PATH, 0);
    int error = fd < 0 ? -errno : 0;
    if (error == -ENOENT && (error = make_directories(root, target, 0755)) == 0) {
        fd = open_in_root(root, target, O_PATH, 0);
        error = fd < 0 ? -errno : 0;
    }
    if (error != 0)
        return fail(why, -error, "cannot make %s", target);
    return fd;
}

/* The same for a file: an empty one is made in its (made) directory. */
static int open_target_file(const char *target, struct failure *why)
{
    cleanup_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    cleanup_free char *parent = strdup(target);
    char *slash = parent == NULL ? NULL : strrchr(parent, '/');
    if (slash == NULL)
        return fail(why, ENOMEM, "cannot make %s", target);
    *slash = '\0';
    int error = *parent == '\0' ? 0 : make_directories(root, parent, 0755);
    if (error != 0)
        return fail(why, -error, "cannot make %s", parent);
    int fd = open_in_root(root, target, O_PATH, 0);
    if (fd < 0 && errno == ENOENT) {
        cleanup_close int made = open_in_root(root, target, O_CREAT | O_EXCL | O_WRONLY, 0644);
        fd = open_in_root(root, target, O_PATH, 0);
    }
    return fd >= 0 ? fd : fail(why, errno, "cannot make %s", target);
}

int mount_held(int held, const char *target, unsigned long flags, struct failure *why)
{
    char from[64], path[64];
    struct stat status;
    if (fstat(held, &status) != 0)
        return fail(why, errno, "cannot mount on %s", target);
    cleanup_close int place =
        S_ISDIR(status.st_mode) ? open_target(target, why) : open_target_file(target, why);
    if (place < 0)
        return place;
    snprintf(from, sizeof from, "/proc/self/fd/%d", held);
    snprintf(path, sizeof path, "/proc/self/fd/%d", place);
    if (mount(from, path, NULL, MS_BIND, NULL) != 0)
        return fail(why, errno, "cannot mount on %s", target);
    flags &= MS_RDONLY | MS_NOEXEC | MS_NOSUID | MS_NODEV;
    cleanup_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    cleanup_close int top = open_in_root(root, target, O_PATH, 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", top);
    if (flags != 0 && mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | flags, NULL) != 0)
        return fail(why, errno, "cannot mount on %s with its options", target);
    return 0;
}

/* --- shares ----------------------------------------------------------------------------------- */

/* An overlay upon the share itself: the share is never asked to change anything. */
static int cover(const struct entry *entry, const char *place, struct failure *why)
{
    char own[128], upper[160], work[160], data[512];
    snprintf(own, sizeof own, DISCARDED "/%s", entry->source);
    snprintf(upper, sizeof upper, "%s/upper", own);
    snprintf(work, sizeof work, "%s/work", own);
    snprintf(data, sizeof data, "lowerdir=/%s,upperdir=%s,workdir=%s", place, upper, work);
    mkdir(DISCARDED, 0700);
    mkdir(own, 0700);
    mkdir(upper, 0755);
    mkdir(work, 0700);
    if (mount("overlay", place, "overlay", 0, data) != 0)
        return fail(why, errno, "cannot lay the machine's disk over what is for %s", entry->target);
    return 0;
}

static int stage(const struct entry *entry, struct failure *why)
{
    char place[128];
    if ((size_t)snprintf(place, sizeof place, SHARES "/%s", entry->source) >= sizeof place)
        return fail(why, ENAMETOOLONG, "the share for %s", entry->target);
    mkdir(SHARES, 0700);
    mkdir(place, 0700);
    if (mount(entry->source, place, "virtiofs", 0, NULL) != 0)
        return fail(why, errno, "cannot mount the shared folder for %s", entry->target);
    return entry->discard ? cover(entry, place, why) : 0;
}

static int open_staged(const struct entry *entry, int initramfs, struct failure *why)
{
    char path[512];
    snprintf(path, sizeof path, SHARES "/%s%s%s", entry->source, entry->only ? "/" : "",
             entry->only ? entry->only : "");
    int held = openat(initramfs, path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    return held >= 0 ? held : fail(why, errno, "there is nothing to mount on %s", entry->target);
}

static int mount_share(const struct entry *entry, int initramfs, struct failure *why)
{
    cleanup_close int held = open_staged(entry, initramfs, why);
    return held < 0 ? held : mount_held(held, entry->target, entry->flags, why);
}

static int mount_tmpfs(const struct entry *entry, struct failure *why)
{
    char path[64];
    cleanup_close int target = open_target(entry->target, why);
    if (target < 0)
        return target;
    snprintf(path, sizeof path, "/proc/self/fd/%d", target);
    if (mount("tmpfs", path, "tmpfs", entry->flags, entry->data) != 0)
        return fail(why, errno, "cannot mount a tmpfs on %s", entry->target);
    return 0;
}

/* --- all of them ------------------------------------------------------------------------------ */

static bool is_tmpfs(const struct entry *entry)
{
    return strcmp(entry->source, "tmpfs") == 0;
}

/* Takes each entry, parsed, until one is refused. */
typedef int entry_taken(const struct entry *entry, void *own, struct failure *why);

static int each_entry(const struct wire_record *config, entry_taken *take, void *own,
                      struct failure *why)
{
    uint32_t at = 0;
    for (const char *text; (text = wire_each(config, "mount", &at)) != NULL;) {
        struct entry entry;
        cleanup_free char *copy = strdup(text);
        int error = copy == NULL ? -ENOMEM : parse_entry(copy, &entry, why);
        if (error == 0)
            error = take(&entry, own, why);
        if (error != 0)
            return error;
    }
    return 0;
}

bool has_shares(const struct wire_record *config)
{
    uint32_t at = 0;
    for (const char *text; (text = wire_each(config, "mount", &at)) != NULL;)
        if (strncmp(text, "tmpfs\037", 6) != 0)
            return true;
    return false;
}

static int stage_entry(const struct entry *entry, void *own, struct failure *why)
{
    (void)own;
    return is_tmpfs(entry) ? 0 : stage(entry, why);
}

int stage_shares(const struct wire_record *config, struct failure *why)
{
    return each_entry(config, stage_entry, NULL, why);
}

struct telling {
    point_found *found;
    void *own;
};

static int tell_entry(const struct entry *entry, void *own, struct failure *why)
{
    const struct telling *telling = own;
    struct stat status = {.st_mode = S_IFDIR};
    if (!is_tmpfs(entry)) {
        cleanup_close int held = open_staged(entry, AT_FDCWD, why);
        if (held < 0 || fstat(held, &status) != 0)
            return held < 0 ? held : fail(why, errno, "cannot mount on %s", entry->target);
    }
    return telling->found(telling->own, entry->target, !S_ISDIR(status.st_mode), why);
}

int each_mount_point(const struct wire_record *config, point_found *found, void *own,
                     struct failure *why)
{
    struct telling telling = {found, own};
    return each_entry(config, tell_entry, &telling, why);
}

static int mount_entry(const struct entry *entry, void *own, struct failure *why)
{
    return is_tmpfs(entry) ? mount_tmpfs(entry, why) : mount_share(entry, *(int *)own, why);
}

int mount_all(const struct wire_record *config, int initramfs, struct failure *why)
{
    return each_entry(config, mount_entry, &initramfs, why);
}
