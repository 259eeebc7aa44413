/* Processors that were plugged in while the machine runs. */
#ifndef WIRT_AGENT_CPUS_H
#define WIRT_AGENT_CPUS_H

#include "failure.h"

/* Sets all to work that do not; how many do then, or a negative errno. */
int use_processors(struct failure *why);

#endif
