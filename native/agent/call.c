/* What the keeper may ask of a running machine. */
#include "call.h"
#include "../wire/cleanup.h"
#include "agent.h"
#include "changes.h"
#include "cpus.h"
#include "files.h"
#include "identity.h"
#include "net.h"
#include "root.h"
#include "tar.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Docker's three; nothing else of /etc is the host's to write. */
static bool is_known_file(const char *name)
{
    return strcmp(name, "hosts") == 0 || strcmp(name, "hostname") == 0 ||
           strcmp(name, "resolv.conf") == 0;
}

static void say_done(const struct order *order)
{
    struct wire_record empty = {0};
    child_report(order, WIRE_A_RESULT, &empty);
}

static const char *path_of(const struct order *order)
{
    struct failure why = {0};
    const char *path = wire_get(order->request, "path");
    if (path != NULL && *path == '/' && strlen(path) < PATH_MAX)
        return path;
    fail(&why, EINVAL, "the path %.200s", path == NULL ? "" : path);
    child_fail(order, &why);
}

static void call_files(const struct order *order)
{
    struct failure why = {0};
    const char *name = wire_get(order->request, "name");
    const char *content = wire_get(order->request, "content");
    char path[64];
    int error = name == NULL || content == NULL || !is_known_file(name) ? -EINVAL : 0;
    if (error == 0) {
        snprintf(path, sizeof path, "/etc/%s", name);
        error = replace_file(CHILD_ROOT, path, content, strlen(content), 0644);
    }
    if (error != 0) {
        fail(&why, -error, "cannot write /etc/%s", name == NULL ? "" : name);
        child_fail(order, &why);
    }
    say_done(order);
}

/* The descriptor of `path` as the guest sees it, its last component not followed. */
static int open_path(const char *path)
{
    int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return open_in_root(root, path, O_PATH | O_NOFOLLOW, 0);
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL || slash[1] == '\0' ? path : slash + 1;
}

static void call_stat(const struct order *order)
{
    struct failure why = {0};
    struct wire_record record = {0};
    struct stat status;
    const char *path = path_of(order);
    int fd = open_path(path);
    if (fd < 0 || fstat(fd, &status) != 0) {
        fail(&why, errno, "%s", path);
        child_fail(order, &why);
    }
    char target[PATH_MAX] = "";
    if (S_ISLNK(status.st_mode)) {
        ssize_t length = readlinkat(fd, "", target, sizeof target - 1);
        target[length < 0 ? 0 : length] = '\0';
    }
    wire_put(&record, "name", base_of(path));
    wire_put_number(&record, "size", status.st_size);
    wire_put_number(&record, "mode", status.st_mode);
    wire_put_number(&record, "mtime",
                    (int64_t)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec);
    wire_put(&record, "link_target", target);
    child_report(order, WIRE_A_RESULT, &record);
}

static void call_tar_out(const struct order *order)
{
    struct failure why = {0};
    const char *path = path_of(order);
    char through[64];
    int fd = open_path(path);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0) {
        fail(&why, errno, "%s", path);
        child_fail(order, &why);
    }
    /* A link is packed as itself, by its name in the directory that was found for it. */
    snprintf(through, sizeof through, "/proc/self/fd/%d/.", fd);
    const char *from = S_ISDIR(status.st_mode) ? through : path;
    const char *name = strcmp(path, "/") == 0 ? "" : base_of(path);
    if (tar_pack(from, name, STDOUT_FILENO, &why) != 0)
        child_fail(order, &why);
    say_done(order);
}

/* What is read of the machine's own disk; with `still` nothing is written to that meanwhile. */
static void read_disk(const struct order *order,
                      int (*read)(const struct change_views *views, int fd, struct failure *why))
{
    struct failure why = {0};
    struct change_views views = {CHILD_UPPER, CHILD_LOWER, CHILD_ROOT, order->config};
    bool still = wire_flag(order->request, "still");
    int disk = still ? hold_still(CHILD_UPPER, &why) : -1;
    int error = still && disk < 0 ? disk : read(&views, STDOUT_FILENO, &why);
    if (disk >= 0)
        let_go(disk);
    if (error != 0)
        child_fail(order, &why);
    say_done(order);
}

