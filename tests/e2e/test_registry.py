"""``wirt registry``: other tools push to it and pull from it; it outlives its daemon."""

from __future__ import annotations

import json
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest

import instance as local
from live import Live, running
from needs import needs

pytestmark = needs("root", "mountns", "netns", "overlay", "nft", "crun", "keeper", "busybox")

PLAIN = "127.0.0.1:5000"


@pytest.fixture(scope="module")
def live(session_tag: str) -> Iterator[Live]:
    with running(f"wt{session_tag}r") as made:
        yield made


@pytest.fixture(scope="module")
def archive(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of this host as docker's archive."""
    path = tmp_path_factory.mktemp("registry") / "busybox.tar"
    live.wirt("save", "-o", str(path), "busybox:latest")
    return path


def run(live: Live, *argv: str) -> str:
    """A command in the instance's network; its output. It must end with 0."""
    done = live.inside(*argv)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}\n{live.log()}"
    return done.stdout


def listeners(live: Live) -> list[dict[str, Any]]:
    _, found = live.ask("GET", "/v1/registry/listeners")
    assert isinstance(found, list)
    return found


@needs("skopeo")
def test_skopeo_pushes_and_pulls(live: Live, archive: Path, tmp_path: Path) -> None:
    assert live.wirt("registry", "serve", "--anonymous", "all").stdout == f"{PLAIN}\n"
    target = f"docker://{PLAIN}/team/busybox:1"
    free = ("--dest-tls-verify=false",)
    run(live, "skopeo", "copy", *free, f"docker-archive:{archive}", target)
    run(live, "skopeo", "copy", "--src-tls-verify=false", target, f"oci:{tmp_path}/back:1")
    found = json.loads(run(live, "skopeo", "inspect", "--tls-verify=false", target))
    assert found["RepoTags"] == ["1"]
    again = f"docker://{PLAIN}/other/busybox:2"
    run(live, "skopeo", "copy", "--src-tls-verify=false", *free, target, again)
    raw = run(live, "skopeo", "inspect", "--raw", "--tls-verify=false", target)
    assert raw == run(live, "skopeo", "inspect", "--raw", "--tls-verify=false", again)
    listed = live.wirt("registry", "ls", "-q").stdout.split()
    assert listed == ["other/busybox", "team/busybox"]
    run(live, "skopeo", "delete", "--tls-verify=false", again)
    live.wirt("registry", "rm", "other/busybox")
    assert live.wirt("registry", "ls", "-q").stdout.split() == ["team/busybox"]
    assert "1" in live.wirt("registry", "ls", "--format", "{{.Tags}}").stdout


@needs("buildah")
def test_buildah_pushes_and_pulls(live: Live, archive: Path, tmp_path: Path) -> None:
    live.wirt("registry", "serve", "--anonymous", "all")
    buildah = ("buildah", "--root", f"{tmp_path}/root", "--runroot", f"{tmp_path}/run",
               "--storage-driver", "vfs")  # fmt: skip
    target = f"docker://{PLAIN}/built/busybox:1"
    image = run(live, *buildah, "pull", "-q", f"docker-archive:{archive}").strip()
    for form in ("oci", "v2s2"):
        run(live, *buildah, "push", "-q", "--tls-verify=false", "--format", form, image, target)
        run(live, *buildah, "rmi", "-a", "-f")
        image = run(live, *buildah, "pull", "-q", "--tls-verify=false", target).strip()
    run(live, *buildah, "rmi", "-a", "-f")


@needs("podman")
def test_podman_logs_in_pushes_and_pulls(live: Live, archive: Path, tmp_path: Path) -> None:
    words = ("--listen", "127.0.0.1:5004", "--htpasswd", str(users(tmp_path)))
    address = live.wirt("registry", "serve", *words).stdout.strip()
    key = ("--authfile", f"{tmp_path}/auth.json", "--tls-verify=false")
    (tmp_path / "auth.json").write_text("{}")
    target = f"{address}/pod/busybox:1"
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # podman takes short paths only
        places = ("--root", f"{folder}/a", "--runroot", f"{folder}/b", "--tmpdir", f"{folder}/c")
        podman = ("podman", *places, "--storage-driver", "vfs")
        run(live, *podman, "load", "-q", "-i", str(archive))
        push = (*podman, "push", "-q", *key, "busybox:latest", target)
        assert "unauthorized" in live.inside(*push).stderr
        login = (*podman, "login", *key, "-u", "bob", "-p")
        assert live.inside(*login, "wrong", address).returncode != 0
        run(live, *login, "builds", address)
        run(live, *push)
        run(live, *podman, "rmi", "-a", "-f")
        run(live, *podman, "pull", "-q", "--tls-verify=false", target)  # anybody may
        run(live, *podman, "rmi", "-a", "-f")
    live.wirt("registry", "stop", address)
    live.wirt("registry", "rm", "pod/busybox")


