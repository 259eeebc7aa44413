/* A container: crun starts its processes; the keeper is their parent as the nearest subreaper. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../wire/cleanup.h"
#include "container.h"

#define GRACE_MS 300 /* for descendants of an ended process that still hold its output */
#define NAME_SIZE (ID_MAX + 24)
#define JOIN_WORDS 5

/* Files that one engine run needs; the main process' names are part of its argv in keeper.conf. */
static void name_of(const struct task *task, const char *kind, char out[NAME_SIZE])
{
    if (task->is_main)
        snprintf(out, NAME_SIZE, "%s", kind);
    else
        snprintf(out, NAME_SIZE, "exec-%s.%s", task->id, kind);
}

static void unlink_of(const struct task *task, const char *kind)
{
    char name[NAME_SIZE];
    name_of(task, kind, name);
    unlink(name);
}

/* --- starting -----------------------------------------------------------------------------------
 */

static int listen_console(struct task *task)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char name[NAME_SIZE];
    name_of(task, "console.sock", name);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", name);
    unlink(name);
    cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0)
        return -errno;
    task->console = steal_fd(fd);
    return 0;
}

/* One pipe: the guest's end into `theirs`, ours as a source that is not watched yet. */
static int open_pipe(struct keeper *keeper, struct source *source, int *theirs, bool input,
                     source_ready ready)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    *theirs = ends[input ? 0 : 1];
    return source_open(keeper, source, ends[input ? 1 : 0], 0, ready);
}

/* An error of the engine belongs to this run, and the file must not grow by one line each. */
static void clear_engine_log(struct keeper *keeper)
{
    for (struct task *at = keeper->tasks; at != NULL; at = at->next)
        if (at->engine > 0)
            return;
    if (keeper->conf.engine_log != NULL && truncate(keeper->conf.engine_log, 0) < 0)
        return; /* it is not there before the first run */
}

static int run_engine(struct keeper *keeper, struct task *task, const char *const *argv, int main)
{
    cleanup_close int in = -1, out = -1, err = -1;
    int error = 0;
    if (task->tty) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
            return -errno;
        task->errors = ends[0];
        err = ends[1];
        error = listen_console(task);
    } else {
        error = open_pipe(keeper, &task->out[0], &out, false, stdio_output_ready);
        if (error == 0)
            error = open_pipe(keeper, &task->out[1], &err, false, stdio_output_ready);
        if (error == 0 && task->with_stdin)
            error = open_pipe(keeper, &task->stdin_source, &in, true, stdio_input_ready);
    }
    cleanup_free const char **env = spawn_vector(&keeper->conf.record, "env", 0);
    if (error != 0 || env == NULL)
        return error ? error : -ENOMEM;
    clear_engine_log(keeper);
    unlink_of(task, "pid");
    struct spawn run = {.argv = argv, .env = env, .stdio = {in, out, err}, .give = main};
    pid_t pid = spawn(&run);
    if (pid < 0)
        return pid;
    task->engine = pid;
    task->in_open = task->with_stdin;
    return 0;
}

static int container_start(struct keeper *keeper, struct task *task)
{
    cleanup_free const char **argv = spawn_vector(&keeper->conf.record, "argv", 0);
    return argv ? run_engine(keeper, task, argv, -1) : -ENOMEM;
}

/*
 * The process as it came, with the terminal's size: set afterwards it would come too late for a
 * process that asks at once.
 */
static int write_process(const struct task *task, const char *path, const char *json)
{
    char size[80];
    int length = 0;
    bool sized = strstr(json, "\"consoleSize\"") != NULL;
    if (task->tty && task->rows > 0 && task->columns > 0 && !sized && json[0] == '{')
        length = snprintf(size, sizeof size, "{\"consoleSize\":{\"height\":%u,\"width\":%u},",
                          task->rows, task->columns);
    cleanup_free char *text = NULL;
    if (asprintf(&text, "%.*s%s", length, size, json + (length > 0)) < 0)
        return -ENOMEM;
    return text_write_file(path, text, strlen(text));
}

/* What wirt-join is told before the engine's own words (native/join/main.c). */
struct joining {
    const char *program; /* NULL: the engine is to do it */
    char process[NAME_SIZE], pid[16];
    int main; /* a pidfd */
};

