"""The user's terminal: raw mode that is always undone, its size, and the keys that detach."""

from __future__ import annotations

import fcntl
import posix
import sys
import termios

from wirt.cli.flags import misuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_KEYS = "ctrl-p,ctrl-q"
_CONTROL = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


def detach_keys(text: str) -> bytes:
    """The bytes of ``ctrl-p,ctrl-q`` or ``q``. Raises Invalid for what is no key (or list)."""
    made = bytearray()
    for key in text.split(","):
        if len(key) == 1 and key.isascii() and key.isprintable():
            made += key.encode()
        elif key.startswith("ctrl-") and len(key) == 6 and key[5].lower() in _CONTROL:
            made.append(_CONTROL.index(key[5].lower()))
        else:
            raise misuse(
                f"invalid detach keys {text!r}: {key!r} is no key",
                hint="write characters or ctrl-<letter>, separated by commas, as ctrl-p,ctrl-q",
            )
    return bytes(made)


def size(fd: int) -> tuple[int, int]:
    """``(rows, columns)`` of the terminal, ``(0, 0)`` when it has none (tty_ioctl(4))."""
    try:
        data = fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8)
    except OSError:
        return 0, 0
    return int.from_bytes(data[0:2], sys.byteorder), int.from_bytes(data[2:4], sys.byteorder)


class Raw:
    """Raw mode of a terminal as a context manager (cfmakeraw in termios(3))."""

    __slots__ = ("_fd", "_saved")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._saved: list[Any] | None = None

    def __enter__(self) -> Raw:
        if posix.isatty(self._fd):
            self._saved = termios.tcgetattr(self._fd)
            mode = termios.tcgetattr(self._fd)
            mode[0] &= ~(
                termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
                | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
            )  # fmt: skip
            mode[1] &= ~termios.OPOST
            mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
            mode[3] &= ~(
                termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN
            )
            mode[6][termios.VMIN] = 1
            mode[6][termios.VTIME] = 0
            termios.tcsetattr(self._fd, termios.TCSANOW, mode)
        return self

    def __exit__(self, *error: object) -> None:
        if self._saved is not None:
            saved, self._saved = self._saved, None
            termios.tcsetattr(self._fd, termios.TCSADRAIN, saved)
