#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../wire/cleanup.h"
#include "keeper.h"

static int load(struct wire_record *record)
{
    cleanup_close int fd = open("keeper.conf", O_RDONLY | O_CLOEXEC);
    struct stat stat;
    if (fd < 0 || fstat(fd, &stat) < 0)
        return -errno;
    if (stat.st_size > WIRE_RECORD_MAX)
        return -EMSGSIZE;
    cleanup_free char *bytes = malloc((size_t)stat.st_size + 1);
    if (bytes == NULL)
        return -ENOMEM;
    ssize_t length = read(fd, bytes, (size_t)stat.st_size);
    if (length < 0)
        return -errno;
    return wire_record_load(record, bytes, (size_t)length);
}

static int refuse(const char *reason)
{
    dprintf(STDERR_FILENO, "wirt-keeper: keeper.conf: %s\n", reason);
    return -EINVAL;
}

int conf_read(struct conf *conf)
{
    const struct wire_record *record = &conf->record;
    int error = load(&conf->record);
    if (error != 0)
        return refuse(strerror(-error));
    const char *mode = wire_get(record, "mode");
    conf->id = wire_get(record, "id");
    if (conf->id == NULL || !text_valid_id(conf->id))
        return refuse("id is missing or malformed");
    if (mode == NULL || (strcmp(mode, "container") != 0 && strcmp(mode, "machine") != 0))
        return refuse("mode must be container or machine");
    if (wire_count(record, "argv") == 0)
        return refuse("argv is missing");
    conf->machine = strcmp(mode, "machine") == 0;
    conf->tty = wire_flag(record, "tty");
    conf->with_stdin = wire_flag(record, "stdin");
    conf->stdin_once = wire_flag(record, "stdin_once");
    conf->engine_log = wire_get(record, "engine_log");
    conf->log = wire_get(record, "log");
    conf->oom = wire_get(record, "oom");
    conf->console_log = wire_get(record, "console_log");
    conf->agent_config = wire_get(record, "agent_config");
    if (wire_number(record, "log_size", 0, INT64_MAX, 0, &conf->log_size) != 0 ||
        wire_number(record, "log_files", 1, 1000, 1, &conf->log_files) != 0)
        return refuse("log_size or log_files is out of range");
    if (wire_number(record, "agent_fd", 3, 1 << 20, -1, &conf->agent_fd) != 0)
        return refuse("agent_fd is out of range");
    if (wire_number(record, "listen_fd", 3, 1 << 20, -1, &conf->listen_fd) != 0)
        return refuse("listen_fd is out of range");
    if (conf->machine && (conf->agent_fd < 0 || conf->agent_config == NULL))
        return refuse("a machine needs agent_fd and agent_config");
    return 0;
}
