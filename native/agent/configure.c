/* What CONFIG says, put into effect in its order. */
#include "agent.h"
#include "confine.h"
#include "files.h"
#include "given.h"
#include "identity.h"
#include "module.h"
#include "mounts.h"
#include "net.h"
#include "root.h"

#include <fcntl.h>

/* The root, and the files in it that are the machine's own. */
static int make_root(struct agent *agent, struct failure *why)
{
    const struct wire_record *config = &agent->config;
    int error = mount_disks(config, why);
    if (error == 0 && has_shares(config))
        error = load_modules(agent->initramfs, "share", why);
    if (error == 0)
        error = stage_shares(config, why);
    if (error == 0)
        error = given_make(config, agent->listeners, why);
    if (error == 0)
        error = agent->root = enter_root(config, why);
    if (error < 0)
        return error;
    /* The new root covers the way there, but not for who stands in the initramfs. */
    agent->upper = openat(agent->initramfs, "disk/upper", O_PATH | O_DIRECTORY | O_CLOEXEC);
    agent->lower = openat(agent->initramfs, "lower", O_PATH | O_DIRECTORY | O_CLOEXEC);
    /* Before any share is mounted: the files must end on the guest's own disk. */
    return wire_flag(config, "traceless") ? 0 : write_files(config, agent->root, why);
}

int configure(struct agent *agent, struct failure *why)
{
    const struct wire_record *config = &agent->config;
    int error = set_clock(config, why);
    if (error == 0)
        error = seed_random(config, why);
    if (error == 0)
        error = make_root(agent, why);
    if (error == 0)
        error = set_hostname(config, why);
    if (error == 0)
        error = mount_all(config, agent->initramfs, why);
    if (error == 0)
        error = given_mount(config, agent->initramfs, why);
    if (error == 0)
        error = confine_prepare(config, why);
    if (error == 0)
        error = loopback_up(why);
    if (error == 0 && wire_count(config, "interface") > 0) {
        error = load_modules(agent->initramfs, "net", why);
        if (error == 0)
            error = configure_cards(config, why);
    }
    if (error == 0)
        error = set_sysctls(config, why);
    if (error == 0 && wire_flag(config, "read_only"))
        error = seal_root(why);
    return error;
}
