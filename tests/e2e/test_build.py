"""``wirt build`` as a user does it, with steps that really run."""

from __future__ import annotations

import io
import json
import socketserver
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

from live import Live
from needs import needs

DOCKERFILE = """\
FROM busybox AS build
ARG GREETING=hello
WORKDIR /work
COPY src ./src
RUN echo $GREETING $(cat src/name) > out
RUN --mount=type=cache,target=/cache echo x >> /cache/count && wc -l < /cache/count > runs
FROM busybox
COPY --from=build /work/out /work/runs /
RUN --mount=type=secret,id=key,required=true test "$(wc -c < /run/secrets/key)" = 6
RUN <<EOT
set -e
id -u > /who
EOT
USER 5:6
CMD ["cat", "/out"]
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A build context; ``key`` beside it is a secret."""
    place = tmp_path / "context"
    (place / "src").mkdir(parents=True)
    (place / "src" / "name").write_text("world\n")
    (place / "big").write_text("left out\n")
    (place / ".dockerignore").write_text("big\nDockerfile\n")
    (place / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "key").write_text("hidden")
    return place


@pytest.fixture
def live(shared_instance: Live) -> Live:
    return shared_instance


def clean(live: Live, *names: str) -> None:
    live.wirt("rmi", "-f", *names)


def test_a_build_is_run_and_found_again(live: Live, context: Path, tmp_path: Path) -> None:
    words = ("build", "-t", "made:1", "--secret", f"id=key,src={tmp_path}/key")
    first = live.wirt(*words, "--iidfile", str(tmp_path / "id"), str(context))
    assert "[build 4/5] RUN echo" in first.stderr
    assert first.stdout == ""
    assert live.wirt("run", "--rm", "made:1").stdout == "hello world\n"
    assert live.wirt("run", "--rm", "made:1", "cat", "/runs", "/who").stdout == "1\n0\n"
    image_id = (tmp_path / "id").read_text()
    again = live.wirt(*words, "-q", str(context))
    assert again.stdout == f"{image_id}\n"
    assert live.wirt(*words, str(context)).stderr.count("CACHED") == 10
    live.wirt(*words, "--ulimit", "nofile=77", "--build-arg", "GREETING=u", str(context))
    other = live.wirt(*words, "--explain", "--build-arg", "GREETING=bye", str(context)).stderr
    assert "ran because the variable GREETING changed" in other
    assert live.wirt("run", "--rm", "made:1").stdout == "bye world\n"
    history = live.wirt("history", "--no-trunc", "made:1").stdout
    assert "RUN |" not in history  # the last stage declares no ARG
    assert "hidden" not in history
    live.wirt("rmi", image_id)
    clean(live, "made:1")


