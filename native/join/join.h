#ifndef WIRT_JOIN_H
#define WIRT_JOIN_H

#include <stddef.h>

#include "../wire/wire.h"

/* A file's content, one NUL more than `size` counts. */
struct content {
    char *data;
    size_t size;
};

/* 0 or a negative errno. At most WIRE_RECORD_MAX bytes; the caller frees `data`. */
int content_read(struct content *content, const char *path);

/* What turns a child of ours into the container's process; all read before it is made. */
struct wish {
    const struct wire_record *process; /* argv, env, cwd, uid, gid, group..., rlimit..., caps */
    const char **argv, **env;
    struct content filter; /* compiled; size 0: none */
};

/*
 * Become the process: nothing of the host is left but standard input, output and error. Called in
 * the container's namespaces and groups. Returns a negative errno when it could not.
 */
int become(const struct wish *wish);

#endif
