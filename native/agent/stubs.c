#include "stubs.h"

#include "../wire/cleanup.h"
#include "files.h"
#include "given.h"
#include "mounts.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define IMAGE "/lower"

struct stubs {
    char **targets; /* those seen so far */
    size_t count;
    bool mounted;
};

static bool inside_another(const struct stubs *stubs, const char *target)
{
    for (size_t i = 0; i < stubs->count; i++) {
        size_t length = strlen(stubs->targets[i]);
        if (strncmp(target, stubs->targets[i], length) == 0 && target[length] == '/')
            return true;
    }
    return false;
}

static int remember(struct stubs *stubs, const char *target)
{
    char **grown = realloc(stubs->targets, (stubs->count + 1) * sizeof *grown);
    if (grown == NULL)
        return -ENOMEM;
    stubs->targets = grown;
    stubs->targets[stubs->count] = strdup(target);
    return stubs->targets[stubs->count++] == NULL ? -ENOMEM : 0;
}

/* mkdir -p; what is made anew is the machine's own root user's. */
static int make_path(char *path, bool is_file)
{
    for (char *at = path + strlen(STUBS_PLACE) + 1; *at != '\0'; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        int failed = mkdir(path, 0755) != 0 && errno != EEXIST;
        *at = '/';
        if (failed)
            return -errno;
    }
    if (!is_file)
        return mkdir(path, 0755) != 0 && errno != EEXIST ? -errno : 0;
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    return fd < 0 ? -errno : 0;
}

/* The nearest directory of the image on the way to `target`, and in `known` how much of the text
 * leads to it. -1: it is there already, or something odd is, on which the mount must judge. */
static int nearest(int image, const char *target, size_t *known)
{
    char part[PATH_MAX];
    struct stat status;
    snprintf(part, sizeof part, "%s", target);
    cleanup_close int whole = open_in_root(image, part, O_PATH, 0);
    if (whole >= 0)
        return -1;
    for (char *slash; (slash = strrchr(part, '/')) != NULL;) {
        const char *next = target + (slash - part) + 1;
        char leaf[NAME_MAX + 1];
        size_t length = strcspn(next, "/");
        *slash = '\0';
        cleanup_close int held = open_in_root(image, *part == '\0' ? "/" : part, O_PATH, 0);
        if (held < 0)
            continue;
        if (length == 0 || length >= sizeof leaf)
            return -1;
        memcpy(leaf, next, length);
        leaf[length] = '\0';
        if (fstatat(held, leaf, &status, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
            return -1;
        *known = (size_t)(slash - part);
        return steal_fd(held);
    }
    return -1;
}

static int make_stub(void *own, const char *target, bool is_file, struct failure *why)
{
    struct stubs *stubs = own;
    char link[64], real[PATH_MAX], path[2 * PATH_MAX];
    size_t known = 0, base = strlen(IMAGE);
    if (strlen(target) >= PATH_MAX)
        return fail(why, ENAMETOOLONG, "a mount's target");
    bool nested = inside_another(stubs, target);
    if (remember(stubs, target) != 0)
        return fail(why, ENOMEM, "cannot make %s", target);
    cleanup_close int image = open(IMAGE, O_PATH | O_DIRECTORY | O_CLOEXEC);
    cleanup_close int held = nested ? -1 : nearest(image, target, &known);
    if (held < 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", held);
    ssize_t length = readlink(link, real, sizeof real - 1);
    if (length < (ssize_t)base || memcmp(real, IMAGE, base) != 0)
        return 0;
    real[length] = '\0';
    if (!stubs->mounted) {
        if ((mkdir(STUBS_PLACE, 0755) != 0 && errno != EEXIST) ||
            mount("tmpfs", STUBS_PLACE, "tmpfs", 0, "mode=755") != 0)
            return fail(why, errno, "cannot make places for mounts");
        stubs->mounted = true;
    }
    snprintf(path, sizeof path, STUBS_PLACE "%s%s", real + base, target + known);
    int error = make_path(path, is_file);
    return error == 0 ? 0 : fail(why, -error, "cannot make %s", target);
}

/* A directory that the image has looks here as it does there. */
static int dress(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    char there[2 * PATH_MAX];
    struct stat image;
    (void)status, (void)where;
    snprintf(there, sizeof there, IMAGE "%s", path + strlen(STUBS_PLACE));
    if (kind != FTW_DP || lstat(there, &image) != 0 || !S_ISDIR(image.st_mode))
        return 0;
    const struct timespec times[2] = {image.st_atim, image.st_mtim};
    return chown(path, image.st_uid, image.st_gid) != 0 ||
           chmod(path, image.st_mode & 07777) != 0 || utimensat(AT_FDCWD, path, times, 0) != 0;
}

int make_stubs(const struct wire_record *config, struct failure *why)
{
    static const char *const trees[] = {"/dev", "/proc", "/sys"};
    struct stubs stubs = {0};
    int error = 0;
    for (size_t i = 0; error == 0 && i < sizeof trees / sizeof *trees; i++)
        error = make_stub(&stubs, trees[i], false, why);
    if (error == 0)
        error = each_mount_point(config, make_stub, &stubs, why);
    if (error == 0)
        error = each_given(config, make_stub, &stubs, why);
    if (error == 0 && stubs.mounted && nftw(STUBS_PLACE, dress, 16, FTW_DEPTH | FTW_PHYS) != 0)
        error = fail(why, errno, "cannot make places for mounts");
    for (size_t i = 0; i < stubs.count; i++)
        free(stubs.targets[i]);
    free(stubs.targets);
    return error < 0 ? error : stubs.mounted;
}
