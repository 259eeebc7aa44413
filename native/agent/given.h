/*
 * Single files that a machine is given: secrets, sockets of the client's agents and, in one that is
 * to leave no trace, its own files in /etc. They are in memory and mounted into the root, so none
 * of them is among what the machine changes.
 */
#ifndef WIRT_AGENT_GIVEN_H
#define WIRT_AGENT_GIVEN_H

#include "../wire/wire.h"
#include "failure.h"

#define GIVEN_SOCKETS_MAX 16
#define GIVEN_SECRET_MAX (1u << 20)

/*
 * Makes them in the initramfs. `secret` and `socket` entries are `<path> US <mode> US <uid> US
 * <gid>`, decimal numbers. Secrets are empty until their content comes; sockets listen already, as
 * `listeners` in their order, -1 behind the last.
 */
int given_make(const struct wire_record *config, int listeners[GIVEN_SOCKETS_MAX],
               struct failure *why);

/* Tells of each where it will be. */
typedef int given_found(void *own, const char *target, bool is_file, struct failure *why);
int each_given(const struct wire_record *config, given_found *found, void *own,
               struct failure *why);

/* Mounts them into the root. */
int given_mount(const struct wire_record *config, int initramfs, struct failure *why);

/* Fills the secret of this number from `source` to its end, and makes it read-only. */
int given_fill(const struct wire_record *config, int64_t number, int source, struct failure *why);

#endif