def test_where_steps_fail(live: Live, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo before && exit 42\n")
    done = live.wirt("build", str(context), code=None)
    assert done.returncode != 0
    assert "before" in done.stderr
    assert "Dockerfile:2: the command" in done.stderr
    assert "ended with exit code 42" in done.stderr
    (context / "Dockerfile").write_text("FROM busybox\nCOPY big /\n")
    done = live.wirt("build", str(context), code=None)
    assert "there is no 'big' in the build context" in done.stderr
    (context / "Dockerfile").write_text("FROM busybox\nCOPPY big /\n")
    done = live.wirt("build", str(context), code=None)
    assert "Dockerfile:2:1: there is no instruction 'COPPY'" in done.stderr
    assert "did you mean COPY?" in done.stderr


def test_the_dockerfile_and_the_context_from_standard_input(live: Live, context: Path) -> None:
    live.wirt("build", "-t", "in:1", "-", feed="FROM busybox\nRUN echo 1 > /one\n")
    assert live.wirt("run", "--rm", "in:1", "cat", "/one").stdout == "1\n"
    live.wirt("build", "-t", "in:1", "-f", "-", str(context), feed="FROM busybox\nCOPY src /s\n")
    assert live.wirt("run", "--rm", "in:1", "cat", "/s/name").stdout == "world\n"
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        archive.add(context / "src", "src")
        text = b"FROM busybox\nCOPY src /tarred\n"
        info = tarfile.TarInfo("Other")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    live.pipe("build", "-t", "in:1", "-f", "Other", "-", feed=data.getvalue())
    assert live.wirt("run", "--rm", "in:1", "cat", "/tarred/name").stdout == "world\n"
    clean(live, "in:1")


def test_other_results(live: Live, context: Path, tmp_path: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY src /src\n")
    live.wirt("build", "-o", str(tmp_path / "out"), str(context))
    assert (tmp_path / "out" / "src" / "name").read_text() == "world\n"
    live.wirt("build", "-o", f"type=tar,dest={tmp_path}/out.tar", str(context))
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert "src/name" in {name.removeprefix("./") for name in archive.getnames()}
    live.wirt("build", "-t", "arch:1", "-o", f"type=oci,dest={tmp_path}/oci.tar", str(context))
    with tarfile.open(tmp_path / "oci.tar") as archive:
        index = archive.extractfile("index.json")
        assert index is not None
        (entry,) = json.load(index)["manifests"]
        assert entry["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    clean(live, "arch:1")


def test_two_builds_are_the_same_bytes(live: Live, context: Path, tmp_path: Path) -> None:
    words = ("build", "-q", "--no-cache", "--secret", f"id=key,src={tmp_path}/key", str(context))
    (context / "Dockerfile").write_text(DOCKERFILE.replace("&& wc -l < /cache/count", "; echo 1"))
    first = live.wirt(*words).stdout
    assert live.wirt(*words).stdout == first
    assert live.wirt("build", "-q", "--verify", *words[2:]).stdout == first
    (context / "Dockerfile").write_text("FROM busybox\nRUN cat /proc/uptime > /when; sleep 0.02\n")
    done = live.wirt("build", "--verify", str(context), code=None)
    assert "two builds of the same input differ from 'RUN" in done.stderr
    clean(live, first.strip())


def test_an_interrupted_build_leaves_nothing(live: Live, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo here; sleep 100\n")
    guests = live.instance.run / "g"
    with subprocess.Popen(
        [Path(__file__).parents[2] / "bin" / "wirt", "build", str(context)],
        env={"WIRT_HOST": f"unix://{live.socket}", "PATH": "/usr/bin:/bin"},
        stderr=subprocess.PIPE,
    ) as client:
        assert client.stderr is not None
        while b"here" not in (line := client.stderr.readline()):
            assert line, "the build ended early"
        client.kill()
    # the leak check that follows sees processes, mounts and cgroups; the guest goes at once
    from e2e.test_life import eventually

    eventually(lambda: not list(guests.iterdir()))


def test_the_cache_travels(live: Live, instance: Live, context: Path, tmp_path: Path) -> None:
    """Results and cache mounts go from one host to another, and the archive does not grow."""
    words = ("build", "-q", "-t", "made:1", "--secret", f"id=key,src={tmp_path}/key")
    folder = tmp_path / "cache"
    live.wirt("save", "-o", str(tmp_path / "base.tar"), "busybox")
    instance.wirt("rmi", "-f", "busybox")
    instance.wirt("load", "-i", str(tmp_path / "base.tar"))
    first = live.wirt(*words, "--cache-to", f"type=local,dest={folder}", str(context)).stdout
    size = (folder / "wirt-build-cache.tar").stat().st_size
    taken = ("--cache-from", f"type=local,src={folder}", "--progress", "plain", str(context))
    done = instance.wirt(*(word for word in words if word != "-q"), *taken)
    assert done.stderr.count("CACHED") == 9  # all but the export of the image
    assert instance.wirt(*words, str(context)).stdout == first
    assert instance.wirt("run", "--rm", "made:1").stdout == "hello world\n"
    (context / "src" / "name").write_text("again\n")
    instance.wirt(*words, str(context))
    runs = instance.wirt("run", "--rm", "made:1", "cat", "/runs").stdout
    assert int(runs) > 1, "the cache mount did not come along"
    live.wirt(*words, "--cache-to", str(folder), str(context))
    assert [path.name for path in folder.iterdir()] == ["wirt-build-cache.tar"]
    assert abs((folder / "wirt-build-cache.tar").stat().st_size - size) < size // 2
    (folder / "wirt-build-cache.tar").write_bytes(b"nonsense" * 200)
    done = instance.wirt(*words, "--cache-from", str(folder), str(context), code=None)
    assert done.returncode != 0
    for each in (live, instance):
        clean(each, "made:1")


ASK_AGENT = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strncpy(at.sun_path, getenv("SSH_AUTH_SOCK"), sizeof at.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) || write(fd, "hello\n", 6) != 6) return 1;
    char answer[64];
    ssize_t size, all = 0;
    while ((size = read(fd, answer, sizeof answer)) > 0) all += write(1, answer, size);
    return all == 0;
}
"""


IN_MACHINE = pytest.param(
    ("--as", "microvm"), id="microvm", marks=needs("qemu", "agent", "guest-kernel", "erofs")
)


@needs("gcc")
@pytest.mark.parametrize("kind", [pytest.param((), id="container"), IN_MACHINE])
def test_the_users_ssh_agent_answers_in_a_step(
    live: Live, context: Path, tmp_path: Path, kind: tuple[str, ...]
) -> None:
    (tmp_path / "ask.c").write_text(ASK_AGENT)
    subprocess.run(["gcc", "-static", "-O1", "-o", context / "ask", tmp_path / "ask.c"], check=True)
    (context / "Dockerfile").write_text(
        "FROM busybox\nCOPY ask /ask\n"
        "RUN --mount=type=ssh,required=true,uid=5,gid=6,mode=0640 /ask > /one && /ask > /two && "
        "stat -c '%F %a %u %g' $SSH_AUTH_SOCK > /sock && (/ask & /ask & /ask & wait) > /three\n"
    )
    given = ("--ssh", f"default={tmp_path}/agent", "--no-cache", *kind)
    done = live.wirt("build", "--no-cache", str(context), *kind, code=None)
    assert "the SSH agent 'default' was not given" in done.stderr

    class Agent(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"heard " + self.rfile.readline())

    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "agent"), Agent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            live.wirt("build", "-t", "ssh:1", *given, str(context), timeout=300)
        finally:
            server.shutdown()
            thread.join()
    answers = live.wirt("run", "--rm", "ssh:1", "cat", "/sock", "/one", "/two", "/three").stdout
    assert answers == "socket 640 5 6\n" + 5 * "heard hello\n"
    done = live.wirt("build", "--ssh", f"default={tmp_path}/none", str(context), code=None)
    assert "names no agent's socket" in done.stderr
    clean(live, "ssh:1")


def test_builds_leave_nothing_that_nobody_wants(instance: Live, context: Path) -> None:
    live = instance
    mounting = "FROM busybox\nRUN --mount=type=bind,source=src,target=/b cat /b/name > /n\n"
    (context / "Dockerfile").write_text(mounting)
    told = live.wirt("build", "-t", "kept", "--verify", str(context)).stderr
    assert "comparing two builds of the same input" in told
    (context / "Dockerfile").write_text(mounting + "RUN exit 3\n")
    live.wirt("build", str(context), code=2)
    (context / "Dockerfile").write_text(
        "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\n"
    )
    refused = live.wirt("build", "--verify", str(context), code=4).stderr
    assert "differ from 'RUN" in refused
    assert "0 wrong" in live.wirt("store", "check").stdout
