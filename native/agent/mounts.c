#include "mounts.h"

#include "../wire/cleanup.h"
#include "files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* Where shares are mounted before their place is known. Not visible to the guest for long. */
#define STAGE "/dev/shm/.wirt-share"

struct entry {
    char *source, *target, *file;
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
    for (char *option; (option = strsep(&rest, "\037")) != NULL;) {
        if (*option == '\0' || take_flag(entry, option))
            continue;
        if (strncmp(option, "file=", 5) == 0) {
            entry->file = option + 5;
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
static int open_target(const struct entry *entry, struct failure *why)
{
    cleanup_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = open_in_root(root, entry->target, O_PATH, 0);
    int error = fd < 0 ? -errno : 0;
    if (error == -ENOENT && (error = make_directories(root, entry->target, 0755)) == 0) {
        fd = open_in_root(root, entry->target, O_PATH, 0);
        error = fd < 0 ? -errno : 0;
    }
    if (error != 0)
        return fail(why, -error, "cannot make %s", entry->target);
    return fd;
}

/* The same for a file: an empty one is made in its (made) directory. */
static int open_target_file(const struct entry *entry, struct failure *why)
{
    cleanup_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    cleanup_free char *parent = strdup(entry->target);
    char *slash = parent == NULL ? NULL : strrchr(parent, '/');
    if (slash == NULL)
        return fail(why, ENOMEM, "cannot make %s", entry->target);
    *slash = '\0';
    int error = *parent == '\0' ? 0 : make_directories(root, parent, 0755);
    if (error != 0)
        return fail(why, -error, "cannot make %s", parent);
    int fd = open_in_root(root, entry->target, O_PATH, 0);
    if (fd < 0 && errno == ENOENT) {
        cleanup_close int made =
            open_in_root(root, entry->target, O_CREAT | O_EXCL | O_WRONLY, 0644);
        fd = open_in_root(root, entry->target, O_PATH, 0);
    }
    return fd >= 0 ? fd : fail(why, errno, "cannot make %s", entry->target);
}

static int place(const struct entry *entry, const char *from, int target, struct failure *why)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", target);
    if (mount(from, path, NULL, MS_BIND, NULL) != 0)
        return fail(why, errno, "cannot mount on %s", entry->target);
    unsigned long flags = entry->flags & (MS_RDONLY | MS_NOEXEC | MS_NOSUID | MS_NODEV);
    cleanup_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    cleanup_close int top = open_in_root(root, entry->target, O_PATH, 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", top);
    if (flags != 0 && mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | flags, NULL) != 0)
        return fail(why, errno, "cannot mount on %s with its options", entry->target);
    return 0;
}

static int mount_share(const struct entry *entry, struct failure *why)
{
    char from[512];
    if (mkdir(STAGE, 0700) != 0 && errno != EEXIST)
        return fail(why, errno, "cannot mount on %s", entry->target);
    if (mount(entry->source, STAGE, "virtiofs", 0, NULL) != 0)
        return fail(why, errno, "cannot mount the shared folder for %s", entry->target);
    snprintf(from, sizeof from, "%s%s%s", STAGE, entry->file ? "/" : "",
             entry->file ? entry->file : "");
    cleanup_close int target = entry->file ? open_target_file(entry, why) : open_target(entry, why);
    int error = target < 0 ? target : place(entry, from, target, why);
    umount2(STAGE, MNT_DETACH);
    rmdir(STAGE);
    return error;
}

static int mount_tmpfs(const struct entry *entry, struct failure *why)
{
    char path[64];
    cleanup_close int target = open_target(entry, why);
    if (target < 0)
        return target;
    snprintf(path, sizeof path, "/proc/self/fd/%d", target);
    if (mount("tmpfs", path, "tmpfs", entry->flags, entry->data) != 0)
        return fail(why, errno, "cannot mount a tmpfs on %s", entry->target);
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

int mount_all(const struct wire_record *config, struct failure *why)
{
    uint32_t at = 0;
    for (const char *text; (text = wire_each(config, "mount", &at)) != NULL;) {
        struct entry entry;
        cleanup_free char *copy = strdup(text);
        int error = copy == NULL ? -ENOMEM : parse_entry(copy, &entry, why);
        if (error == 0)
            error = strcmp(entry.source, "tmpfs") == 0 ? mount_tmpfs(&entry, why)
                                                       : mount_share(&entry, why);
        if (error != 0)
            return error;
    }
    return 0;
}
