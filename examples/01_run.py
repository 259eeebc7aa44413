"""Run one command in a container and print what it wrote.

python examples/01_run.py          (after `make up`)
"""

from __future__ import annotations

import os

from wirt.client.daemon import Daemon

SOCKET = os.environ.get("WIRT_HOST", "unix:///run/wirtdev/wirt.sock").removeprefix("unix://")


def main() -> None:
    wirt = Daemon(SOCKET)
    guest = wirt.call("POST", "/v1/guests", {"image": "busybox", "command": ["uname", "-a"]})["id"]
    wirt.call("POST", f"/v1/guests/{guest}/start")
    ended = wirt.call("POST", f"/v1/guests/{guest}/wait?condition=not-running")
    framed = wirt.request("GET", f"/v1/guests/{guest}/logs?stdout=1&stderr=1").read()
    wirt.call("DELETE", f"/v1/guests/{guest}")

    while framed:  # docker's frames: stream, three zeros, length; then the bytes
        length = int.from_bytes(framed[4:8])
        print(framed[8 : 8 + length].decode(), end="")
        framed = framed[8 + length :]
    print(f"exit code {ended['code']}")


if __name__ == "__main__":
    main()
