/* The guest's root file system. */
#ifndef WIRT_AGENT_ROOT_H
#define WIRT_AGENT_ROOT_H

#include "../wire/wire.h"
#include "failure.h"

/* Mounts proc, sysfs and devtmpfs in the initramfs. */
int mount_kernel_trees(struct failure *why);

/*
 * Mounts the image (`root`, `rootfs`) and the disk, each at its place in the initramfs; the shared
 * folders are mounted between this and enter_root().
 */
int mount_disks(const struct wire_record *config, struct failure *why);

/*
 * Lays the disk over the image and makes that "/", with the kernel's trees and the usual temporary
 * file systems in it. Returns a descriptor of the new root without the mounts upon it, for which a
 * read-only guest stays writable; negative on failure.
 */
int enter_root(const struct wire_record *config, struct failure *why);

/*
 * A descriptor of the root as an image would have it: the upper directory over the image, without
 * places for mounts; read-only, and mounted nowhere. Negative on failure.
 */
int open_plain_root(int upper, int lower, struct failure *why);

/* Makes "/" read-only for the guest. */
int seal_root(struct failure *why);

#endif
