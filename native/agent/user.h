/* Users and groups of the image, looked up in its own files. */
#ifndef WIRT_AGENT_USER_H
#define WIRT_AGENT_USER_H

#include "failure.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define USER_GROUPS_MAX 1024

struct user {
    uid_t uid;
    gid_t gid;
    size_t group_count;
    gid_t groups[USER_GROUPS_MAX];
    char name[256]; /* empty when the passwd file has no entry */
    char home[PATH_MAX];
};

/*
 * Resolves `wish`: "", NAME, UID, NAME:GROUP, UID:GID and every mixture. Unknown numbers are taken
 * as they are, unknown names are an error. `passwd` and `group` are paths of the files; they may be
 * absent, endless, or no files at all: at most 8 MiB of each are read, and only regular files.
 */
int find_user(const char *wish, const char *passwd, const char *group, struct user *out,
              struct failure *why);

#endif
