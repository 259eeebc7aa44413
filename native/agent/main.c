/*
 * Process 1 of a machine (docs/reference/keeper-protocol.md, "Agent link").
 *
 * As the kernel's first process it loads the drivers out of its initramfs and serves the keeper.
 * Any other way of starting it is for tests: then descriptor 0 is the link, nothing is mounted,
 * configured or switched off, and only its own children are killed.
 */
#include "agent.h"
#include "files.h"
#include "module.h"
#include "port.h"
#include "power.h"
#include "root.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <unistd.h>

static int watch_children(void)
{
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void say_hello(struct link *link)
{
    struct wire_record record = {0};
    struct utsname kernel;
    char boot_id[64] = "";
    uname(&kernel);
    read_text("/proc/sys/kernel/random/boot_id", boot_id, sizeof boot_id);
    boot_id[strcspn(boot_id, "\n")] = '\0';
    wire_put(&record, "version", WIRE_VERSION);
    wire_put(&record, "kernel", kernel.release);
    wire_put(&record, "boot_id", boot_id);
    link_record(link, WIRE_A_HELLO, 0, &record);
    link_flush(link);
}

static int start_machine(struct agent *agent, struct failure *why)
{
    int error = mount_kernel_trees(why);
    agent->initramfs = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (error == 0)
        error = load_modules(agent->initramfs, has_pci() ? "pci" : "mmio", why);
    if (error == 0)
        error = agent->link.fd = open_port(why);
    if (error < 0)
        return error;
    say_hello(&agent->link);
    agent->greeted = true;
    /* While the keeper makes its answer. */
    return load_modules(agent->initramfs, "disk", why);
}

static int run_machine(struct agent *agent)
{
    struct failure why = {.exit = 125};
    int error = start_machine(agent, &why);
    if (error < 0) {
        /* The keeper tells the console's last line when a machine ends before its hello. */
        dprintf(STDERR_FILENO, "wirt-agent: %s\n", why.message);
        if (agent->greeted)
            send_failure(agent, 1, &why);
    } else {
        serve(agent);
    }
    kill_all(agent);
    if (agent->link.fd >= 0)
        link_finish(&agent->link);
    power_off();
}

int main(void)
{
    struct agent agent = {.link.fd = -1,
                          .initramfs = -1,
                          .root = -1,
                          .upper = -1,
                          .lower = -1,
                          .machine = getpid() == 1};
    agent.signals = watch_children();
    if (agent.machine)
        return run_machine(&agent);
    agent.link.fd = STDIN_FILENO;
    agent.root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    fcntl(agent.link.fd, F_SETFL, fcntl(agent.link.fd, F_GETFL) | O_NONBLOCK);
    say_hello(&agent.link);
    serve(&agent);
    kill_all(&agent);
    link_finish(&agent.link);
    return agent.leaving ? 0 : 1;
}
