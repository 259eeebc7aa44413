#include "cpus.h"

#include "../wire/cleanup.h"
#include "files.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PLACE "/sys/devices/system/cpu"

static bool is_processor(const char *name)
{
    return strncmp(name, "cpu", 3) == 0 && isdigit((unsigned char)name[3]);
}

static int use(const char *name, struct failure *why)
{
    char path[300], state[8];
    snprintf(path, sizeof path, PLACE "/%s/online", name);
    /* The first one cannot be switched off, and has no such file. */
    if (read_text(path, state, sizeof state) <= 0 || state[0] == '1')
        return 0;
    cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "1", 1) != 1)
        return fail(why, errno, "cannot use the processor %s", name);
    return 0;
}

int use_processors(struct failure *why)
{
    DIR *all = opendir(PLACE);
    int count = 0, error = 0;
    if (all == NULL)
        return fail(why, errno, "%s", PLACE);
    for (struct dirent *e; error == 0 && (e = readdir(all)) != NULL;)
        if (is_processor(e->d_name)) {
            error = use(e->d_name, why);
            count++;
        }
    closedir(all);
    return error < 0 ? error : count;
}
