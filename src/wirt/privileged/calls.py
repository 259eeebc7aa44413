"""The system calls that the jail is without.

It reads and writes files below one root and nothing else; code of an attacker in it would also
look for other processes to signal or to trace, for programs, namespaces, mounts and sockets, and
for the corners of the kernel where most of its flaws are found. Those calls fail with EPERM. A list
of what is allowed would be shorter to defend and would break with the next C library.
"""

from __future__ import annotations

import functools
import logging

from wirt.errors import WirtError
from wirt.linux import seccomp
from wirt.linux.seccomp import Program, Rule, errno_action

log = logging.getLogger("wirt.privileged")

DENIED = (
    # other processes, and new ones
    "kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal",
    "pidfd_open", "pidfd_getfd", "ptrace", "process_vm_readv", "process_vm_writev",
    "process_madvise", "kcmp", "execve", "execveat", "clone", "clone3", "fork", "vfork",
    "setpriority", "sched_setaffinity", "sched_setscheduler", "prlimit64",
    # namespaces, roots and mounts
    "unshare", "setns", "chroot", "pivot_root", "mount", "umount2", "open_tree", "move_mount",
    "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "open_by_handle_at", "quotactl",
    "quotactl_fd", "swapon", "swapoff",
    # rights
    "capset", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups",
    "setfsuid", "setfsgid",
    # somebody to speak to
    "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "shmget", "shmat",
    "msgget", "semget", "mq_open",
    # what a file system needs nothing of
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "add_key", "request_key", "keyctl", "init_module", "finit_module",
    "delete_module", "kexec_load", "kexec_file_load", "reboot", "syslog", "acct", "sethostname",
    "setdomainname", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "ioperm",
    "iopl", "modify_ldt", "personality", "fanotify_init", "lookup_dcookie", "nfsservctl",
    "vhangup", "landlock_create_ruleset", "memfd_secret",
)  # fmt: skip
_EPERM = 1


@functools.cache
def filter_program() -> bytes:
    """The filter, compiled once for the helper and all of its children; empty, and said so, where
    there is no libseccomp."""
    rules = tuple(Rule(name=name, action=errno_action(_EPERM)) for name in DENIED)
    try:
        native = seccomp.native_architecture()
        return seccomp.compile_program(
            Program(default=seccomp.ALLOW, rules=rules, architectures=(native,))
        )
    except WirtError as error:
        log.warning("hostile files are read without a filter of system calls: %s", error.message)
        return b""
