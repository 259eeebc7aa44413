"""libseccomp through ctypes: a list of rules in, a BPF program out.

The bindings that Debian packages are not importable in a virtual environment, and only a handful
of calls is needed (seccomp_init(3) and friends). Nothing is loaded into this process: the program
is exported as bytes, so that it can be compiled once and handed to every container.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wirt.errors import Invalid, Unsupported

ALLOW = 0x7FFF0000
LOG = 0x7FFC0000
KILL_PROCESS = 0x80000000
KILL_THREAD = 0x00000000
TRAP = 0x00030000


def errno_action(number: int) -> int:
    """``SCMP_ACT_ERRNO(number)``: the call fails with this errno."""
    return 0x00050000 | (number & 0xFFFF)


def trace_action(number: int) -> int:
    """``SCMP_ACT_TRACE(number)``: tell a tracer, else ENOSYS."""
    return 0x7FF00000 | (number & 0xFFFF)


COMPARISONS: Mapping[str, int] = {
    "SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6, "SCMP_CMP_MASKED_EQ": 7,
}  # fmt: skip
"""``enum scmp_compare``."""

ARCHITECTURES: Mapping[str, int] = {
    "SCMP_ARCH_X86_64": 0xC000003E, "SCMP_ARCH_X86": 0x40000003, "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_AARCH64": 0xC00000B7, "SCMP_ARCH_ARM": 0x40000028, "SCMP_ARCH_S390X": 0x80000016,
    "SCMP_ARCH_S390": 0x00000016, "SCMP_ARCH_PPC64LE": 0xC0000015, "SCMP_ARCH_RISCV64": 0xC00000F3,
}  # fmt: skip
"""``SCMP_ARCH_*``: the audit architecture numbers; only x32 has one of libseccomp's own."""

_NATIVE = {
    "x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64", "s390x": "SCMP_ARCH_S390X",
    "ppc64le": "SCMP_ARCH_PPC64LE", "riscv64": "SCMP_ARCH_RISCV64", "i686": "SCMP_ARCH_X86",
    "armv7l": "SCMP_ARCH_ARM",
}  # fmt: skip
_X32_BIT = 0x40000000
_UNIFIED = 424
"""From this number on a call has the same number on every architecture named above."""