static int pack_root(const struct change_views *views, int fd, struct failure *why)
{
    char path[64];
    cleanup_close int root = open_plain_root(views->upper, views->lower, why);
    if (root < 0)
        return root;
    snprintf(path, sizeof path, "/proc/self/fd/%d/.", root);
    return tar_pack_inside(path, fd, why);
}

static void call_tar_changes(const struct order *order)
{
    read_disk(order, tar_pack_changes);
}

static void call_changes(const struct order *order)
{
    read_disk(order, changes_list);
}

static void call_tar_root(const struct order *order)
{
    read_disk(order, pack_root);
}

static void call_secret(const struct order *order)
{
    struct failure why = {0};
    int64_t number;
    if (wire_number(order->request, "number", 0, 1000, 0, &number) != 0)
        fail(&why, EINVAL, "the secret's number");
    else if (given_fill(order->config, number, STDIN_FILENO, &why) == 0)
        return say_done(order);
    child_fail(order, &why);
}

static void call_tar_in(const struct order *order)
{
    struct failure why = {0};
    bool no_overwrite = wire_flag(order->request, "no_overwrite");
    if (tar_unpack(STDIN_FILENO, path_of(order), no_overwrite, &why) != 0)
        child_fail(order, &why);
    say_done(order);
}

/* Calls that are made at once, without a child. */
static bool quick_call(struct agent *agent, const char *name, struct wire_record *answer,
                       struct failure *why, int *error)
{
    if (strcmp(name, "poweroff") == 0) {
        kill_all(agent);
        *error = 0;
        agent->leaving = agent->main_pid == 0;
    } else if (strcmp(name, "time") == 0) {
        *error = set_clock_from(&agent->incoming, "now", why);
    } else if (strcmp(name, "cpus") == 0) {
        *error = use_processors(why);
        if (*error >= 0) {
            wire_put_number(answer, "cpus", *error);
            *error = 0;
        }
    } else if (strcmp(name, "address") == 0) {
        const char *text = wire_get(&agent->incoming, "interface");
        struct card card;
        *error = text == NULL ? fail(why, EINVAL, "no interface") : parse_card(text, &card, why);
        if (*error == 0)
            *error = configure_card(&card, why);
    } else {
        return false;
    }
    return true;
}

static const struct {
    const char *name;
    child_body *body;
    bool input, output;
} SLOW[] = {
    {"stats", call_stats, false, false},
    {"processes", call_processes, false, false},
    {"files", call_files, false, false},
    {"stat", call_stat, false, false},
    {"tar-out", call_tar_out, false, true},
    {"tar-in", call_tar_in, true, false},
    {"tar-changes", call_tar_changes, false, true},
    {"changes", call_changes, false, true},
    {"tar-root", call_tar_root, false, true},
    {"secret", call_secret, true, false},
    {"accept", call_accept, true, true},
};

/* The socket that a call is for; a call for none is the child's to refuse. */
static int listener_of(const struct agent *agent)
{
    int64_t number;
    if (wire_number(&agent->incoming, "socket", 0, GIVEN_SOCKETS_MAX - 1, -1, &number) != 0 ||
        number < 0)
        return 0;
    return agent->listeners[number];
}

void dispatch_call(struct agent *agent, uint32_t channel)
{
    struct failure why = {0};
    const char *name = wire_get(&agent->incoming, "call");
    name = name == NULL ? "" : name;
    int error;
    struct wire_record answer = {0};
    if (quick_call(agent, name, &answer, &why, &error)) {
        if (error == 0)
            link_record(&agent->link, WIRE_A_RESULT, channel, &answer);
        else
            send_failure(agent, channel, &why);
        return;
    }
    for (size_t i = 0; i < sizeof SLOW / sizeof *SLOW; i++)
        if (strcmp(SLOW[i].name, name) == 0) {
            struct order order = {.request = &agent->incoming,
                                  .has_input = SLOW[i].input,
                                  .has_output = SLOW[i].output,
                                  .listener = listener_of(agent)};
            start_job(agent, channel, JOB_CALL, &order, SLOW[i].body);
            return;
        }
    fail(&why, ENOSYS, "the agent knows no call %.100s", name);
    send_failure(agent, channel, &why);
}
