/*
 * wirt-join: runs a further process in a container, as `crun exec --detach` would.
 *
 *   wirt-join PROCESS PIDFILE MAIN -- ENGINE [ARGUMENT]...
 *
 * Started by the keeper in the run directory, with the process' standard streams and, as descriptor
 * 3, a pidfd of the container's main process, whose pid is MAIN. PROCESS is a record of what to
 * run; keeper.conf names the groups and the system call filter (docs/reference/keeper-protocol.md).
 * When the process runs its pid is written to PIDFILE, and 0 is returned.
 *
 * A process that puts itself into a group of cgroup version 1 is spared the RCU grace period, some
 * 10 ms, that the kernel needs to move another one. Anything out of the ordinary is left to ENGINE,
 * which then says what is wrong: until execve(2) nothing has been done but to a child that is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../wire/cleanup.h"
#include "join.h"

#define MAIN_FD 3
#define NAMESPACES (CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

int content_read(struct content *content, const char *path)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t room = 0;
    ssize_t count = -1;
    if (fd < 0)
        return -errno;
    do {
        if (content->size + 1 >= room) {
            room = room ? 2 * room : 16384;
            char *grown = room <= 2 * WIRE_RECORD_MAX ? realloc(content->data, room) : NULL;
            if (grown == NULL)
                return -ENOMEM;
            content->data = grown;
        }
        count = read(fd, content->data + content->size, room - content->size - 1);
        if (count > 0)
            content->size += (size_t)count;
    } while (count > 0);
    content->data[content->size] = '\0';
    return count < 0 ? -errno : 0;
}

static int load(struct wire_record *record, const char *path)
{
    struct content content = {0};
    int error = content_read(&content, path);
    if (error == 0)
        error = wire_record_load(record, content.data, content.size);
    free(content.data);
    return error;
}

static const char **vector(const struct wire_record *record, const char *key)
{
    const char **made = calloc(wire_count(record, key) + 1, sizeof *made);
    uint32_t at = 0;
    for (size_t i = 0; made != NULL && (made[i] = wire_each(record, key, &at)) != NULL; i++)
        ;
    return made;
}

/* The child writes itself into each group, and must then be where the main process is. */
static int join_groups(const struct wire_record *conf, const struct content *theirs)
{
    uint32_t at = 0;
    for (const char *path; (path = wire_each(conf, "join_group", &at)) != NULL;) {
        cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) != 1)
            return -errno;
    }
    struct content ours = {0};
    int error = content_read(&ours, "/proc/self/cgroup");
    if (error == 0 && (ours.size != theirs->size || memcmp(ours.data, theirs->data, ours.size)))
        error = -EXDEV;
    free(ours.data);
    return error;
}

_Noreturn static void child(const struct wire_record *conf, const struct wish *wish,
                            const struct content *groups, int tell)
{
    /* From here on the container's processes see us; they must not look into us. */
    int error = prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : join_groups(conf, groups);
    if (error == 0 && setns(MAIN_FD, NAMESPACES) < 0)
        error = -errno;
    if (error == 0)
        error = become(wish);
    if (write(tell, &error, sizeof error) < 0)
        _exit(1);
    _exit(127);
}

static int remember(const char *path, pid_t pid)
{
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd < 0 || dprintf(fd, "%d", (int)pid) < 0 ? -errno : 0;
}

/* 0 when the process runs, else a negative errno and nothing is left of it. */
static int run(const struct wire_record *conf, const struct wish *wish, const char *main_pid,
               const char *pid_file)
{
    char where[64];
    int ends[2], error = 0;
    struct content groups = {0};
    snprintf(where, sizeof where, "/proc/%s/cgroup", main_pid);
    cleanup_close int home = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    if (home < 0 || content_read(&groups, where) < 0 || pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    if (setns(MAIN_FD, CLONE_NEWPID) < 0) /* of our children; we stay where we are */
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        child(conf, wish, &groups, ends[1]);
    int failed = pid < 0 ? -errno : 0;
    close(ends[1]);
    ssize_t count = pid < 0 ? 0 : read(ends[0], &error, sizeof error);
    if (failed == 0 && count == 0)
        failed = remember(pid_file, pid);
    else if (failed == 0)
        failed = count == sizeof error ? error : -EIO;
    if (failed != 0 && pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    if (failed != 0 && setns(home, CLONE_NEWPID) < 0)
        _exit(125);
    return failed;
}

static int attempt(char **argv)
{
    struct wire_record conf = {0}, process = {0};
    struct wish wish = {.process = &process};
    if (fcntl(MAIN_FD, F_SETFD, FD_CLOEXEC) < 0 || load(&conf, "keeper.conf") < 0 ||
        load(&process, argv[1]) < 0)
        return -EINVAL;
    const char *filter = wire_get(&conf, "join_filter");
    wish.argv = vector(&process, "argv");
    wish.env = vector(&process, "env");
    if (filter == NULL || wish.argv == NULL || wish.env == NULL || wish.argv[0] == NULL)
        return -EINVAL;
    if (*filter != '\0' && (content_read(&wish.filter, filter) < 0 || wish.filter.size == 0 ||
                            wish.filter.size % 8 != 0 || wish.filter.size / 8 > 4096))
        return -EINVAL;
    return run(&conf, &wish, argv[3], argv[2]);
}

int main(int argc, char **argv)
{
    if (argc < 6 || strcmp(argv[4], "--") != 0)
        return 2;
    pid_t keeper = getppid();
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != keeper)
        return 125;
    if (attempt(argv) == 0)
        return 0;
    prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
    execv(argv[5], argv + 5);
    dprintf(STDERR_FILENO, "cannot run the engine %s: %s\n", argv[5], strerror(errno));
    return 127;
}
