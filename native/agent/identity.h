/* What makes a machine this one: clock, randomness, name, its files in /etc, kernel settings. */
#ifndef WIRT_AGENT_IDENTITY_H
#define WIRT_AGENT_IDENTITY_H

#include "../wire/wire.h"
#include "failure.h"

/* Sets the clock from a key with Unix nanoseconds: `time` of CONFIG, `now` of a call. */
int set_clock(const struct wire_record *config, struct failure *why);
int set_clock_from(const struct wire_record *record, const char *key, struct failure *why);

/* Credits the 32 bytes of `entropy` to the kernel's random pool. */
int seed_random(const struct wire_record *config, struct failure *why);

int set_hostname(const struct wire_record *config, struct failure *why);

/* Writes each `file` entry (`path US content`) below `root`; links on the way cannot lead out. */
int write_files(const struct wire_record *config, int root, struct failure *why);

/* Writes each `sysctl` entry (`name US value`). */
int set_sysctls(const struct wire_record *config, struct failure *why);

#endif
