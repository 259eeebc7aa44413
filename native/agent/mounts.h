/* Volumes, shared folders and temporary file systems. */
#ifndef WIRT_AGENT_MOUNTS_H
#define WIRT_AGENT_MOUNTS_H

#include "../wire/wire.h"
#include "failure.h"

/* Whether a CONFIG record has shared folders, for which further modules are needed. */
bool has_shares(const struct wire_record *config);

/*
 * Mounts every `mount` entry: `<tag or tmpfs> US <target> US <option>...`. Options: `ro`, `noexec`,
 * `nosuid`, `nodev`; for tmpfs also what tmpfs(5) knows; for shares `file=<name>` (mount only that
 * file of the share, on a file).
 * A missing target is made.
 */
int mount_all(const struct wire_record *config, struct failure *why);

#endif
