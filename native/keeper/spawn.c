#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../wire/cleanup.h"
#include "keeper.h"

#define GIVEN 3

const char **spawn_vector(const struct wire_record *record, const char *key, size_t extra)
{
    const char **vector = calloc(wire_count(record, key) + extra + 1, sizeof *vector);
    if (vector == NULL)
        return NULL;
    uint32_t at = 0;
    for (size_t i = 0; (vector[i] = wire_each(record, key, &at)) != NULL; i++)
        ;
    return vector;
}

static int keep_open(const struct wire_record *record)
{
    uint32_t at = 0;
    for (const char *text; (text = wire_each(record, "child_fd", &at)) != NULL;)
        if (fcntl(atoi(text), F_SETFD, 0) < 0)
            return -errno;
    return 0;
}

static void child(const struct spawn *spawn)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    /* The guest's processes must not share a process group with the keeper: kill(0) crosses pid
       namespaces. */
    setsid();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 3; i++) {
        int from = spawn->stdio[i] >= 0 ? spawn->stdio[i] : null;
        /* dup2 onto itself would leave close-on-exec set. All of ours are above 2. */
        if (dup2(from, i) < 0)
            _exit(127);
    }
    if (spawn->inherit != NULL && keep_open(spawn->inherit) < 0) {
        dprintf(STDERR_FILENO, "a descriptor to inherit is not open: %s\n", strerror(errno));
        _exit(127);
    }
    if (spawn->give == GIVEN ? fcntl(GIVEN, F_SETFD, 0) < 0
                             : spawn->give > 0 && dup2(spawn->give, GIVEN) < 0)
        _exit(127);
    extern char **environ;
    environ = (char **)spawn->env;
    execvp(spawn->argv[0], (char *const *)spawn->argv);
    dprintf(STDERR_FILENO, "cannot run the engine %s: %s\n", spawn->argv[0], strerror(errno));
    _exit(127);
}

pid_t spawn(const struct spawn *spawn)
{
    pid_t pid = fork();
    if (pid == 0)
        child(spawn);
    return pid < 0 ? -errno : pid;
}
