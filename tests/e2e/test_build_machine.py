"""``wirt build --as microvm``: RUN steps on a kernel of their own."""

from __future__ import annotations

import json
from pathlib import Path

from live import Live
from needs import needs

pytestmark = needs("qemu", "agent", "guest-kernel", "erofs", "virtiofsd")

SAME = """\
FROM busybox
WORKDIR /work
ENV WHO=me
RUN echo $WHO > a; mkdir -p /deep/er; echo x > /deep/er/x; ln /deep/er/x /deep/twin
RUN rm /etc/group; rm -r /home; mkdir /home; chown 5:6 a; chmod 4750 a; ln -s /away /deep/link
USER 1:1
RUN id -u > /tmp/who; pwd >> /tmp/who
"""


def build(live: Live, place: Path, text: str, *words: str, code: int | None = 0) -> str:
    (place / "Dockerfile").write_text(text)
    done = live.wirt("build", "--no-cache", *words, str(place), code=code, timeout=300)
    return done.stdout + done.stderr


def test_the_same_image_as_by_containers(shared_instance: Live, tmp_path: Path) -> None:
    live = shared_instance
    try:
        build(live, tmp_path, SAME, "--as", "microvm", "-t", "vm:1")
        build(live, tmp_path, SAME, "-t", "vm:2")
        listed = live.wirt("image", "diff", "vm:2", "vm:1").stdout.splitlines()
        assert [line for line in listed[:-1] if not line.endswith("/etc")] == []
        look = "cat /tmp/who a; stat -c '%a %u %g' a; ls /etc/group; stat -c %h /deep/twin"
        said = live.wirt("run", "--rm", "-u", "0", "vm:1", "sh", "-c", look, code=0)
        assert said.stdout.splitlines() == ["1", "/work", "me", "4750 5 6", "2"]
        disks = {path.stem for path in (live.instance.state / "disks").iterdir()}
        known = json.loads(live.wirt("image", "inspect", "vm:1").stdout)[0]["id"]
        assert disks <= {known.removeprefix("sha256:")}
    finally:
        live.wirt("rmi", "-f", "vm:1", "vm:2", code=None)


def test_what_a_machine_cannot_give_is_said(shared_instance: Live, tmp_path: Path) -> None:
    text = "FROM busybox\nRUN --mount=type=cache,target=/c true\n"
    said = build(shared_instance, tmp_path, text, "--as", "microvm", code=None)
    assert "type=cache is not possible in a microVM" in said
    said = build(shared_instance, tmp_path, "FROM busybox\nRUN exit 7\n", "--as", "microvm",
                 code=None)  # fmt: skip
    assert "exit code 7" in said
