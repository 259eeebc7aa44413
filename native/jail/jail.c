/*
 * wirt-jail: becomes another program with fewer rights, inside a guest's control groups.
 *
 *   wirt-jail [cgroup=FILE]... [keep=FD]... [root=DIR] [uid=N gid=N [group=N]] -- PROGRAM [ARG]...
 *
 * The keeper starts a machine's programs through it. It writes itself into each FILE
 * (cgroup.procs, tasks). Of the descriptors above 2 the program gets those that are named. DIR is
 * the root directory that it sees. With uid and gid the program runs as those, in no other group
 * than `group`, without capabilities, and can never gain rights again. Anything that fails ends it
 * with 126: a machine that is not confined does not run.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

_Noreturn static void give_up(const char *what)
{
    dprintf(STDERR_FILENO, "wirt-jail: %s: %s\n", what, strerror(errno));
    _exit(126);
}

static void join(const char *path)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1)
        give_up(path);
    close(fd);
}

static long number(const char *text)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < 0 || value > 0x7fffffff) {
        errno = EINVAL;
        give_up(text);
    }
    return value;
}

static const char *value_of(const char *argument, const char *key)
{
    size_t length = strlen(key);
    return strncmp(argument, key, length) == 0 && argument[length] == '=' ? argument + length + 1
                                                                          : NULL;
}

/* All but those that keep() names afterwards are closed when the program begins. */
static void close_rest(void)
{
    if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) != 0)
        give_up("cannot close descriptors");
}

static void keep(const char *text)
{
    if (fcntl((int)number(text), F_SETFD, 0) != 0)
        give_up(text);
}

static void change_root(const char *path)
{
    if (chroot(path) != 0 || chdir("/") != 0)
        give_up(path);
}

static void drop_rights(long uid, long gid, long group)
{
    gid_t groups[1] = {(gid_t)group};
    if (setgroups(group >= 0 ? 1 : 0, groups) != 0 || setresgid(gid, gid, gid) != 0 ||
        setresuid(uid, uid, uid) != 0)
        give_up("cannot give up root's rights");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        give_up("cannot forbid new rights");
}

int main(int argc, char **argv)
{
    const struct rlimit no_core = {0, 0};
    const char *root = NULL;
    long uid = -1, gid = -1, group = -1;
    int at = 1;
    close_rest();
    for (const char *value; at < argc && strcmp(argv[at], "--") != 0; at++) {
        if ((value = value_of(argv[at], "cgroup")) != NULL)
            join(value);
        else if ((value = value_of(argv[at], "keep")) != NULL)
            keep(value);
        else if ((value = value_of(argv[at], "root")) != NULL)
            root = value;
        else if ((value = value_of(argv[at], "uid")) != NULL)
            uid = number(value);
        else if ((value = value_of(argv[at], "gid")) != NULL)
            gid = number(value);
        else if ((value = value_of(argv[at], "group")) != NULL)
            group = number(value);
        else
            break;
    }
    if (at + 1 >= argc || strcmp(argv[at], "--") != 0 || (uid < 0) != (gid < 0) || uid == 0) {
        errno = EINVAL;
        give_up("usage: wirt-jail [cgroup=FILE]... [keep=FD]... [root=DIR]"
                " [uid=N gid=N [group=N]] -- PROGRAM...");
    }
    umask(077);
    if (setrlimit(RLIMIT_CORE, &no_core) != 0)
        give_up("cannot forbid core files");
    if (root != NULL)
        change_root(root);
    if (uid > 0)
        drop_rights(uid, gid, group);
    execv(argv[at + 1], argv + at + 1);
    give_up(argv[at + 1]);
}
