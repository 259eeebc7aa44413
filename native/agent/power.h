/* The end of a machine. */
#ifndef WIRT_AGENT_POWER_H
#define WIRT_AGENT_POWER_H

/* Port of QEMU's isa-debug-exit device, see wirt/qemu/device/power.py. */
#define POWER_PORT 0x501

/* Writes everything to the disks and ends the machine. */
_Noreturn void power_off(void);

#endif
