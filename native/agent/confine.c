#include "confine.h"

#include "files.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *name;
    int resource;
} LIMITS[] = {
    {"as", RLIMIT_AS},           {"core", RLIMIT_CORE},         {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},       {"fsize", RLIMIT_FSIZE},       {"locks", RLIMIT_LOCKS},
    {"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
    {"nofile", RLIMIT_NOFILE},   {"nproc", RLIMIT_NPROC},       {"rss", RLIMIT_RSS},
    {"rtprio", RLIMIT_RTPRIO},   {"rttime", RLIMIT_RTTIME},     {"sigpending", RLIMIT_SIGPENDING},
    {"stack", RLIMIT_STACK},
};

static rlim_t limit_of(const char *text, char **end)
{
    long long value = strtoll(text, end, 10);
    return value < 0 ? RLIM_INFINITY : (rlim_t)value;
}

/* `name US soft US hard`; -1 means without limit. */
static int parse_limit(const char *text, int *resource, struct rlimit *limit)
{
    size_t length = strcspn(text, "\037");
    for (size_t i = 0; i < sizeof LIMITS / sizeof *LIMITS; i++) {
        if (strlen(LIMITS[i].name) != length || memcmp(LIMITS[i].name, text, length) != 0)
            continue;
        char *end;
        limit->rlim_cur = limit_of(text + length + (text[length] != '\0'), &end);
        if (*end != WIRE_US)
            return -EINVAL;
        limit->rlim_max = limit_of(end + 1, &end);
        *resource = LIMITS[i].resource;
        return *end == '\0' ? 0 : -EINVAL;
    }
    return -EINVAL;
}

/* Applies or only checks the ulimit entries. */
static int limits(const struct wire_record *config, int apply, struct failure *why)
{
    uint32_t at = 0;
    for (const char *text; (text = wire_each(config, "ulimit", &at)) != NULL;) {
        struct rlimit limit;
        int resource;
        if (parse_limit(text, &resource, &limit) != 0)
            return fail(why, EINVAL, "ulimit %s", text);
        if (apply && setrlimit(resource, &limit) != 0)
            return fail(why, errno, "ulimit %.*s", (int)strcspn(text, "\037"), text);
    }
    return 0;
}

int confine_prepare(const struct wire_record *config, struct failure *why)
{
    int error = limits(config, 0, why);
    const char *pids = wire_get(config, "pids");
    if (error != 0 || pids == NULL)
        return error;
    write_text("/sys/fs/cgroup/cgroup.subtree_control", "+pids");
    if (mkdir(CONFINE_CGROUP, 0755) != 0)
        return fail(why, errno, "cgroup for the limit of processes");
    error = write_text(CONFINE_CGROUP "/pids.max", pids);
    return error == 0 ? 0 : fail(why, -error, "limit of processes %s", pids);
}

static int drop_capabilities(const char *kept, struct failure *why)
{
    unsigned long long mask = strtoull(kept, NULL, 16);
    for (unsigned long number = 0; number < 64; number++) {
        if (mask >> number & 1 || prctl(PR_CAPBSET_READ, number, 0, 0, 0) != 1)
            continue;
        if (prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0)
            return fail(why, errno, "cannot drop capability %lu", number);
    }
    return 0;
}

int confine_enter(const struct wire_record *config, const struct user *user, struct failure *why)
{
    if (wire_get(config, "pids") != NULL) {
        int error = write_text(CONFINE_CGROUP "/cgroup.procs", "0");
        if (error != 0)
            return fail(why, -error, "the limit of processes");
    }
    int error = limits(config, 1, why);
    if (error != 0)
        return error;
    const char *kept = wire_get(config, "caps");
    if (kept != NULL && (error = drop_capabilities(kept, why)) != 0)
        return error;
    if (setgroups(user->group_count, user->groups) != 0 ||
        setresgid(user->gid, user->gid, user->gid) != 0 ||
        setresuid(user->uid, user->uid, user->uid) != 0)
        return fail(why, errno, "cannot become user %u:%u", user->uid, user->gid);
    if (wire_flag(config, "no_new_privs") && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return fail(why, errno, "no-new-privileges");
    return 0;
}