/* A process without a terminal joins the container by a small program of ours. */
static void plan_join(struct keeper *keeper, const struct task *task,
                      const struct wire_record *record, struct joining *joining)
{
    const struct task *first = keeper->main;
    if (task->tty || wire_count(record, "argv") == 0 || first->state != TASK_RUNNING)
        return;
    name_of(task, "join", joining->process);
    snprintf(joining->pid, sizeof joining->pid, "%d", (int)first->pid);
    /* Not reaped yet, so the pid is still its own. */
    joining->main = (int)syscall(SYS_pidfd_open, first->pid, 0);
    if (joining->main >= 0 && text_write_record(joining->process, record) == 0)
        joining->program = wire_get(&keeper->conf.record, "join");
}

static int container_exec(struct keeper *keeper, struct task *task,
                          const struct wire_record *record)
{
    char process[NAME_SIZE], pid[NAME_SIZE], console[NAME_SIZE];
    const char *json = wire_get(record, "process");
    size_t count = wire_count(&keeper->conf.record, "exec_argv");
    if (json == NULL || count == 0)
        return -EINVAL;
    name_of(task, "process", process);
    name_of(task, "pid", pid);
    name_of(task, "console.sock", console);
    int error = write_process(task, process, json);
    cleanup_free const char **words =
        spawn_vector(&keeper->conf.record, "exec_argv", JOIN_WORDS + 8);
    if (error != 0 || words == NULL)
        return error ? error : -ENOMEM;
    struct joining joining = {.main = -1};
    plan_join(keeper, task, record, &joining);
    const char **argv = words;
    if (joining.program != NULL) {
        argv = words + JOIN_WORDS;
        memmove(argv, words, count * sizeof *words);
        const char *first[JOIN_WORDS] = {joining.program, joining.process, pid, joining.pid, "--"};
        memcpy(words, first, sizeof first);
    }
    argv[count++] = "--process";
    argv[count++] = process;
    argv[count++] = "--pid-file";
    argv[count++] = pid;
    if (task->tty) {
        argv[count++] = "--console-socket";
        argv[count++] = console;
    }
    argv[count++] = keeper->conf.id;
    argv[count] = NULL;
    error = run_engine(keeper, task, words, joining.main);
    if (joining.main >= 0)
        close(joining.main);
    return error;
}

/* The engine has connected and sent the terminal before it ended; neither call waits. */
static int take_console(struct keeper *keeper, struct task *task)
{
    cleanup_close int fd = accept4(task->console, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return -errno;
    char byte[64];
    struct iovec part = {byte, sizeof byte};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC) < 0)
        return -errno;
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    if (c == NULL || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int)))
        return -EPROTO;
    int terminal;
    memcpy(&terminal, CMSG_DATA(c), sizeof terminal);
    close(steal_fd(task->console));
    return source_open(keeper, &task->out[0], terminal, 0, stdio_output_ready);
}

static pid_t read_pid(const struct task *task)
{
    char name[NAME_SIZE], text[24];
    name_of(task, "pid", name);
    cleanup_close int fd = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (length <= 0)
        return 0;
    text[length] = '\0';
    long pid = strtol(text, NULL, 10);
    return pid > 1 && pid <= 1 << 22 ? (pid_t)pid : 0;
}

/* --- the end of a process ----------------------------------------------------------------------
 */

static void ended(struct keeper *keeper, struct task *task, int status)
{
    task->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    task->code = task->signal ? 128 + task->signal : WEXITSTATUS(status);
    task->state = TASK_ENDED;
    source_close(keeper, &task->stdin_source);
    stdio_read_rest(keeper, task);
    if (stdio_ended(task))
        task_done(keeper, task);
    else
        task->deadline = clock_ms() + GRACE_MS;
}

/* --- the engine's end ---------------------------------------------------------------------------
 */

static void clean_up_run(struct task *task)
{
    unlink_of(task, "console.sock");
    if (task->is_main)
        return;
    unlink_of(task, "pid");
    unlink_of(task, "process");
    unlink_of(task, "join");
}

