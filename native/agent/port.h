/* The machine's end of the link. */
#ifndef WIRT_AGENT_PORT_H
#define WIRT_AGENT_PORT_H

#include "failure.h"

#include <stdbool.h>

/* Whether the machine has a PCI bus; a microVM has not. */
bool has_pci(void);

/* Opens the virtio-serial port `wirt.agent`, waiting up to 10 s for it. -errno on failure. */
int open_port(struct failure *why);

#endif
