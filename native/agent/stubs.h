/*
 * Places for mounts that the image does not have, in a layer of their own between the image and
 * what the machine writes. Made in the writable layer, they would look like changes.
 */
#ifndef WIRT_AGENT_STUBS_H
#define WIRT_AGENT_STUBS_H

#include "../wire/wire.h"
#include "failure.h"

#define STUBS_PLACE "/stubs"

/*
 * Makes them at STUBS_PLACE for all that CONFIG mounts and for the kernel's trees. The image is
 * mounted at /lower. 1: some were missing; 0: none; negative: failure.
 */
int make_stubs(const struct wire_record *config, struct failure *why);

#endif
