#include "given.h"

#include "../wire/cleanup.h"
#include "files.h"
#include "mounts.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define PLACE "given"

enum { BACKLOG = 16 };

struct given {
    const char *kind; /* the key of CONFIG */
    int number;       /* among those of its kind */
    char path[PATH_MAX];
    const char *content; /* of a file */
    unsigned mode, uid, gid;
};

/* `path` alone, up to the first US. */
static int take_path(const char *text, struct given *given, struct failure *why)
{
    const char *rest = strchr(text, WIRE_US);
    size_t length = rest == NULL ? 0 : (size_t)(rest - text);
    if (length < 2 || length >= sizeof given->path || *text != '/')
        return fail(why, EINVAL, "a %s without a path", given->kind);
    memcpy(given->path, text, length);
    given->path[length] = '\0';
    given->content = rest + 1;
    return 0;
}

static int take_numbers(struct given *given, struct failure *why)
{
    char end;
    if (sscanf(given->content, "%u\037%u\037%u%c", &given->mode, &given->uid, &given->gid, &end) !=
            3 ||
        given->mode > 07777)
        return fail(why, EINVAL, "the owner of %s", given->path);
    return 0;
}

/* Takes each entry until one is refused. */
typedef int given_taken(const struct given *given, void *own, struct failure *why);

static int each_of(const struct wire_record *config, const char *kind, given_taken *take, void *own,
                   struct failure *why)
{
    uint32_t at = 0;
    struct given given = {.kind = kind};
    for (const char *text; (text = wire_each(config, kind, &at)) != NULL; given.number++) {
        int error = take_path(text, &given, why);
        if (error == 0 && strcmp(kind, "file") != 0)
            error = take_numbers(&given, why);
        if (error == 0)
            error = take(&given, own, why);
        if (error != 0)
            return error;
    }
    return 0;
}

static int each(const struct wire_record *config, given_taken *take, void *own, struct failure *why)
{
    int error = each_of(config, "secret", take, own, why);
    if (error == 0)
        error = each_of(config, "socket", take, own, why);
    if (error == 0 && wire_flag(config, "traceless"))
        error = each_of(config, "file", take, own, why);
    return error;
}

static void name_of(const struct given *given, char out[64])
{
    snprintf(out, 64, PLACE "/%s%d", given->kind, given->number);
}

/* --- making ----------------------------------------------------------------------------------- */

static int make_file(const struct given *given, const char *name, struct failure *why)
{
    bool is_secret = strcmp(given->kind, "secret") == 0;
    size_t length = is_secret ? 0 : strlen(given->content);
    cleanup_close int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int error = fd < 0 ? -errno : write_all(fd, given->content, length);
    if (error == 0 && fchmod(fd, is_secret ? 0600 : 0644) != 0)
        error = -errno;
    return error == 0 ? 0 : fail(why, -error, "cannot make %s", given->path);
}

static int make_socket(const struct given *given, const char *name, int *listener,
                       struct failure *why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", name);
    cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        chown(name, given->uid, given->gid) != 0 || chmod(name, given->mode & 0777) != 0 ||
        listen(fd, BACKLOG) != 0)
        return fail(why, errno, "cannot make the socket %s", given->path);
    *listener = steal_fd(fd);
    return 0;
}

static int make(const struct given *given, void *own, struct failure *why)
{
    int *listeners = own;
    char name[64];
    name_of(given, name);
    if (strcmp(given->kind, "socket") != 0)
        return make_file(given, name, why);
    if (given->number >= GIVEN_SOCKETS_MAX)
        return fail(why, E2BIG, "more than %d sockets", GIVEN_SOCKETS_MAX);
    return make_socket(given, name, &listeners[given->number], why);
}

int given_make(const struct wire_record *config, int listeners[GIVEN_SOCKETS_MAX],
               struct failure *why)
{
    for (int i = 0; i < GIVEN_SOCKETS_MAX; i++)
        listeners[i] = -1;
    if ((mkdir(PLACE, 0700) != 0 && errno != EEXIST) ||
        mount("tmpfs", PLACE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=700") != 0)
        return fail(why, errno, "cannot keep what the machine is given");
    return each(config, make, listeners, why);
}

/* --- mounting --------------------------------------------------------------------------------- */

struct telling {
    given_found *found;
    void *own;
};

static int tell(const struct given *given, void *own, struct failure *why)
{
    const struct telling *telling = own;
    return telling->found(telling->own, given->path, true, why);
}

int each_given(const struct wire_record *config, given_found *found, void *own, struct failure *why)
{
    struct telling telling = {found, own};
    return each(config, tell, &telling, why);
}

static int mount_given(const struct given *given, void *own, struct failure *why)
{
    char name[64];
    name_of(given, name);
    cleanup_close int held = openat(*(int *)own, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (held < 0)
        return fail(why, errno, "cannot mount on %s", given->path);
    return mount_held(held, given->path, MS_NOSUID | MS_NODEV, why);
}

int given_mount(const struct wire_record *config, int initramfs, struct failure *why)
{
    return each(config, mount_given, &initramfs, why);
}

/* --- secrets ---------------------------------------------------------------------------------- */

struct filling {
    int64_t number;
    int source;
    bool done;
};

static int copy(int source, int target)
{
    char chunk[16384];
    size_t total = 0;
    for (ssize_t count; (count = read_all(source, chunk, sizeof chunk)) != 0;) {
        int error = count < 0 ? (int)count : write_all(target, chunk, (size_t)count);
        total += count > 0 ? (size_t)count : 0;
        if (error == 0 && total > GIVEN_SECRET_MAX)
            error = -EFBIG;
        if (error != 0)
            return error;
    }
    memset(chunk, 0, sizeof chunk);
    return 0;
}

static int write_secret(const struct given *given, int root, int source)
{
    cleanup_close int fd = open_in_root(root, given->path, O_WRONLY | O_TRUNC | O_NOFOLLOW, 0);
    int error = fd < 0 ? -errno : copy(source, fd);
    if (error == 0 &&
        (fchown(fd, given->uid, given->gid) != 0 || fchmod(fd, given->mode & 07777) != 0))
        error = -errno;
    return error;
}

static int fill_one(const struct given *given, void *own, struct failure *why)
{
    struct filling *filling = own;
    char path[64];
    if (given->number != filling->number)
        return 0;
    filling->done = true;
    cleanup_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int error = write_secret(given, root, filling->source);
    if (error != 0)
        return fail(why, -error, "cannot write %s", given->path);
    cleanup_close int top = open_in_root(root, given->path, O_PATH | O_NOFOLLOW, 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", top);
    if (mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) != 0)
        return fail(why, errno, "cannot protect %s", given->path);
    return 0;
}

int given_fill(const struct wire_record *config, int64_t number, int source, struct failure *why)
{
    struct filling filling = {.number = number, .source = source};
    int error = each_of(config, "secret", fill_one, &filling, why);
    return error != 0 || filling.done ? error : fail(why, ENOENT, "the machine has no such secret");
}
