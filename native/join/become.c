/* The rights of a container's process, put on in the order in which crun does it. */
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "join.h"

#define GROUPS_MAX 65536
#define CAPABILITY_VERSION 0x20080522 /* _LINUX_CAPABILITY_VERSION_3 */
#define SECCOMP_FILTER 1              /* SECCOMP_SET_MODE_FILTER */
#define SECCOMP_SPEC_ALLOW 4          /* crun's choice where a profile names no flags */
#define INSTRUCTION 8                 /* bytes of a struct sock_filter */

static int limits(const struct wire_record *process)
{
    uint32_t at = 0;
    for (const char *text; (text = wire_each(process, "rlimit", &at)) != NULL;) {
        unsigned kind;
        unsigned long long soft, hard;
        if (sscanf(text, "%u:%llu:%llu", &kind, &soft, &hard) != 3)
            return -EINVAL;
        struct rlimit limit = {soft, hard};
        if (setrlimit((int)kind, &limit) < 0)
            return -errno;
    }
    return 0;
}

/* A descriptor or a link below /proc must not lead out of the container (CVE-2024-21626). */
static int enter(const char *directory)
{
    char here[PATH_MAX];
    if (directory == NULL || chdir(directory) < 0)
        return directory ? -errno : -EINVAL;
    return syscall(SYS_getcwd, here, sizeof here) > 0 && here[0] == '/' ? 0 : -ENOENT;
}

static bool can_run(const char *path)
{
    struct stat stat_;
    return stat(path, &stat_) == 0 && S_ISREG(stat_.st_mode) && access(path, X_OK) == 0;
}

/* execvp(3) of the container's own PATH, by root, as crun looks for it. */
static int find(const struct wish *wish, char out[PATH_MAX])
{
    const char *name = wish->argv[0], *path = NULL;
    for (size_t i = 0; wish->env[i] != NULL; i++)
        if (strncmp(wish->env[i], "PATH=", 5) == 0)
            path = wish->env[i] + 5;
    if (strchr(name, '/') != NULL)
        return snprintf(out, PATH_MAX, "%s", name) < PATH_MAX && can_run(out) ? 0 : -ENOENT;
    while (path != NULL && *path != '\0') {
        size_t length = strcspn(path, ":");
        int size = snprintf(out, PATH_MAX, "%.*s/%s", (int)length, path, name);
        if (length > 0 && size < PATH_MAX && can_run(out))
            return 0;
        path += length + (path[length] == ':');
    }
    return -ENOENT;
}

static int filter(const struct wish *wish)
{
    struct {
        unsigned short length;
        void *instructions;
    } program = {(unsigned short)(wish->filter.size / INSTRUCTION), wish->filter.data};
    if (wish->filter.size == 0)
        return 0;
    return syscall(SYS_seccomp, SECCOMP_FILTER, SECCOMP_SPEC_ALLOW, &program) < 0 ? -errno : 0;
}

static int groups(const struct wire_record *process)
{
    static gid_t list[GROUPS_MAX];
    size_t count = 0;
    uint32_t at = 0;
    for (const char *text; (text = wire_each(process, "group", &at)) != NULL;) {
        if (count == GROUPS_MAX)
            return -EINVAL;
        list[count++] = (gid_t)strtoul(text, NULL, 10);
    }
    return setgroups(count, list) < 0 ? -errno : 0;
}

static int mask(const struct wire_record *process, const char *key, uint64_t *out)
{
    const char *text = wire_get(process, key);
    char *end;
    if (text == NULL || *text == '\0')
        return -EINVAL;
    *out = strtoull(text, &end, 16);
    return *end == '\0' ? 0 : -EINVAL;
}

static int bound(uint64_t bounding)
{
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (!(bounding >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return -errno;
    return 0;
}

/* Programs that open /dev/stdout anew need to own it; /dev/null belongs to the host. */
static void own_pipes(uid_t uid, gid_t gid)
{
    for (int fd = 0; fd < 3; fd++) {
        struct stat stat_;
        if (fstat(fd, &stat_) == 0 && S_ISFIFO(stat_.st_mode) && fchown(fd, uid, gid) < 0)
            continue;
    }
}

static int identity(const struct wire_record *process)
{
    int64_t uid, gid;
    uint64_t bounding, effective, permitted;
    if (wire_number(process, "uid", 0, UINT32_MAX - 1, -1, &uid) < 0 || uid < 0 ||
        wire_number(process, "gid", 0, UINT32_MAX - 1, -1, &gid) < 0 || gid < 0 ||
        mask(process, "bounding", &bounding) < 0 || mask(process, "effective", &effective) < 0 ||
        mask(process, "permitted", &permitted) < 0)
        return -EINVAL;
    int error = groups(process);
    if (error == 0) {
        own_pipes((uid_t)uid, (gid_t)gid);
        error = bound(bounding);
    }
    if (error != 0)
        return error;
    struct {
        uint32_t version;
        int pid;
    } header = {CAPABILITY_VERSION, 0};
    struct {
        uint32_t effective, permitted, inheritable;
    } sets[2] = {{(uint32_t)effective, (uint32_t)permitted, 0},
                 {(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), 0}};
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 ||
        setresgid((gid_t)gid, (gid_t)gid, (gid_t)gid) < 0 ||
        setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid) < 0 ||
        syscall(SYS_capset, &header, sets) < 0 ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return -errno;
    return 0;
}

int become(const struct wish *wish)
{
    char path[PATH_MAX];
    bool bare = wire_flag(wish->process, "no_new_privileges");
    int error = enter(wire_get(wish->process, "cwd"));
    if (error == 0)
        error = limits(wish->process);
    if (error == 0)
        error = find(wish, path);
    /* Whoever may gain rights needs them to load a filter, so it comes first. */
    if (error == 0 && !bare)
        error = filter(wish);
    if (error == 0)
        error = identity(wish->process);
    if (error == 0 && bare && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        error = -errno;
    umask(022);
    if (error == 0 && bare)
        error = filter(wish);
    if (error != 0)
        return error;
    execve(path, (char *const *)wish->argv, (char *const *)wish->env);
    return -errno;
}
