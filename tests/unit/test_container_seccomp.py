"""Profiles resolved by capability and architecture, and the BPF made of them, run by hand."""

from __future__ import annotations

import base64
import errno
import json
import struct
from typing import Any

import pytest

from wirt.crun.capability import DEFAULT
from wirt.crun.seccomp import Filters, default_profile, parse, resolve
from wirt.errors import Invalid, Unsupported
from wirt.linux.seccomp import ALLOW, Program, available, compile_program, errno_action

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

X86_64, I386 = 0xC000003E, 0x40000003
EPERM, ENOSYS = errno_action(errno.EPERM), errno_action(errno.ENOSYS)
KILL = 0
NR = {
    "read": 0, "clone": 56, "mkdir": 83, "ptrace": 101, "personality": 135, "mount": 165,
    "reboot": 169, "keyctl": 250, "unshare": 272, "io_uring_setup": 425, "clone3": 435,
    "socket": 41, "bpf": 321, "mseal": 462, "statmount": 457,
}  # fmt: skip


def run(code: bytes, number: int, *args: int, arch: int = X86_64) -> int:
    """What the kernel would answer: a small interpreter of classic BPF over seccomp_data."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *(args + (0,) * 6)[:6])
    program = [struct.unpack_from("=HBBI", code, at) for at in range(0, len(code), 8)]
    at = accumulator = 0
    while True:
        op, true, false, value = program[at]
        at += 1
        match op:
            case 0x20:
                accumulator = struct.unpack_from("=I", data, value)[0]
            case 0x54:
                accumulator &= value
            case 0x05:
                at += value
            case 0x15:
                at += true if accumulator == value else false
            case 0x25:
                at += true if accumulator > value else false
            case 0x35:
                at += true if accumulator >= value else false
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"unknown instruction {op:#x}")


def default_code(capabilities: frozenset[str] = DEFAULT) -> bytes:
    return compile_program(
        resolve(
            default_profile(), capabilities=capabilities, architecture="SCMP_ARCH_X86_64",
            kernel=(6, 1),
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def code() -> bytes:
    return default_code()


@pytest.mark.parametrize("name", ["read", "mkdir", "ptrace"])
def test_ordinary_calls_are_allowed(code: bytes, name: str) -> None:
    assert run(code, NR[name]) == ALLOW


@pytest.mark.parametrize(
    "name", ["mount", "reboot", "keyctl", "unshare", "io_uring_setup", "bpf", "statmount"]
)
def test_calls_for_the_mighty_are_refused(code: bytes, name: str) -> None:
    assert run(code, NR[name]) == EPERM


def test_clone_is_looked_at_and_clone3_cannot_be(code: bytes) -> None:
    assert run(code, NR["clone"], 0x1200011) == ALLOW
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert run(code, NR["clone"], flag | 17) == EPERM, hex(flag)
    assert run(code, NR["clone3"]) == ENOSYS


def test_personality_and_sockets_by_argument(code: bytes) -> None:
    assert run(code, NR["personality"], 0xFFFFFFFF) == ALLOW
    assert run(code, NR["personality"], 0x0040000) == EPERM  # ADDR_NO_RANDOMIZE
    assert run(code, NR["socket"], 2) == ALLOW
    assert run(code, NR["socket"], 40) == EPERM  # AF_VSOCK


def test_calls_newer_than_libseccomp(code: bytes) -> None:
    assert run(code, NR["mseal"]) == ALLOW
    assert run(code, 470) == ENOSYS
    assert run(code, 600, arch=I386) == ENOSYS
    assert run(code, NR["mseal"], arch=I386) == ALLOW


def test_other_architectures(code: bytes) -> None:
    assert run(code, 39, arch=I386) == ALLOW  # mkdir
    assert run(code, 21, arch=I386) == EPERM  # mount
    assert run(code, 0x40000000 | NR["mkdir"]) == ALLOW  # x32
    assert run(code, 0x40000000 | NR["mount"]) == EPERM
    assert run(code, 0, arch=0xC00000B7) == KILL  # not of this machine at all


def test_capabilities_open_calls() -> None:
    code = default_code(DEFAULT | {"SYS_ADMIN"})
    assert run(code, NR["mount"]) == ALLOW
    assert run(code, NR["clone"], 0x10000000) == ALLOW
    assert run(code, NR["clone3"]) == ALLOW
    assert run(code, NR["statmount"]) == ALLOW
    assert run(code, NR["reboot"]) == EPERM
    assert run(default_code(DEFAULT | {"SYS_BOOT"}), NR["reboot"]) == ALLOW


def profile(**parts: Any) -> str:
    return json.dumps({"defaultAction": "SCMP_ACT_ALLOW", **parts})


def one(**parts: Any) -> str:
    return profile(syscalls=[{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", **parts}])


def custom(text: str) -> bytes:
    program = resolve(
        parse(text), capabilities=DEFAULT, architecture="SCMP_ARCH_X86_64", kernel=(6, 1)
    )
    return compile_program(program)


def test_an_own_profile() -> None:
    code = custom(one(errnoRet=errno.EROFS, unknownKey="ignored"))
    assert run(code, NR["mkdir"]) == errno_action(errno.EROFS)
    assert run(code, 600) == ALLOW


@pytest.mark.parametrize(
    ("scope", "counts"),
    [
        ({"includes": {"caps": ["CAP_CHOWN"]}}, True),
        ({"includes": {"caps": ["CAP_CHOWN", "CAP_SYS_ADMIN"]}}, False),
        ({"includes": {"arches": ["arm64", "amd64"]}}, True),
        ({"includes": {"arches": ["arm64"]}}, False),
        ({"includes": {"minKernel": "4.8"}}, True),
        ({"includes": {"minKernel": "6.2"}}, False),
        ({"excludes": {"caps": ["CAP_CHOWN"]}}, False),
        ({"excludes": {"arches": ["amd64"]}}, False),
        ({"excludes": {"minKernel": "5.0"}}, False),
        ({"includes": {}, "excludes": {}}, True),
    ],
)
def test_when_a_group_counts(scope: dict[str, Any], counts: bool) -> None:
    assert run(custom(one(**scope)), NR["mkdir"]) == (EPERM if counts else ALLOW)


def test_two_conditions_on_one_argument_are_alternatives() -> None:
    args = [{"index": 1, "value": v, "op": "SCMP_CMP_EQ"} for v in (1, 2)]
    code = custom(one(args=args))
    assert [run(code, NR["mkdir"], 0, v) for v in (1, 2, 3)] == [EPERM, EPERM, ALLOW]


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("", Invalid, "invalid seccomp profile"),
        ("[]", Invalid, "invalid seccomp profile"),
        ("{}", Invalid, "defaultAction"),
        ('{"defaultAction": "SCMP_ACT_MAYBE"}', Invalid, "SCMP_ACT_MAYBE"),
        ("[" * 100_000, Invalid, "invalid seccomp profile"),
        (" " * 300_000, Invalid, "larger than"),
        ("\ud800", Invalid, "invalid seccomp profile"),
        (one(args=[{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]), Invalid, "index 6"),
        (one(args=[{"index": 0, "value": "1", "op": "SCMP_CMP_EQ"}]), Invalid, "value"),
        (one(includes={"minKernel": "new"}), Invalid, "minKernel"),
        (one(excludes={"minKernel": "6"}), Invalid, "minKernel"),
        (one(names=["a"] * 5000), Invalid, "more than"),
        (profile(listenerPath="/run/x.sock"), Unsupported, "listenerPath"),
        (profile(flags=["SECCOMP_FILTER_FLAG_LOG"]), Unsupported, "flags"),
        (profile(defaultAction="SCMP_ACT_NOTIFY"), Unsupported, "NOTIFY"),
    ],
    ids=range(15),
)
def test_bad_profiles(text: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        parse(text)


def test_an_unknown_call_and_a_conflicting_rule() -> None:
    assert run(custom(one(names=["no_such_call", "mkdir"])), NR["mkdir"]) == EPERM
    both = profile(
        syscalls=[
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["mkdir"], "action": "SCMP_ACT_KILL"},
        ]
    )
    assert run(custom(both), NR["mkdir"]) in {EPERM, KILL}


def test_filters_are_compiled_once() -> None:
    filters = Filters(architecture="SCMP_ARCH_X86_64", kernel=(6, 1), limit=2)
    first = filters.annotation("", DEFAULT)
    assert filters.annotation("", DEFAULT) is first
    assert filters.compiled == 1
    assert len(base64.b64decode(first)) % 8 == 0
    for name in ("SYS_BOOT", "SYS_TIME"):
        filters.annotation("", DEFAULT | {name})
    assert filters.compiled == 3
    filters.annotation("", DEFAULT)  # forgotten meanwhile
    assert filters.compiled == 4


def test_a_filter_too_large_for_the_kernel() -> None:
    rules = [
        {"names": ["ioctl"], "action": "SCMP_ACT_ERRNO",
         "args": [{"index": 1, "value": v << 33 | v, "op": "SCMP_CMP_EQ"}]}
        for v in range(1500)
    ]  # fmt: skip
    with pytest.raises(Invalid, match="too large for the kernel"):
        Filters(architecture="SCMP_ARCH_X86_64", kernel=(6, 1)).annotation(
            profile(syscalls=rules), DEFAULT
        )


def test_without_rules_everything_is_the_default_action() -> None:
    code = compile_program(Program(default=ALLOW, rules=(), architectures=("SCMP_ARCH_X86_64",)))
    assert run(code, NR["mkdir"]) == ALLOW
