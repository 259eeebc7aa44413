"""Seccomp profiles in docker's JSON form, resolved for one container and compiled to BPF.

A profile speaks of capabilities, architectures and kernels; :func:`resolve` turns it into the plain
rules for one set of them. :class:`Filters` compiles each distinct result once: crun would compile
it anew at every start, which was the largest single cost of a start.
"""

from __future__ import annotations

import base64
import functools
from collections import OrderedDict
from importlib import resources
from typing import Literal

import msgspec

from wirt.errors import Invalid, Unsupported
from wirt.linux import seccomp
from wirt.linux.seccomp import Compare, Program, Rule

ANNOTATION = "run.oci.seccomp_bpf_data"
"""crun's annotation for a ready filter: base64 of the ``sock_filter`` array."""

MAX_PROFILE = 256 * 1024
"""Bytes of a profile's JSON."""

_MAX_RULES = 4096
_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS

_GO_ARCHITECTURES = {
    "SCMP_ARCH_X86_64": "amd64", "SCMP_ARCH_X86": "x86", "SCMP_ARCH_X32": "x32",
    "SCMP_ARCH_AARCH64": "arm64", "SCMP_ARCH_ARM": "arm", "SCMP_ARCH_S390X": "s390x",
    "SCMP_ARCH_S390": "s390", "SCMP_ARCH_PPC64LE": "ppc64le", "SCMP_ARCH_RISCV64": "riscv64",
}  # fmt: skip

# Calls that the libseccomp of Debian 12 does not know; one number for all architectures.
_NUMBERS = (
    ("statmount", 457), ("listmount", 458), ("lsm_get_self_attr", 459),
    ("lsm_set_self_attr", 460), ("lsm_list_modules", 461), ("mseal", 462), ("setxattrat", 463),
    ("getxattrat", 464), ("listxattrat", 465), ("removexattrat", 466), ("open_tree_attr", 467),
    ("file_getattr", 468), ("file_setattr", 469),
)  # fmt: skip
_NEWEST = 469

Action = Literal[
    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP", "SCMP_ACT_TRACE", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY",
]  # fmt: skip
Operator = Literal[
    "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
]  # fmt: skip


class Argument(msgspec.Struct, frozen=True, rename="camel"):
    """A condition on one argument of a call."""

    index: int
    value: int
    op: Operator
    value_two: int = 0


class Scope(msgspec.Struct, frozen=True, rename="camel"):
    """When a group of calls counts: all named things must hold (includes), or none (excludes)."""

    caps: tuple[str, ...] | None = None
    arches: tuple[str, ...] | None = None
    min_kernel: str | None = None


class Group(msgspec.Struct, frozen=True, rename="camel"):
    """Calls that share an action."""

    action: Action
    names: tuple[str, ...] = ()
    name: str = ""
    errno_ret: int | None = None
    args: tuple[Argument, ...] | None = None
    includes: Scope | None = None
    excludes: Scope | None = None


class SubArchitectures(msgspec.Struct, frozen=True, rename="camel"):
    """Which further architectures a filter for ``architecture`` covers."""

    architecture: str
    sub_architectures: tuple[str, ...] | None = None


class Profile(msgspec.Struct, frozen=True, rename="camel"):
    """A whole profile. Keys that we do not know (comments) are ignored, as docker does."""

    default_action: Action
    default_errno_ret: int | None = None
    arch_map: tuple[SubArchitectures, ...] | None = None
    architectures: tuple[str, ...] | None = None
    flags: tuple[str, ...] | None = None
    listener_path: str | None = None
    syscalls: tuple[Group, ...] | None = None


def parse(text: str) -> Profile:
    """A profile from its JSON. Raises :class:`Invalid` or, for notify actions, Unsupported."""
    hint = "see https://docs.docker.com/engine/security/seccomp/ for the form of a profile"
    if len(text) > MAX_PROFILE:
        raise Invalid(f"the seccomp profile is larger than {MAX_PROFILE} bytes", hint=hint)
    try:
        profile = msgspec.json.decode(text, type=Profile)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise Invalid(f"invalid seccomp profile: {error}", hint=hint) from error
    groups = profile.syscalls or ()
    if sum(len(group.names) + 1 for group in groups) > _MAX_RULES:
        raise Invalid(f"the seccomp profile has more than {_MAX_RULES} rules", hint=hint)
    if profile.flags or profile.listener_path:
        raise Unsupported(
            "seccomp profiles with flags or a listenerPath are not supported",
            hint="leave flags and listenerPath out of the profile",
        )
    for group in groups:
        _check_group(group)
    if "SCMP_ACT_NOTIFY" in {profile.default_action, *(group.action for group in groups)}:
        raise Unsupported("the seccomp action SCMP_ACT_NOTIFY is not supported")
    return profile


def _check_group(group: Group) -> None:
    for argument in group.args or ():
        if not 0 <= argument.index <= 5:
            raise Invalid(
                f"invalid seccomp profile: argument index {argument.index} of {group.names}",
                hint="a system call has the arguments 0 to 5",
            )
    for scope in (group.includes, group.excludes):
        if scope is not None and scope.min_kernel is not None:
            _kernel(scope.min_kernel)


