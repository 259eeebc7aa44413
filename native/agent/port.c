#include "port.h"

#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PORTS "/sys/class/virtio-ports"
enum { WAIT_MS = 10000 };

bool has_pci(void)
{
    DIR *devices = opendir("/sys/bus/pci/devices");
    bool found = false;
    for (struct dirent *e; devices != NULL && !found && (e = readdir(devices)) != NULL;)
        found = e->d_name[0] != '.';
    if (devices != NULL)
        closedir(devices);
    return found;
}

static int try_ports(void)
{
    DIR *ports = opendir(PORTS);
    int fd = -1;
    for (struct dirent *e; ports != NULL && fd < 0 && (e = readdir(ports)) != NULL;) {
        char path[300], name[64];
        snprintf(path, sizeof path, PORTS "/%s/name", e->d_name);
        if (e->d_name[0] == '.' || read_text(path, name, sizeof name) <= 0 ||
            strcmp(name, "wirt.agent\n") != 0)
            continue;
        snprintf(path, sizeof path, "/dev/%s", e->d_name);
        fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    }
    if (ports != NULL)
        closedir(ports);
    return fd;
}

/* The port has its name a moment before it learns that the host has opened the other end. */
static bool is_connected(int fd)
{
    struct pollfd ask = {.fd = fd, .events = POLLOUT};
    return poll(&ask, 1, 0) == 1 && (ask.revents & POLLOUT) != 0 && (ask.revents & POLLHUP) == 0;
}

int open_port(struct failure *why)
{
    const struct timespec pause = {.tv_nsec = 500000};
    int fd = -1;
    for (int waited = 0; waited < 2 * WAIT_MS; waited++) {
        if (fd < 0)
            fd = try_ports();
        if (fd >= 0 && is_connected(fd))
            return fd;
        nanosleep(&pause, NULL);
    }
    if (fd >= 0)
        close(fd);
    return fail(why, ENODEV, "the machine has no port wirt.agent");
}
