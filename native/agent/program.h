/* From the words of a command to a running program, with the exit codes that a shell gives. */
#ifndef WIRT_AGENT_PROGRAM_H
#define WIRT_AGENT_PROGRAM_H

#include "failure.h"

/* Makes the working directory when it is missing and changes to it. */
int enter_directory(const char *path, struct failure *why);

/*
 * Replaces the process. argv[0] without a slash is searched in the PATH of `env`. Returns only when
 * that failed: exit 127 when there is no such program, 126 when it cannot be run.
 */
int run_program(char *const argv[], char *const env[], struct failure *why);

#endif
