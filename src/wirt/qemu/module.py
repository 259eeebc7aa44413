"""Kernel modules: what one needs, and an order in which they can be loaded.

The facts are read from the modules themselves (section ``.modinfo`` of the ELF file: NUL-ended
``key=value`` strings), since a kernel package carries no ``modules.dep`` before it is installed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wirt.errors import Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A module: its name with underscores, and the modules it ``depends`` on."""

    name: str
    depends: tuple[str, ...]


def read_module(content: bytes) -> Module:
    """Name and dependencies of a ``.ko`` file. Raises :class:`Invalid` for anything else."""
    try:
        info = dict(
            line.split("=", 1)
            for line in _section(content, b".modinfo").decode("ascii", "replace").split("\0")
            if "=" in line
        )
        name = info["name"]
    except (struct.error, KeyError, ValueError, IndexError) as error:
        raise Invalid("not a kernel module", hint="a .ko file for 64 bit is needed") from error
    depends = tuple(sorted(normal(word) for word in info.get("depends", "").split(",") if word))
    return Module(name=normal(name), depends=depends)


def normal(name: str) -> str:
    """The kernel takes ``-`` and ``_`` in a module's name as the same."""
    return name.replace("-", "_")


def load_order(wanted: Iterable[str], modules: Mapping[str, Module]) -> tuple[str, ...]:
    """``wanted`` with all they depend on, each after what it needs, each once.

    ``modules`` by name; a dependency that is not among them is taken as built into the kernel.
    Raises :class:`Invalid` when a wanted one is absent or the dependencies form a circle.
    """
    order: list[str] = []
    path: list[str] = []

    def visit(name: str) -> None:
        if name in order or name not in modules:
            return
        if name in path:
            raise Invalid(f"the kernel modules {' -> '.join([*path, name])} need one another")
        path.append(name)
        for other in modules[name].depends:
            visit(other)
        path.pop()
        order.append(name)

    for name in map(normal, wanted):
        if name not in modules:
            raise Invalid(f"the kernel has no module {name}")
        visit(name)
    return tuple(order)


def _section(content: bytes, wanted: bytes) -> bytes:
    """The bytes of an ELF section by name (System V ABI, "Sections")."""
    if content[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a little-endian 64-bit ELF file")
    (table,) = struct.unpack_from("<Q", content, 0x28)
    size, count, names = struct.unpack_from("<HHH", content, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", content, table + size * i) for i in range(count)]
    strings = headers[names][4]
    for name, _, _, _, offset, length in headers:
        end = content.index(b"\0", strings + name)
        if content[strings + name : end] == wanted:
            return content[offset : offset + length]
    raise KeyError(wanted)