@functools.cache
def default_profile() -> Profile:
    """wirt's own profile, with the meaning of docker's default."""
    text = resources.files("wirt.crun").joinpath("default_seccomp.json").read_text()
    return parse(text)


def resolve(
    profile: Profile, *, capabilities: frozenset[str], architecture: str, kernel: tuple[int, int]
) -> Program:
    """The rules that hold for a container with these capabilities (names without ``CAP_``)."""
    default = _action(profile.default_action, profile.default_errno_ret)
    rules: list[Rule] = []
    for group in profile.syscalls or ():
        if not _counts(group, capabilities, architecture, kernel):
            continue
        action = _action(group.action, group.errno_ret)
        compares = tuple(
            Compare(index=a.index, operator=a.op, value=a.value, second=a.value_two)
            for a in group.args or ()
        )
        names = group.names or ((group.name,) if group.name else ())
        rules += (Rule(name=name, action=action, compares=compares) for name in names)
    denies = profile.default_action in {"SCMP_ACT_ERRNO", "SCMP_ACT_TRAP", "SCMP_ACT_TRACE"}
    return Program(
        default=default,
        rules=tuple(dict.fromkeys(rules)),
        architectures=_architectures(profile, architecture),
        numbers=_NUMBERS,
        newest=_NEWEST if denies else 0,
    )


def _action(name: Action, number: int | None) -> int:
    code = 1 if number is None else number  # EPERM, as runtime-spec's default for errnoRet
    match name:
        case "SCMP_ACT_ALLOW":
            return seccomp.ALLOW
        case "SCMP_ACT_ERRNO":
            return seccomp.errno_action(code)
        case "SCMP_ACT_TRACE":
            return seccomp.trace_action(code)
        case "SCMP_ACT_LOG":
            return seccomp.LOG
        case "SCMP_ACT_TRAP":
            return seccomp.TRAP
        case "SCMP_ACT_KILL_PROCESS":
            return seccomp.KILL_PROCESS
        case _:
            return seccomp.KILL_THREAD


def _counts(
    group: Group, capabilities: frozenset[str], architecture: str, kernel: tuple[int, int]
) -> bool:
    native = _GO_ARCHITECTURES[architecture]
    if (scope := group.includes) is not None:
        if scope.arches and native not in scope.arches:
            return False
        if any(cap.removeprefix("CAP_") not in capabilities for cap in scope.caps or ()):
            return False
        if scope.min_kernel is not None and kernel < _kernel(scope.min_kernel):
            return False
    if (scope := group.excludes) is not None:
        if native in (scope.arches or ()):
            return False
        if any(cap.removeprefix("CAP_") in capabilities for cap in scope.caps or ()):
            return False
        if scope.min_kernel is not None and kernel >= _kernel(scope.min_kernel):
            return False
    return True


def _kernel(text: str) -> tuple[int, int]:
    major, dot, minor = text.partition(".")
    if not (dot and major.isdecimal() and minor.isdecimal() and len(text) < 12):
        raise Invalid(
            f"invalid seccomp profile: minKernel {text[:40]!r}", hint="write MAJOR.MINOR, as 4.8"
        )
    return int(major), int(minor)


def _architectures(profile: Profile, native: str) -> tuple[str, ...]:
    names = [native]
    for entry in profile.arch_map or ():
        if entry.architecture == native:
            names += entry.sub_architectures or ()
    names += profile.architectures or ()
    known = [name for name in names if name in seccomp.ARCHITECTURES]
    return tuple(dict.fromkeys(known))


class Filters:
    """Compiled filters, each made once; the least recently used of ``limit`` goes first.

    One object lives in the daemon. The work (10 to 20 ms) is done at the first use of a
    combination of profile and capabilities, for the default one when the daemon starts.
    """

    def __init__(self, *, architecture: str, kernel: tuple[int, int], limit: int = 64) -> None:
        self._architecture = architecture
        self._kernel = kernel
        self._limit = limit
        self._made: OrderedDict[tuple[str, frozenset[str]], str] = OrderedDict()
        self.compiled = 0

    def annotation(self, profile: str, capabilities: frozenset[str]) -> str:
        """The value of crun's annotation for a container with these capabilities.

        ``profile``: JSON text, empty for the default profile. Raises as :func:`parse` does.
        """
        key = (profile, capabilities)
        made = self._made.get(key)
        if made is None:
            made = self._compile(profile, capabilities)
            self._made[key] = made
            if len(self._made) > self._limit:
                self._made.popitem(last=False)
        self._made.move_to_end(key)
        return made

    def _compile(self, profile: str, capabilities: frozenset[str]) -> str:
        program = resolve(
            parse(profile) if profile else default_profile(),
            capabilities=capabilities,
            architecture=self._architecture,
            kernel=self._kernel,
        )
        code = seccomp.compile_program(program)
        if seccomp.instructions(code) > _MAX_INSTRUCTIONS:
            raise Invalid(
                "the seccomp profile is too large for the kernel",
                hint=f"a filter has at most {_MAX_INSTRUCTIONS} instructions",
            )
        self.compiled += 1
        return base64.b64encode(code).decode()
