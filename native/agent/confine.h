/* What every process of the guest is held to, from the CONFIG record. */
#ifndef WIRT_AGENT_CONFINE_H
#define WIRT_AGENT_CONFINE_H

#include "../wire/wire.h"
#include "failure.h"
#include "user.h"

/* Where the cgroup for the guest's processes is, when `pids` limits them. */
#define CONFINE_CGROUP "/sys/fs/cgroup/guest"

/*
 * Checks the keys `ulimit`, `caps`, `pids` of `config` and makes the cgroup when there is one.
 * Called once.
 */
int confine_prepare(const struct wire_record *config, struct failure *why);

/*
 * Applies them to the calling process, which then becomes `user`: cgroup, resource limits,
 * capability bounding set, groups, ids, no-new-privileges.
 */
int confine_enter(const struct wire_record *config, const struct user *user, struct failure *why);

#endif
