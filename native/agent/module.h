/* Kernel modules out of the initramfs. */
#ifndef WIRT_AGENT_MODULE_H
#define WIRT_AGENT_MODULE_H

#include "failure.h"

/*
 * Loads a group of modules, in the order that the file `modules` of the initramfs gives: lines of
 * a group's name and its modules, each found as `lib/<name>.ko`. `initramfs` is its root directory.
 */
int load_modules(int initramfs, const char *group, struct failure *why);

/* Gives the initramfs' memory back; no module can be loaded afterwards. */
void drop_initramfs(int initramfs);

#endif
