#include "identity.h"

#include "../wire/cleanup.h"
#include "files.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

/* struct rand_pool_info of linux/random.h with room for 32 bytes. */
struct seed {
    int entropy_count, buf_size;
    uint8_t buf[32];
};
#define RNDADDENTROPY_ _IOW('R', 0x03, int[2])

int set_clock_from(const struct wire_record *record, const char *key, struct failure *why)
{
    int64_t now;
    if (wire_number(record, key, 0, INT64_MAX, 0, &now) != 0)
        return fail(why, EINVAL, "the time");
    if (now == 0)
        return 0;
    struct timespec time = {.tv_sec = now / 1000000000, .tv_nsec = now % 1000000000};
    return clock_settime(CLOCK_REALTIME, &time) == 0 ? 0 : fail(why, errno, "the clock");
}

int set_clock(const struct wire_record *config, struct failure *why)
{
    return set_clock_from(config, "time", why);
}

int seed_random(const struct wire_record *config, struct failure *why)
{
    const char *hex = wire_get(config, "entropy");
    struct seed seed = {.entropy_count = 256, .buf_size = sizeof seed.buf};
    if (hex == NULL)
        return 0;
    for (size_t i = 0; i < sizeof seed.buf; i++, hex += 2) {
        char digits[3] = {hex[0], hex[0] == '\0' ? '\0' : hex[1], '\0'}, *end;
        seed.buf[i] = (uint8_t)strtoul(digits, &end, 16);
        if (end != digits + 2)
            return fail(why, EINVAL, "the random seed");
    }
    cleanup_close int fd = open("/dev/random", O_RDWR | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, RNDADDENTROPY_, &seed) != 0)
        return fail(why, errno, "the random seed");
    return 0;
}

int set_hostname(const struct wire_record *config, struct failure *why)
{
    const char *name = wire_get(config, "hostname");
    if (name == NULL || *name == '\0')
        return 0;
    return sethostname(name, strlen(name)) == 0 ? 0 : fail(why, errno, "the host name %s", name);
}

int write_files(const struct wire_record *config, int root, struct failure *why)
{
    uint32_t at = 0;
    for (const char *text; (text = wire_each(config, "file", &at)) != NULL;) {
        char path[PATH_MAX];
        const char *content = strchr(text, WIRE_US);
        size_t length = content == NULL ? 0 : (size_t)(content - text);
        if (length == 0 || length >= sizeof path || *text != '/')
            return fail(why, EINVAL, "a file without a path");
        memcpy(path, text, length);
        path[length] = '\0';
        char *name = strrchr(path, '/');
        *name = '\0';
        int error = *path == '\0' ? 0 : make_directories(root, path, 0755);
        *name = '/';
        if (error == 0)
            error = replace_file(root, path, content + 1, strlen(content + 1), 0644);
        if (error != 0)
            return fail(why, -error, "cannot write %s", path);
    }
    return 0;
}

int set_sysctls(const struct wire_record *config, struct failure *why)
{
    uint32_t at = 0;
    for (const char *text; (text = wire_each(config, "sysctl", &at)) != NULL;) {
        char path[256] = "/proc/sys/";
        size_t used = strlen(path);
        const char *value = strchr(text, WIRE_US);
        size_t length = value == NULL ? 0 : (size_t)(value - text);
        if (length == 0 || length >= sizeof path - used || memchr(text, '/', length) != NULL)
            return fail(why, EINVAL, "sysctl %s", text);
        for (size_t i = 0; i < length; i++)
            path[used + i] = text[i] == '.' ? '/' : text[i];
        path[used + length] = '\0';
        int error = write_text(path, value + 1);
        if (error != 0)
            return fail(why, -error, "sysctl %.*s=%s", (int)length, text, value + 1);
    }
    return 0;
}
