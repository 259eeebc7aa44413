/* The CONFIG record that a machine's agent is greeted with. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../wire/cleanup.h"
#include "machine.h"

static int read_file(const char *path, struct wire_record *record)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat stat;
    if (fd < 0 || fstat(fd, &stat) < 0)
        return -errno;
    if (stat.st_size > WIRE_RECORD_MAX)
        return -EMSGSIZE;
    cleanup_free char *bytes = malloc((size_t)stat.st_size + 1);
    ssize_t length = bytes ? read(fd, bytes, (size_t)stat.st_size) : -1;
    return length < 0 ? -EIO : wire_record_load(record, bytes, (size_t)length);
}

/* The clock and the seed are of this moment, not of the one when the configuration was written. */
int config_load(struct keeper *keeper, struct wire_record *config)
{
    uint8_t seed[32];
    char hex[2 * sizeof seed + 1];
    int error = read_file(keeper->conf.agent_config, config);
    if (error == 0 && wire_get(config, "time") == NULL)
        wire_put_number(config, "time", clock_wall_ns());
    if (error == 0 && wire_get(config, "entropy") == NULL &&
        getrandom(seed, sizeof seed, 0) == sizeof seed) {
        for (size_t i = 0; i < sizeof seed; i++)
            snprintf(hex + 2 * i, 3, "%02x", seed[i]);
        wire_put(config, "entropy", hex);
    }
    return error == 0 ? config->error : error;
}
