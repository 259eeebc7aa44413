"""The script that the launcher starts with ``-I -S``: nothing of ours is on the path yet."""

import posix
import sys


def _fill_standard_streams() -> None:
    """A closed standard stream becomes /dev/null, lest a socket gets its number."""
    for fd in (0, 1, 2):
        try:
            posix.fstat(fd)
        except OSError:
            posix.open("/dev/null", posix.O_RDWR)  # the lowest free number: this one


def _run() -> None:
    root = __file__.rpartition("/wirt/cli/")[0]
    if root not in sys.path:
        sys.path.append(root)
    from wirt.cli.app import main

    _fill_standard_streams()
    code = main(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    posix._exit(code)  # nothing is left to tear down, and tearing down costs a millisecond


if __name__ == "__main__":
    _run()
