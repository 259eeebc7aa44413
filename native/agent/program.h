/* From the words of a command to a running program, with the exit codes that a shell gives. */
#ifndef WIRT_AGENT_PROGRAM_H
#define WIRT_AGENT_PROGRAM_H

#include "failure.h"

#include <stdbool.h>

/* Changes to the working directory. A missing one is made for the main program (`make`), as an
 * image may name one that it has not; elsewhere it is an error, exit 127. */
int enter_directory(const char *path, bool make, struct failure *why);

/*
 * Replaces the process. argv[0] without a slash is searched in the PATH of `env`. Returns only when
 * that failed: exit 127 when there is no such program, 126 when it cannot be run.
 */
int run_program(char *const argv[], char *const env[], struct failure *why);

#endif
