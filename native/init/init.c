/* wirt-init: process 1 of a container started with --init.
 *
 *     wirt-init [--] program [argument...]
 *     wirt-init --env FILE program [argument...]
 *
 * The second form becomes the program itself, after it has taken further variables out of FILE,
 * which it empties: `NAME=value`, each ended by NUL. So they stand in no configuration.
 *
 * Runs the program as its child in an own process group that has the terminal, passes on every
 * signal, reaps orphans, and ends as the program ended (128+n for a signal). What cannot be run
 * ends with 127 (not found) or 126, as a shell would say. The kernel kills all others of the
 * container when this process ends. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int cannot_run(const char *program, int error)
{
    fprintf(stderr, "wirt-init: %s: %s\n", program, strerror(error));
    return error == ENOENT || error == ENOTDIR ? 127 : 126;
}

static void run(char **argv, const sigset_t *before)
{
    setpgid(0, 0);
    /* Not the leader of the terminal's foreground group yet: writing to it would stop us. */
    signal(SIGTTOU, SIG_IGN);
    tcsetpgrp(STDIN_FILENO, getpid());
    signal(SIGTTOU, SIG_DFL);
    sigprocmask(SIG_SETMASK, before, NULL);
    execvp(argv[0], argv);
    _exit(cannot_run(argv[0], errno));
}

/* Reap everybody who has ended; the exit status once the child is among them, else -1. */
static int reap(pid_t child)
{
    int status, code = -1;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == child)
            code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return code;
}

/* The content is never given back: the variables stay in it. */
static int take_variables(const char *path)
{
    struct stat status;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &status) != 0)
        return -1;
    char *text = malloc((size_t)status.st_size + 1), *end = text;
    if (text == NULL)
        return -1;
    for (ssize_t count; (count = read(fd, end, (size_t)(text + status.st_size - end))) > 0;)
        end += count;
    *end = '\0';
    if (ftruncate(fd, 0) != 0 || close(fd) != 0)
        return -1;
    for (char *at = text; at < end; at += strlen(at) + 1)
        if (putenv(at) != 0)
            return -1;
    return 0;
}

static int become(char **argv)
{
    if (take_variables(argv[0]) != 0) {
        fprintf(stderr, "wirt-init: cannot take the variables: %s\n", strerror(errno));
        return 125;
    }
    execvp(argv[1], argv + 1);
    return cannot_run(argv[1], errno);
}

int main(int argc, char **argv)
{
    if (argc > 3 && strcmp(argv[1], "--env") == 0)
        return become(argv + 2);
    char **program = argv + (argc > 1 && strcmp(argv[1], "--") == 0 ? 2 : 1);
    if (argc < 2 || *program == NULL) {
        fputs("usage: wirt-init [--] program [argument...]\n", stderr);
        return 125;
    }
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t child = fork();
    if (child < 0) {
        perror("wirt-init: fork");
        return 125;
    }
    if (child == 0)
        run(program, &before);
    setpgid(child, child); /* both do it: whoever comes first */
    for (;;) {
        siginfo_t info;
        int number = sigwaitinfo(&all, &info);
        if (number == SIGCHLD) {
            int code = reap(child);
            if (code >= 0)
                return code;
        } else if (number > 0 && number != SIGTTIN && number != SIGTTOU) {
            kill(child, number);
        }
    }
}