static void engine_failed(struct keeper *keeper, struct task *task, int status)
{
    char message[MESSAGE_MAX];
    text_last_line_of(keeper->conf.engine_log, message);
    int errors = task->tty ? task->errors : task->out[1].fd;
    if (message[0] == '\0' && errors >= 0) {
        ssize_t length = read(errors, keeper->chunk, CHUNK);
        text_last_line((char *)keeper->chunk, length > 0 ? (size_t)length : 0, message);
    }
    if (message[0] == '\0')
        snprintf(message, sizeof message, "the engine ended with %s %d and no message",
                 WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    task_failed(keeper, task, 0, text_exit_code(message), message);
}

static void engine_ended(struct keeper *keeper, struct task *task, int status)
{
    task->engine = 0;
    pid_t pid = status == 0 ? read_pid(task) : 0;
    int error = status == 0 && task->tty ? take_console(keeper, task) : 0;
    clean_up_run(task);
    if (status != 0) {
        engine_failed(keeper, task, status);
        return;
    }
    int ended_already = 0;
    /* A detaching crun leaves a second process of its own between us and the guest for a moment, so
       the guest may not be our child yet. When that one ends it becomes ours, dead or alive. */
    pid_t reaped = pid > 0 ? waitpid(pid, &ended_already, WNOHANG) : -1;
    if (error < 0 || pid == 0 || (reaped < 0 && kill(pid, 0) < 0)) {
        task_failed(keeper, task, ECHILD, 125,
                    error < 0 ? "the engine sent no terminal" : "the engine left no process");
        return;
    }
    if (task->errors >= 0)
        close(steal_fd(task->errors));
    task_started(keeper, task, pid);
    if (task->in_ending)
        task_input_flush(keeper, task);
    stdio_watch(keeper, task);
    if (reaped == pid)
        ended(keeper, task, ended_already);
}

static bool container_reaped(struct keeper *keeper, pid_t pid, int status)
{
    for (struct task *at = keeper->tasks; at != NULL; at = at->next) {
        if (at->dead)
            continue;
        if (at->engine == pid)
            engine_ended(keeper, at, status);
        else if (at->state == TASK_RUNNING && at->pid == pid)
            ended(keeper, at, status);
        else
            continue;
        return true;
    }
    return false;
}

static pid_t container_child(struct keeper *keeper, size_t n)
{
    for (struct task *at = keeper->tasks; at != NULL; at = at->next) {
        pid_t pid = at->engine > 0 ? at->engine : at->state == TASK_RUNNING ? at->pid : 0;
        if (!at->dead && pid > 0 && n-- == 0)
            return pid;
    }
    return 0;
}

/* --- requests -----------------------------------------------------------------------------------
 */

static int container_signal(struct keeper *keeper, struct task *task, int number)
{
    (void)keeper;
    /* Not reaped yet, so the pid is still its own. */
    return kill(task->pid, number) < 0 ? -errno : 0;
}

static int container_resize(struct keeper *keeper, struct task *task)
{
    (void)keeper;
    struct winsize size = {.ws_row = task->rows, .ws_col = task->columns};
    return ioctl(task->out[0].fd, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

static void container_expired(struct keeper *keeper, struct task *task)
{
    if (task->state == TASK_ENDED)
        task_done(keeper, task);
}

/* With a shared pid namespace the kernel has not ended them. */
static void container_stop(struct keeper *keeper)
{
    for (struct task *at = keeper->tasks; at != NULL; at = at->next) {
        if (!at->dead && !at->is_main && at->state == TASK_RUNNING)
            kill(at->pid, SIGKILL);
        if (!at->dead && at->engine > 0)
            kill(at->engine, SIGKILL);
    }
}

static void container_close(struct keeper *keeper)
{
    (void)keeper; /* tasks hold everything */
}

const struct carrier container_carrier = {
    .start = container_start,
    .exec = container_exec,
    .signal = container_signal,
    .resize = container_resize,
    .input = stdio_input,
    .input_end = stdio_input_end,
    .flow = stdio_flow,
    .reaped = container_reaped,
    .child = container_child,
    .expired = container_expired,
    .stop = container_stop,
    .close = container_close,
};
