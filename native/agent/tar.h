/*
 * Trees as tar streams: pax interchange format (POSIX.1-2008, pax, "ustar Interchange Format" and
 * "pax Header"), reading GNU long names too. Blocking; used in children of the agent only.
 */
#ifndef WIRT_AGENT_TAR_H
#define WIRT_AGENT_TAR_H

#include "failure.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TAR_BLOCK 512
/* Bounds of one member: its path and link, and the sum of its extended headers. */
#define TAR_PATH_MAX 4096
#define TAR_EXTRA_MAX (1u << 20)
#define TAR_DEPTH_MAX 256

/* One member. `path` and `link` are NUL-terminated. */
struct tar_member {
    char type; /* '0' file, '1' hard link, '2' symlink, '3' chr, '4' blk, '5' directory, '6' fifo */
    mode_t mode;
    uint64_t uid, gid, size;
    int64_t mtime;     /* seconds */
    uint32_t mtime_ns; /* written only */
    unsigned major, minor;
    char path[TAR_PATH_MAX], link[TAR_PATH_MAX];
    char *xattrs; /* pax records among which are SCHILY.xattr ones, or NULL; owned */
    size_t xattr_size;
};

/* A reader of members from a descriptor. Zero-initialise but for `fd`. */
struct tar_reader {
    int fd;
    uint64_t left, padding; /* of the current member's content */
};

/* 1: `member` is next (free its xattrs); 0: the end; else -errno with `why`. */
int tar_next(struct tar_reader *reader, struct tar_member *member, struct failure *why);

/* Reads content of the current member. Bytes, 0 at its end, or -errno. */
ssize_t tar_content(struct tar_reader *reader, void *buffer, size_t length);

/* Writes a member's header (with pax records where ustar cannot say it). 0 or -errno. */
int tar_write_member(int fd, const struct tar_member *member);

/* Writes the pax record of an extended attribute; `out` has 64 bytes beyond name and value. */
size_t tar_put_xattr(char *out, const char *name, const char *value, size_t size);

/*
 * The next extended attribute among a member's records at or after `*at` (begin with 0). False at
 * the end. `name` and `value` point into the records.
 */
bool tar_each_xattr(const struct tar_member *member, size_t *at, const char **name,
                    const char **value, size_t *size);

/* Fills up to a whole block after `size` bytes of content; the end of the stream. 0 or -errno. */
int tar_write_padding(int fd, uint64_t size);
int tar_write_end(int fd);

/* Whether an extended attribute belongs to the file itself and is carried along. */
bool tar_keeps_xattr(const char *name);

/* Packs the tree at `path` into `fd` as members below `name` ("" means "."). */
int tar_pack(const char *path, const char *name, int fd, struct failure *why);

/* The same of all that is in the directory, named from there. */
int tar_pack_inside(const char *path, int fd, struct failure *why);

/*
 * Packs what changes_walk() tells of these views. What was removed is a device 0:0.
 */
struct change_views;
int tar_pack_changes(const struct change_views *views, int fd, struct failure *why);

/*
 * Unpacks a stream into the existing directory `into`. Members cannot climb out of "/", and links
 * in the tree are followed as the guest itself would. `no_overwrite`: a directory may not replace
 * something else, nor the reverse.
 */
int tar_unpack(int fd, const char *into, bool no_overwrite, struct failure *why);

#endif