def native_architecture(machine: str | None = None) -> str:
    """The ``SCMP_ARCH_`` name of this host (or of a ``uname -m`` answer)."""
    machine = machine or platform.machine()
    try:
        return _NATIVE[machine]
    except KeyError:
        raise Unsupported(f"no seccomp filter for the architecture {machine!r}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """A condition on argument ``index`` (0-5); ``second`` is the value for MASKED_EQ only."""

    index: int
    operator: str
    value: int
    second: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Do ``action`` on the system call ``name`` when all of ``compares`` hold."""

    name: str
    action: int
    compares: tuple[Compare, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """All that a filter is made of; hashable, so that it can be the key of a cache.

    ``architectures``: native one first. ``numbers``: calls that libseccomp may be too old to
    know; they must be at least 424. ``newest``: calls with a higher number are answered ENOSYS,
    since a C library falls back to an older call then, and takes EPERM for the truth; 0: no bound.
    """

    default: int
    rules: tuple[Rule, ...]
    architectures: tuple[str, ...]
    numbers: tuple[tuple[str, int], ...] = ()
    newest: int = 0


class _ArgCmp(ctypes.Structure):
    """``struct scmp_arg_cmp``."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        raise Unsupported(
            "libseccomp.so.2 cannot be loaded", hint="install the package libseccomp2"
        ) from error
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = (ctypes.c_uint32,)
    library.seccomp_release.argtypes = (ctypes.c_void_p,)
    library.seccomp_release.restype = None
    library.seccomp_arch_add.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    library.seccomp_arch_remove.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    library.seccomp_arch_native.restype = ctypes.c_uint32
    library.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
    library.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_ArgCmp),
    )  # fmt: skip
    library.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    return library


def available() -> str | None:
    """None when libseccomp can be used, else why not."""
    try:
        _library()
    except Unsupported as error:
        return error.message
    return None


_UNKNOWN = -1


def _number(name: str) -> int:
    return int(_library().seccomp_syscall_resolve_name(name.encode("ascii", "replace")))


def compile_program(program: Program) -> bytes:
    """The BPF program (``struct sock_filter`` array, 8 bytes an instruction).

    Names unknown to libseccomp and to ``program.numbers`` are left out, as docker does: a profile
    lists calls of many kernels. Takes 10 to 20 ms for docker's rules. Raises
    :class:`~wirt.errors.Invalid` when libseccomp refuses a rule.
    """
    library = _library()
    context = library.seccomp_init(program.default)
    if not context:
        raise Invalid("the seccomp profile's default action cannot be used")
    try:
        _set_architectures(library, context, program.architectures)
        for rule in program.rules:
            if rule.action != program.default:
                _add(library, context, rule)
        body = _export(library, context)
    finally:
        library.seccomp_release(context)
    return _with_prologue(program, body)


def _set_architectures(library: ctypes.CDLL, context: int, names: Sequence[str]) -> None:
    native = library.seccomp_arch_native()
    wanted = {ARCHITECTURES[name] for name in names}
    for token in wanted - {native}:
        _check(library.seccomp_arch_add(context, token), "add an architecture")
    if native not in wanted:
        _check(library.seccomp_arch_remove(context, native), "remove an architecture")


def _add(library: ctypes.CDLL, context: int, rule: Rule) -> None:
    number = _number(rule.name)
    if number == _UNKNOWN:
        return
    # libseccomp takes one condition an argument in a rule; docker's profiles may have several,
    # which then count as alternatives.
    repeated = len({compare.index for compare in rule.compares}) < len(rule.compares)
    groups = [(compare,) for compare in rule.compares] if repeated else [rule.compares]
    for group in groups:
        array = (_ArgCmp * max(1, len(group)))(
            *(
                _ArgCmp(c.index, COMPARISONS[c.operator], c.value & 2**64 - 1, c.second & 2**64 - 1)
                for c in group
            )
        )
        code = library.seccomp_rule_add_array(context, rule.action, number, len(group), array)
        if code not in (0, -errno.EEXIST):
            _check(code, f"add a rule for {rule.name}")


def _check(code: int, doing: str) -> None:
    if code < 0:
        raise Invalid(
            f"libseccomp could not {doing}: {os.strerror(-code)}",
            hint="see the rules of the profile given by --security-opt seccomp=",
        )


def _export(library: ctypes.CDLL, context: int) -> bytes:
    descriptor = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        _check(library.seccomp_export_bpf(context, descriptor), "write the filter")
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, size, 0)
    finally:
        os.close(descriptor)


# BPF instructions (linux/filter.h): code, jump true, jump false, k.
_LOAD, _JEQ, _JGE, _JGT, _RETURN = 0x20, 0x15, 0x35, 0x25, 0x06
_NR_OFFSET, _ARCH_OFFSET = 0, 4  # struct seccomp_data


def _instruction(code: int, true: int, false: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, true, false, value)


def _with_prologue(program: Program, body: bytes) -> bytes:
    """``body`` behind a few instructions that deal with calls newer than libseccomp.

    ::

        load arch; one of ours? else body
        load nr; x32 bit set? body
        nr > newest? ENOSYS
        nr one of the unknown allowed ones? ALLOW
        body (starts by loading arch again)
    """
    allowed = {rule.name for rule in program.rules if rule.action == ALLOW and not rule.compares}
    extra = sorted(
        number
        for name, number in program.numbers
        if name in allowed and number >= _UNIFIED and _number(name) == _UNKNOWN
    )
    if not extra and not program.newest:
        return body
    audit = [ARCHITECTURES[name] for name in program.architectures if name != "SCMP_ARCH_X32"]
    tail = [
        _instruction(_JEQ, 0, 1, number) + _instruction(_RETURN, 0, 0, ALLOW) for number in extra
    ]
    newest = program.newest or _X32_BIT - 1
    tail.insert(
        0,
        _instruction(_JGT, 0, 1, newest) + _instruction(_RETURN, 0, 0, errno_action(errno.ENOSYS)),
    )
    rest = b"".join(tail)
    check_bit = _instruction(_JGE, len(rest) // 8, 0, _X32_BIT)
    head = _instruction(_LOAD, 0, 0, _ARCH_OFFSET)
    for position, token in enumerate(audit):
        last = position == len(audit) - 1
        # True: on to loading nr, over the remaining comparisons. False on the last one: the body.
        to_body = 2 + len(rest) // 8 if last else 0
        head += _instruction(_JEQ, len(audit) - 1 - position, to_body, token)
    return head + _instruction(_LOAD, 0, 0, _NR_OFFSET) + check_bit + rest + body


def instructions(code: bytes) -> int:
    """How many BPF instructions a program has; the kernel takes at most 4096."""
    return len(code) // 8
