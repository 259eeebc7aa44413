/*
 * What a machine has changed of its image, told by comparing three views: the upper directory of
 * the root's overlay, the image below it, and both as the machine sees them. What the image has and
 * the machine does not see was removed.
 */
#ifndef WIRT_AGENT_CHANGES_H
#define WIRT_AGENT_CHANGES_H

#include "../wire/wire.h"
#include "failure.h"

#include <sys/stat.h>

/* An object of the upper directory. `fd` is open for a directory, else -1. */
struct change {
    const char *name; /* from the root, without a slash before it; "." for the root itself */
    const char *leaf; /* in the open directory `parent` */
    int parent, fd;
    const struct stat *status;
    const struct stat *before; /* what the image has there, or NULL */
};

/*
 * Told of changes, parents first, in each directory removals before the rest and in the order of
 * bytes. Directories are told that are new, others than before, or have changes in them.
 */
struct change_sink {
    int (*removed)(void *own, const char *name, const struct stat *before, struct failure *why);
    int (*found)(void *own, const struct change *change, struct failure *why);
    void *own;
};

/* What is compared. What the machine's own agent has written by its `config` is no change. */
struct change_views {
    int upper, lower, merged;
    const struct wire_record *config;
};

int changes_walk(const struct change_views *views, const struct change_sink *sink,
                 struct failure *why);

/*
 * Writes one record for each change: `<A, C or D> <size> <size before> <name>` and NUL. Sizes are
 * of regular files, else 0.
 */
int changes_list(const struct change_views *views, int fd, struct failure *why);

/*
 * Makes the file system of `directory` wait with all that is to be written, so that no file is
 * caught half written. A descriptor for let_go(), or -errno with `why`.
 */
int hold_still(int directory, struct failure *why);
void let_go(int disk);

#endif
