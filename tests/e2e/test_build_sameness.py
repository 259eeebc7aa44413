"""The same Dockerfile gives the same image, byte for byte, whether its RUN steps are containers or
microVMs: what a machine says it has changed is told as the helper tells it of a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildcases import BASE, CASES, Case, flags, make_context
from live import Live
from needs import needs

pytestmark = needs("qemu", "agent", "guest-kernel", "erofs", "virtiofsd")

OWN = (
    Case(
        name="attributes-alone",
        text=f"{BASE}RUN mkdir /d; echo x > /d/f; touch -d @7 /d/f /d; touch -d @5 /old\n"
        "RUN chmod 600 /d/f; chown 3:4 /d; chmod 711 /old\n",
    ),
    Case(name="nothing-changed", text=f"{BASE}RUN true\nRUN chmod 755 /bin; cat /etc/passwd\n"),
    Case(
        name="directories-replaced",
        text=f"{BASE}RUN mkdir -p /a/b /c /e; echo 1 > /a/b/1; echo 2 > /a/2; echo 3 > /c/3\n"
        "RUN rm -r /a; mkdir /a; echo new > /a/new; rm -r /c; echo file > /c; rm /c; mkdir /c\n"
        "RUN rm -r /e; ln -s a /e; rm /a/new; mkdir /a/new; mv /c /moved\n",
    ),
    Case(
        name="files-and-directories-change-places",
        text=f"{BASE}RUN echo f > /f; mkdir /d; echo x > /d/x\n"
        "RUN rm /f; mkdir /f; rm -r /d; echo d > /d\n",
    ),
    Case(
        name="hard-links",
        text=f"{BASE}RUN echo x > /x; ln /x /b; mkdir /z; ln /x /z/y; mkfifo /p; ln /p /q\n"
        "RUN ln -s away /s; ln /x /a; rm /b\nRUN echo more >> /x\n",
    ),
    Case(name="devices", text=f"{BASE}RUN mknod /c c 1 3; mknod /n c 0 3; mkfifo -m 640 /p\n"),
    Case(
        name="sparse",
        text=f"{BASE}RUN dd if=/dev/zero of=/s bs=1 count=1 seek=3000000; truncate -s 70000 /t;"
        " echo end >> /t\n",
    ),
    Case(
        name="times",
        text=f"{BASE}RUN touch -d @1 /one; touch -d @99999999999 /late; "
        "touch -d '2020-01-01 00:00:00' /a\n"
        "RUN mv /one /two; touch -h -d @3 /etc; cp -p /a /b\n",
    ),
    Case(
        name="names",
        text=f"{BASE}RUN mkdir -p /l/$(printf %0200d 1)/$(printf %0100d 2); "
        "echo x > /l/$(printf %0200d 1)/f; touch '/sp ace' $(printf '/new\\nline') "
        "$(printf '/\\377'); ln -s $(printf %0150d 3) /long\n",
    ),
    Case(
        name="sockets-are-left-out",
        text=f"{BASE}RUN mkdir /r; (timeout 1 nc -l -s 127.0.0.1 -p 9 || true); echo x > /r/f\n",
    ),
    Case(
        name="modes-and-owners",
        text=f"{BASE}RUN mkdir -m 2775 /g; touch /g/f; chown 70000:4000000 /g/f; chmod 6755 /g/f\n"
        "RUN mkdir -m 1777 /t; chmod 0 /g/f; chmod 500 /g\n",
    ),
    Case(name="the-root-itself", text=f"{BASE}RUN chmod 711 /; chown 5:6 /\nRUN echo x > /x\n"),
    Case(
        name="places-of-mounts",
        text=f"{BASE}RUN --mount=type=cache,target=/root/.cache/x --mount=type=tmpfs,target=/n/e/w "
        "--mount=type=bind,source=a.txt,target=/etc/made.conf --mount=type=secret,id=s,target=/s "
        "ls /root/.cache /n/e /etc/made.conf /s; echo x > /etc/own\n"
        "RUN --mount=type=tmpfs,target=/kept touch /kept/x\nRUN ls -d /kept || echo no > /no\n",
        secrets={"s": "secret"},
    ),
)


def runs(case: Case) -> bool:
    """Whether a step of it is run at all."""
    return "RUN " in case.text.upper()


@pytest.mark.parametrize(
    "case", [case for case in (*OWN, *CASES) if runs(case)], ids=lambda case: case.name
)
def test_the_kind_of_guest_does_not_show(shared_instance: Live, tmp_path: Path, case: Case) -> None:
    live = shared_instance
    place = tmp_path / "context"
    make_context(place, case)
    live.wirt("tag", "busybox", "localhost/busybox")
    given = ("build", "-q", "--no-cache", "--network=none", *flags(place, case))
    try:
        ids = [
            live.wirt(*given, *kind, "-t", name, str(place), timeout=300).stdout.strip()
            for kind, name in ((("--as", "microvm"), "same:vm"), ((), "same:box"))
        ]
        if ids[0] != ids[1]:
            shown = live.wirt("image", "diff", "same:box", "same:vm").stdout
            pytest.fail(f"{ids}\n{shown}")
    finally:
        live.wirt("rmi", "-f", "same:vm", "same:box", "localhost/busybox", code=None)
