#include "program.h"

#include "../wire/cleanup.h"
#include "files.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int enter_directory(const char *path, bool make, struct failure *why)
{
    if (*path == '\0')
        path = "/";
    if (*path != '/')
        return fail(why, 0, "the working directory %s is not absolute", path);
    if (chdir(path) == 0)
        return 0;
    int error = -errno;
    if (error == -ENOENT && !make)
        why->exit = 127;
    if (error == -ENOENT && make) {
        cleanup_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        error = make_directories(root, path, 0755);
    }
    if (error == 0 && chdir(path) != 0)
        error = -errno;
    return error == 0 ? 0 : fail(why, -error, "the working directory %s", path);
}

static const char *search_path(char *const env[])
{
    for (; *env != NULL; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            return *env + 5;
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* Tries each directory of the search path. Returns the errno that tells most. */
static int try_path(const char *name, char *const argv[], char *const env[])
{
    int worst = ENOENT;
    const char *end;
    for (const char *part = search_path(env);; part = end + 1) {
        end = strchrnul(part, ':');
        char path[PATH_MAX];
        int length = snprintf(path, sizeof path, "%.*s%s%s", (int)(end - part), part,
                              end == part ? "./" : "/", name);
        struct stat status;
        if (length > 0 && (size_t)length < sizeof path && stat(path, &status) == 0 &&
            S_ISREG(status.st_mode)) {
            execve(path, argv, env);
            /* The file is there, so ENOENT speaks of its interpreter. */
            if (errno != EACCES)
                return errno == ENOENT ? ENOTDIR : errno;
            worst = EACCES;
        }
        if (*end == '\0')
            return worst;
    }
}

int run_program(char *const argv[], char *const env[], struct failure *why)
{
    const char *name = argv[0];
    why->exit = 126;
    if (name == NULL || *name == '\0') {
        why->exit = 127;
        return fail(why, 0, "exec: \"\": executable file not found in $PATH");
    }
    if (strchr(name, '/') == NULL) {
        int error = try_path(name, argv, env);
        if (error == ENOENT) {
            why->exit = 127;
            return fail(why, 0, "exec: \"%s\": executable file not found in $PATH", name);
        }
        errno = error == ENOTDIR ? ENOENT : error;
    } else {
        execve(name, argv, env);
    }
    int error = errno;
    struct stat status;
    if (error == EACCES && stat(name, &status) == 0 && S_ISDIR(status.st_mode))
        return fail(why, 0, "exec: \"%s\": is a directory", name);
    if (error == ENOENT || error == ENOTDIR)
        why->exit = 127;
    if (error == ENOEXEC)
        return fail(why, 0, "exec %s: exec format error", name);
    return fail(why, error, "exec: \"%s\"", name);
}
