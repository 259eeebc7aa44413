#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keeper.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

static int fail(const char *what, int error)
{
    dprintf(STDERR_FILENO, "wirt-keeper: %s: %s\n", what, strerror(error));
    return 1;
}

int main(int argc, char **argv)
{
    struct keeper keeper = {0};
    if (argc != 2) {
        dprintf(STDERR_FILENO, "usage: wirt-keeper RUN-DIRECTORY\n");
        return 2;
    }
    struct stat directory;
    /* Pipes must not become a child's standard streams by their number. */
    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
        ;
    close(fd);
    umask(022);
    if (chdir(argv[1]) < 0 || stat(".", &directory) < 0)
        return fail(argv[1], errno);
    /* The daemon reads what the keeper writes; programs that are run do not inherit this. */
    setfsgid(directory.st_gid);
    int error = conf_read(&keeper.conf);
    if (error < 0)
        return 1;
    /* What was inherited is for QEMU (child_fd) or only to be held; no engine may get the rest. */
    if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        return fail("close_range", errno);
    error = keeper_open(&keeper);
    if (error == 0)
        error = keeper_run(&keeper);
    return error < 0 ? fail("cannot run", -error) : 0;
}