@needs("skopeo")
def test_users_tls_and_a_policy(live: Live, archive: Path, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    file = users(tmp_path)
    made = file.read_text().partition(":")[2].strip()
    rules = tmp_path / "policy.toml"
    rules.write_text('[[rule]]\nusers=["bob"]\nrepositories=["own/*"]\nrights=["pull","push"]\n')
    words = ("--listen", "127.0.0.1:0", "--tls-cert", str(certificate), "--tls-key", str(key),
             "--htpasswd", str(file), "--policy", str(rules), "--anonymous", "none")  # fmt: skip
    address = live.wirt("registry", "serve", *words).stdout.strip()
    base = ("skopeo", "copy", "--dest-cert-dir", str(tmp_path), f"docker-archive:{archive}")
    target = f"docker://{address}/own/busybox:1"
    run(live, *base, "--dest-creds", "bob:builds", target)
    for creds, place in (("bob:wrong", "own/x:1"), ("bob:builds", "foreign/x:1"), ("", "own/x:1")):
        further = ("--dest-creds", creds) if creds else ("--dest-no-creds",)
        done = live.inside(*base, *further, f"docker://{address}/{place}")
        assert done.returncode != 0
    for one in listeners(live):
        if one["address"] == address:
            assert (one["tls"], one["users"], one["policy"]) == (True, ["bob"], True)
    assert made not in live.log() + json.dumps(listeners(live))
    live.wirt("registry", "stop", address)


def test_what_cannot_be_served(live: Live, tmp_path: Path) -> None:
    low = [(("--listen", "127.0.0.1:80"), "1024")] if live.instance.user != "root" else []
    for words, sign in (
        *low,
        (("--listen", "0.0.0.0:5001"), "--insecure"),
        (("--listen", "nonsense"), "IP:PORT"),
        (("--listen", "192.0.2.77:5001", "--insecure"), "address of this host"),
        (("--listen", "127.0.0.1:5002", "--anonymous", "none"), "--htpasswd"),
        (("--htpasswd", f"{tmp_path}/no-such-file"), "no-such-file"),
        (("--listen", "127.0.0.1:5003", "--tls-cert", __file__), "--tls-key"),
        (("--listen", "127.0.0.1:5003", "--tls-cert", __file__, "--tls-key", __file__), "PEM"),
    ):
        done = live.wirt("registry", "serve", *words, code=None)
        assert done.returncode != 0
        assert sign in done.stderr, (words, done.stderr)
    done = live.wirt("registry", "stop", "127.0.0.1:5999", code=None)
    assert (done.returncode != 0, "wirt registry status" in done.stderr) == (True, True)


@needs("skopeo")
def test_the_registry_outlives_the_daemon(live: Live, archive: Path) -> None:
    live.wirt("registry", "serve", "--anonymous", "all")
    target = f"docker://{PLAIN}/kept/busybox:1"
    free = "--dest-tls-verify=false"
    run(live, "skopeo", "copy", free, f"docker-archive:{archive}", target)
    before = run(live, "skopeo", "inspect", "--raw", "--tls-verify=false", target)
    uploads = run(live, "curl", "-si", "-XPOST", f"http://{PLAIN}/v2/kept/x/blobs/uploads/")
    place = next(
        line.split()[1] for line in uploads.splitlines() if line.lower().startswith("location")
    )
    live.kill(local.DAEMON)
    deadline = time.monotonic() + 30
    while live.inside("curl", "-s", f"http://{PLAIN}/v2/").returncode != 0:
        assert time.monotonic() < deadline, live.log()
        time.sleep(0.2)
    again = run(live, "skopeo", "inspect", "--raw", "--tls-verify=false", target)
    assert again == before
    late = run(live, "curl", "-s", f"http://{PLAIN}{place}")
    assert json.loads(late)["errors"][0]["code"] == "BLOB_UPLOAD_UNKNOWN"
    assert not list((live.instance.state / "uploads").iterdir())
    # the host's own image and the repository share blobs; each keeps them without the other
    live.wirt("registry", "rm", "kept/busybox:1")
    done = live.wirt("registry", "gc", "--grace", "0s").stdout
    assert "deleted" in done
    missing = live.inside("skopeo", "inspect", "--tls-verify=false", target)
    assert missing.returncode != 0
    assert live.wirt("run", "--rm", "busybox:latest", "echo", "alive").stdout == "alive\n"
    live.wirt("registry", "stop")
    assert listeners(live) == []


def users(folder: Path) -> Path:
    """A file with the user bob."""
    path = folder / "users"
    path.write_text(f"bob:{bcrypt.hashpw(b'builds', bcrypt.gensalt(4)).decode()}\n")
    return path


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, as skopeo's directory of them wants it."""
    certificate, key = folder / "ca.crt", folder / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=wirt", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    ssl.create_default_context(cafile=str(certificate))
    return certificate, key
