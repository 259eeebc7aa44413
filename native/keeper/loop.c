#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "keeper.h"

int source_open(struct keeper *keeper, struct source *source, int fd, uint32_t events,
                source_ready ready)
{
    *source = (struct source){.fd = fd, .ready = ready};
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    source_watch(keeper, source, events);
    return events != 0 && source->events == 0 ? -EPERM : 0;
}

void source_watch(struct keeper *keeper, struct source *source, uint32_t events)
{
    if (source->fd < 0 || source->events == events)
        return;
    struct epoll_event event = {.events = events, .data.ptr = source};
    int operation = events == 0           ? EPOLL_CTL_DEL
                    : source->events == 0 ? EPOLL_CTL_ADD
                                          : EPOLL_CTL_MOD;
    if (epoll_ctl(keeper->epoll, operation, source->fd, &event) == 0)
        source->events = events;
}

void source_close(struct keeper *keeper, struct source *source)
{
    if (source->fd < 0)
        return;
    source_watch(keeper, source, 0);
    close(source->fd);
    source->fd = -1;
}

int64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t clock_wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
