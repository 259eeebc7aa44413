#include "root.h"

#include "../wire/cleanup.h"
#include "files.h"
#include "stubs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

enum { OPEN_TREE_CLONE_ = 1, OPEN_TREE_CLOEXEC_ = O_CLOEXEC, DEVICE_WAIT_MS = 5000 };

static int mount_one(const char *type, const char *target, unsigned long flags, const char *data,
                     struct failure *why)
{
    if (mount(type, target, type, flags, data) != 0)
        return fail(why, errno, "cannot mount %s on %s", type, target);
    return 0;
}

int mount_kernel_trees(struct failure *why)
{
    unsigned long plain = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    int error = mount_one("proc", "/proc", plain, NULL, why);
    if (error == 0)
        error = mount_one("sysfs", "/sys", plain, NULL, why);
    if (error == 0 && mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=755") != 0 &&
        errno != EBUSY)
        error = fail(why, errno, "cannot mount /dev");
    return error;
}

/* A disk's node appears a moment after its driver. */
static int wait_for_device(const char *path, struct failure *why)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int waited = 0; waited < DEVICE_WAIT_MS; waited++) {
        if (access(path, F_OK) == 0)
            return 0;
        nanosleep(&pause, NULL);
    }
    return fail(why, ENODEV, "the machine has no disk %s", path);
}

/* The upper directory of an overlay gives the root its owner and permissions. */
static int prepare_upper(struct failure *why)
{
    struct stat image;
    if (mkdir("/disk/work", 0700) != 0 && errno != EEXIST)
        return fail(why, errno, "cannot use the machine's disk");
    if (mkdir("/disk/upper", 0755) != 0)
        return errno == EEXIST ? 0 : fail(why, errno, "cannot use the machine's disk");
    if (stat("/lower", &image) != 0 || chown("/disk/upper", image.st_uid, image.st_gid) != 0 ||
        chmod("/disk/upper", image.st_mode & 07777) != 0)
        return fail(why, errno, "cannot use the machine's disk");
    return 0;
}

int mount_disks(const struct wire_record *config, struct failure *why)
{
    const char *root = wire_get(config, "root"), *disk = wire_get(config, "disk");
    const char *type = wire_get(config, "rootfs");
    if (root == NULL || type == NULL)
        return fail(why, EINVAL, "the machine's configuration names no root");
    int error = wait_for_device(root, why);
    if (error != 0)
        return error;
    if (mount(root, "/lower", type, MS_RDONLY, NULL) != 0)
        return fail(why, errno, "cannot mount the image's disk %s as %s", root, type);
    if (disk == NULL || *disk == '\0') {
        if (mount("tmpfs", "/disk", "tmpfs", 0, "mode=700") != 0)
            return fail(why, errno, "cannot make a writable layer");
    } else {
        error = wait_for_device(disk, why);
        if (error == 0 && mount(disk, "/disk", "ext4", 0, NULL) != 0)
            error = fail(why, errno, "cannot mount the machine's disk %s", disk);
    }
    return error == 0 ? prepare_upper(why) : error;
}

static int mount_layers(const struct wire_record *config, struct failure *why)
{
    char data[128];
    int stubs = make_stubs(config, why);
    if (stubs < 0)
        return stubs;
    snprintf(data, sizeof data, "lowerdir=%s/lower,upperdir=/disk/upper,workdir=/disk/work",
             stubs > 0 ? STUBS_PLACE ":" : "");
    if (mount("overlay", "/root", "overlay", 0, data) != 0)
        return fail(why, errno, "cannot lay the machine's disk over the image");
    return 0;
}

/* An image may hold anything where a directory belongs; only a directory is mounted upon. */
static int open_mountpoint(int root, const char *name, struct failure *why)
{
    if (mkdirat(root, name, 0755) != 0 && errno != EEXIST)
        return fail(why, errno, "cannot make /%s", name);
    int fd = openat(root, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? fd : fail(why, errno, "the image's /%s is not a directory", name);
}

static int move_mount_to(const char *from, int target, struct failure *why)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", target);
    if (mount(from, path, NULL, MS_MOVE, NULL) != 0)
        return fail(why, errno, "cannot move %s to the machine's root", from);
    return 0;
}

/* proc goes last: the moves need it. */
static int move_kernel_trees(int root, struct failure *why)
{
    static const char *const names[] = {"dev", "sys", "proc"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char from[16];
        snprintf(from, sizeof from, "/%s", names[i]);
        cleanup_close int target = open_mountpoint(root, names[i], why);
        int error = target < 0 ? target : move_mount_to(from, target, why);
        if (error != 0)
            return error;
    }
    return 0;
}

static int mount_temporary(const struct wire_record *config, struct failure *why)
{
    static const char *const links[][2] = {
        {"/proc/self/fd", "/dev/fd"},
        {"/proc/self/fd/0", "/dev/stdin"},
        {"/proc/self/fd/1", "/dev/stdout"},
        {"/proc/self/fd/2", "/dev/stderr"},
    };
    char shm[64];
    unsigned long plain = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    int64_t size;
    wire_number(config, "shm_size", 0, INT64_MAX, 64 << 20, &size);
    snprintf(shm, sizeof shm, "mode=1777,size=%lld", (long long)size);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        (void)symlink(links[i][0], links[i][1]);
    mkdir("/dev/pts", 0755);
    mkdir("/dev/shm", 01777);
    mkdir("/dev/mqueue", 0755);
    int error = mount_one("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC,
                          "newinstance,ptmxmode=0666,mode=620,gid=5", why);
    if (error == 0)
        error = mount_one("tmpfs", "/dev/shm", plain, shm, why);
    if (error == 0)
        error = mount_one("mqueue", "/dev/mqueue", plain, NULL, why);
    if (error == 0)
        error = mount_one("cgroup2", "/sys/fs/cgroup", plain, "nsdelegate", why);
    return error;
}

int enter_root(const struct wire_record *config, struct failure *why)
{
    int error = mount_layers(config, why);
    if (error != 0)
        return error;
    cleanup_close int root = open("/root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    cleanup_close int plain =
        (int)syscall(SYS_open_tree, AT_FDCWD, "/root", OPEN_TREE_CLONE_ | OPEN_TREE_CLOEXEC_);
    if (root < 0 || plain < 0)
        return fail(why, errno, "cannot open the machine's root");
    error = move_kernel_trees(root, why);
    if (error != 0)
        return error;
    if (fchdir(root) != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 ||
        chdir("/") != 0)
        return fail(why, errno, "cannot enter the machine's root");
    error = mount_temporary(config, why);
    return error == 0 ? steal_fd(plain) : error;
}

int open_plain_root(int upper, int lower, struct failure *why)
{
    enum { CLOEXEC = 1, SET_STRING = 1, CREATE = 6, READ_ONLY = 1 };
    char layers[128];
    snprintf(layers, sizeof layers, "/proc/self/fd/%d:/proc/self/fd/%d", upper, lower);
    cleanup_close int context = (int)syscall(SYS_fsopen, "overlay", CLOEXEC);
    if (context < 0 || syscall(SYS_fsconfig, context, SET_STRING, "lowerdir", layers, 0) != 0 ||
        syscall(SYS_fsconfig, context, CREATE, NULL, NULL, 0) != 0)
        return fail(why, errno, "cannot look at the machine's root");
    int root = (int)syscall(SYS_fsmount, context, CLOEXEC, READ_ONLY);
    return root >= 0 ? root : fail(why, errno, "cannot look at the machine's root");
}

int seal_root(struct failure *why)
{
    if (mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) != 0)
        return fail(why, errno, "cannot make the root read-only");
    return 0;
}
