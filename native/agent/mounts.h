/* Volumes, shared folders and temporary file systems. */
#ifndef WIRT_AGENT_MOUNTS_H
#define WIRT_AGENT_MOUNTS_H

#include "../wire/wire.h"
#include "failure.h"

/* Whether a CONFIG record has shared folders, for which further modules are needed. */
bool has_shares(const struct wire_record *config);

/*
 * Mounts the shared folders in the initramfs, where no guest sees them. The machine's disk must be
 * there: what is written to a share with `discard` goes to it.
 */
int stage_shares(const struct wire_record *config, struct failure *why);

/* Tells of each `mount` entry where it will be, and whether that is a file. After stage_shares().
 */
typedef int point_found(void *own, const char *target, bool is_file, struct failure *why);
int each_mount_point(const struct wire_record *config, point_found *found, void *own,
                     struct failure *why);

/*
 * Mounts every `mount` entry: `<tag or tmpfs> US <target> US <option>...`. Options: `ro`, `noexec`,
 * `nosuid`, `nodev`; for tmpfs also what tmpfs(5) knows; for shares `only=<name>` (mount only that
 * file or directory of the share) and `discard` (what is written is not the share's).
 * A missing target is made.
 */
int mount_all(const struct wire_record *config, int initramfs, struct failure *why);

/*
 * Mounts the object behind `held` on `target`, a file or a directory as it is one; `flags` are of
 * mount(2): MS_RDONLY, MS_NOEXEC, MS_NOSUID, MS_NODEV. A missing target is made.
 */
int mount_held(int held, const char *target, unsigned long flags, struct failure *why);

#endif
