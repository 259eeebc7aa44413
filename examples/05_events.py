"""Follow what happens while a guest lives.

python examples/05_events.py          (after `make up`)
"""

from __future__ import annotations

import json
import os
import time

from wirt.client.daemon import Daemon

SOCKET = os.environ.get("WIRT_HOST", "unix:///run/wirtdev/wirt.sock").removeprefix("unix://")


def main() -> None:
    wirt = Daemon(SOCKET)
    since = time.time_ns()
    spec = {"image": "busybox", "command": ["sh", "-c", "exit 7"]}
    guest = wirt.call("POST", "/v1/guests", spec)["id"]
    wirt.call("POST", f"/v1/guests/{guest}/start")
    wirt.call("POST", f"/v1/guests/{guest}/wait?condition=not-running")
    wirt.call("DELETE", f"/v1/guests/{guest}")

    where = f"/v1/events?since={since}&until={time.time_ns()}"
    for line in wirt.request("GET", where).lines():
        event = json.loads(line)
        if guest in line.decode():
            print(event)


if __name__ == "__main__":
    main()
