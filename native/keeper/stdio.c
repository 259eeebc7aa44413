/* The standard streams of a container's process: two pipes and a third, or one terminal. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "container.h"

static struct task *task_of_output(struct keeper *keeper, const struct source *source, int *stream)
{
    for (struct task *at = keeper->tasks; at != NULL; at = at->next)
        for (int i = 0; i < 2; i++)
            if (source == &at->out[i]) {
                *stream = i == 0 ? WIRE_STDOUT : WIRE_STDERR;
                return at;
            }
    return NULL;
}

/* --- output -------------------------------------------------------------------------------------
 */

void stdio_watch(struct keeper *keeper, struct task *task)
{
    uint32_t in = task->paused ? 0 : EPOLLIN;
    uint32_t out = task->tty && buffer_size(&task->in) > 0 ? EPOLLOUT : 0;
    source_watch(keeper, &task->out[0], in | out);
    source_watch(keeper, &task->out[1], in);
    source_watch(keeper, &task->stdin_source, buffer_size(&task->in) > 0 ? EPOLLOUT : EPOLLERR);
}

bool stdio_ended(const struct task *task)
{
    return task->out[0].fd < 0 && task->out[1].fd < 0;
}

/* One read. False at the end of the stream or when nothing is there. */
static bool read_output(struct keeper *keeper, struct task *task, int i)
{
    ssize_t count = read(task->out[i].fd, keeper->chunk, CHUNK);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return errno == EINTR;
    if (count <= 0) { /* EIO is the end of a terminal */
        source_close(keeper, &task->out[i]);
        return false;
    }
    task_output(keeper, task, i == 0 ? WIRE_STDOUT : WIRE_STDERR, keeper->chunk, (size_t)count);
    return true;
}

void stdio_output_ready(struct keeper *keeper, struct source *source, uint32_t events)
{
    int stream;
    struct task *task = task_of_output(keeper, source, &stream);
    if (task == NULL || task->dead)
        return;
    if (events & EPOLLOUT) {
        task_input_flush(keeper, task);
        stdio_watch(keeper, task);
    }
    if ((events & ~(uint32_t)EPOLLOUT) != 0 && source->fd >= 0)
        read_output(keeper, task, stream - 1);
    if (task->state == TASK_ENDED && stdio_ended(task))
        task_done(keeper, task);
}

void stdio_flow(struct keeper *keeper, struct task *task)
{
    if (task->state == TASK_RUNNING || task->state == TASK_ENDED)
        stdio_watch(keeper, task);
}

/*
 * What the process wrote before it ended is in the pipe now, so exactly that much is read, whatever
 * the clients' queues hold: the pipe's size bounds it. Others may go on writing for ever.
 */
void stdio_read_rest(struct keeper *keeper, struct task *task)
{
    for (int i = 0; i < 2; i++) {
        int left = 0;
        if (task->out[i].fd < 0 || ioctl(task->out[i].fd, FIONREAD, &left) < 0)
            continue;
        /* A terminal hands over its bytes late and in pieces of a page. */
        int most = task->tty ? 64 : left / 4096 + 1;
        for (int reads = 0; reads <= most && task->out[i].fd >= 0; reads++)
            if (!read_output(keeper, task, i))
                break;
    }
}

ssize_t stdio_input(struct keeper *keeper, struct task *task, const uint8_t *bytes, size_t length)
{
    int fd = task->tty ? task->out[0].fd : task->stdin_source.fd;
    ssize_t count = write(fd, bytes, length);
    if (count >= 0 && (size_t)count == length)
        return count;
    if (count < 0 && errno != EAGAIN && errno != EINTR)
        return -errno;
    /* The caller queues the rest; then this end is to be watched. */
    if (task->tty)
        source_watch(keeper, &task->out[0], task->out[0].events | EPOLLOUT);
    else
        source_watch(keeper, &task->stdin_source, EPOLLOUT);
    return count < 0 ? -EAGAIN : count;
}

void stdio_input_end(struct keeper *keeper, struct task *task)
{
    source_close(keeper, &task->stdin_source);
}

void stdio_input_ready(struct keeper *keeper, struct source *source, uint32_t events)
{
    struct task *task = of_source(source, struct task, stdin_source);
    if (events & EPOLLERR) { /* nobody reads any more */
        buffer_free(&task->in);
        task->in_open = false;
        source_close(keeper, source);
        return;
    }
    task_input_flush(keeper, task);
    stdio_watch(keeper, task);
}
