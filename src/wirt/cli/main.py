"""The script that the launcher starts with ``-I -S``: nothing of ours is on the path yet."""

import sys


def _run() -> None:
    root = __file__.rpartition("/wirt/cli/")[0]
    if root not in sys.path:
        sys.path.append(root)
    import posix

    from wirt.cli.app import main

    code = main(sys.argv[1:])
    if "io" in sys.modules:
        sys.stdout.flush()
        sys.stderr.flush()
    posix._exit(code)  # nothing is left to tear down, and tearing down costs a millisecond


if __name__ == "__main__":
    _run()
