#include "module.h"

#include "../wire/cleanup.h"
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

static int load_one(int initramfs, const char *name, struct failure *why)
{
    char path[128];
    snprintf(path, sizeof path, "lib/%s.ko", name);
    cleanup_close int fd = openat(initramfs, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(why, errno, "kernel module %s", name);
    /* Two groups may name the same module. */
    if (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST)
        return fail(why, errno, "cannot load the kernel module %s", name);
    return 0;
}

int load_modules(int initramfs, const char *group, struct failure *why)
{
    char list[4096];
    cleanup_close int fd = openat(initramfs, "modules", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -errno : read_all(fd, list, sizeof list - 1);
    if (length < 0)
        return fail(why, (int)-length, "the list of kernel modules");
    list[length] = '\0';
    char *rest_of_lines = NULL;
    for (char *line = strtok_r(list, "\n", &rest_of_lines); line != NULL;
         line = strtok_r(NULL, "\n", &rest_of_lines)) {
        char *rest = NULL;
        if (strcmp(strtok_r(line, " ", &rest), group) != 0)
            continue;
        for (char *name; (name = strtok_r(NULL, " ", &rest)) != NULL;) {
            int error = load_one(initramfs, name, why);
            if (error != 0)
                return error;
        }
        return 0;
    }
    return fail(why, ENOENT, "kernel modules for %s", group);
}

void drop_initramfs(int initramfs)
{
    int lib = openat(initramfs, "lib", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = lib < 0 ? NULL : fdopendir(lib);
    if (directory != NULL) {
        for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
            if (entry->d_name[0] != '.')
                unlinkat(lib, entry->d_name, 0);
        closedir(directory);
    }
    unlinkat(initramfs, "init", 0);
    unlinkat(initramfs, "modules", 0);
}
