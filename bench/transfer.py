"""Images that are pulled and pushed: a layer of 61 MB gzip (170 MB of files), and one of a GB."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from measure import Row, Samples, command, in_turn, most_seen, pss
from peers import LAB, Peer
from registry import docker_registry
from rows import quietly, run

ADDRESS = "127.0.0.1:5057"
NAME = f"{ADDRESS}/bench/layer:1"
HUGE = f"{ADDRESS}/bench/huge:1"
FILES = 169_000_000
"""Bytes of files in the layer, taken from the host's own."""
GIGABYTE = 1_000_000_000
_TREES = ("/usr/lib/x86_64-linux-gnu", "/usr/share")
_LARGEST = 20_000_000


def images(peers: Sequence[Peer], rounds: int) -> list[Row]:
    """All rows about images that come and go."""
    layout = LAB / "layout"
    if not (layout / "index.json").exists():
        write_layout(layout, packed_files())
    (wirt,) = (peer for peer in peers if peer.name == "wirt")
    with ExitStack() as stack:
        for peer in peers:
            stack.enter_context(_served(peer, layout))
        rows = [_pull(peers, wirt, rounds), *_pushes(peers, wirt, layout, rounds)]
        return [*rows, _memory(wirt)]


def _data(peer: Peer) -> Path:
    return LAB / f"registry-{peer.name}"


@contextmanager
def _served(peer: Peer, layout: Path) -> Iterator[None]:
    """A registry on the loopback of a peer, with the image in it."""
    with docker_registry(peer.network(), address=ADDRESS, lab=_data(peer), cache=False):
        _skopeo(peer, layout)
        yield


def _skopeo(peer: Peer, layout: Path, name: str = NAME) -> float:
    words = ("skopeo", "copy", "-q", "--dest-tls-verify=false")
    argv = [*peer.network(), *words, f"oci:{layout}:1", f"docker://{name}"]
    return command(argv, os.environ)


def _plain(peer: Peer) -> tuple[str, ...]:
    """What lets a client talk to a registry on loopback without TLS."""
    return ("--tls-verify=false",) if peer.name == "podman" else ()


def _pull(peers: Sequence[Peer], wirt: Peer, rounds: int) -> Row:
    def pull(peer: Peer) -> float:
        took = run(peer, "pull", "-q", *_plain(peer), NAME) / 1e3
        quietly(peer, "rmi", NAME)
        return took

    def copy() -> float:
        target = LAB / "copied"
        shutil.rmtree(target, ignore_errors=True)
        words = ("skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{NAME}")
        took = command([*wirt.network(), *words, f"dir:{target}"], os.environ) / 1e3
        shutil.rmtree(target)
        return took

    actions: dict[str, Callable[[], float]] = {
        peer.name: (lambda p=peer: pull(p))  # type: ignore[misc]
        for peer in peers
    }
    if len(peers) > 1:
        actions["skopeo"] = copy
    return Row(
        key="pull", title="`pull` of a 61 MB gzip layer (170 MB of files)", unit="s",
        samples=in_turn(actions, rounds=rounds), against="docker", must=0.7, aim=0.4,
        note="skopeo only copies, it unpacks nothing",
    )  # fmt: skip


def _pushes(peers: Sequence[Peer], wirt: Peer, layout: Path, rounds: int) -> Iterator[Row]:
    for peer in peers:
        quietly(peer, "pull", "-q", *_plain(peer), NAME)
    actions: dict[str, tuple[Peer, Callable[[], float]]] = {
        peer.name: (peer, lambda p=peer: run(p, "push", "-q", *_plain(p), NAME) / 1e3)  # type: ignore[misc]
        for peer in peers
    }
    for peer in peers:
        if peer.name == "podman":
            enter = (*peer.cli()[:-1], "/usr/bin/buildah", "pull", "-q", "--tls-verify=false")
            subprocess.run([*enter, NAME], env=dict(peer.environment()), check=True)
            actions["buildah"] = (peer, lambda p=peer: _buildah(p) / 1e3)  # type: ignore[misc]
            actions["skopeo"] = (wirt, lambda: _skopeo(wirt, layout) / 1e3)

    def afresh(peer: Peer, push: Callable[[], float]) -> float:
        shutil.rmtree(_data(peer) / "data", ignore_errors=True)
        return push()

    unknown = {name: partial(afresh, *pair) for name, pair in actions.items()}
    samples = in_turn(unknown, rounds=rounds)
    yield _push_row("push-unknown", "unknown to the registry", samples)
    for peer in peers:
        _skopeo(peer, layout)
    known = {name: push for name, (_, push) in actions.items()}
    yield _push_row("push-known", "known to the registry", in_turn(known, rounds=rounds))
    for peer in peers:
        quietly(peer, "rmi", NAME)
        if peer.name == "podman":
            gone = [*peer.cli()[:-1], "/usr/bin/buildah", "rmi", NAME]
            subprocess.run(gone, capture_output=True, check=False)


def _buildah(podman: Peer) -> float:
    """From where it has pulled the image to."""
    enter = podman.cli()[:-1]
    words = ("/usr/bin/buildah", "push", "-q", "--tls-verify=false", NAME, f"docker://{NAME}")
    return command([*enter, *words], podman.environment())


def _push_row(key: str, how: str, samples: Samples) -> Row:
    """Against the better of buildah and skopeo."""
    row = Row(
        key=key, title=f"`push` of the same layer, {how}", unit="s", samples=samples,
        against="skopeo", must=1.0, aim=0.5,
    )  # fmt: skip
    theirs = {name: row.median(name) or 1e9 for name in ("buildah", "skopeo")}
    better = min(theirs, key=lambda name: theirs[name])
    return replace(row, against=better, note=f"against {better}, the better one")


def _memory(wirt: Peer) -> Row:
    """The most that the daemons take while a layer of a GB comes and goes."""
    layout = LAB / "huge"
    write_layout(layout, random_layer(), packed=False)
    try:
        _skopeo(wirt, layout, HUGE)
        shutil.rmtree(layout)
        found, count = most_seen(lambda: pss(wirt.daemons()), lambda: _come_and_go(wirt))
    finally:
        shutil.rmtree(layout, ignore_errors=True)
        subprocess.run(wirt.cli("rmi", HUGE), env=dict(wirt.environment()), check=False)
    return Row(
        key="transfer-memory", title="daemons' PSS while 1 GB is pulled and pushed", unit="MB",
        samples={"wirt": [found]}, against="", must=150, aim=100,
        note=f"the most of {count} readings",
    )  # fmt: skip


def _come_and_go(wirt: Peer) -> None:
    quietly(wirt, "pull", "-q", HUGE)
    shutil.rmtree(_data(wirt) / "data")
    quietly(wirt, "push", "-q", HUGE)


# --- the images -----------------------------------------------------------------------------


def packed_files() -> bytes:
    """A tar of the host's own files."""
    out = io.BytesIO()
    left = FILES
    with tarfile.open(fileobj=out, mode="w") as tar:
        for tree in _TREES:
            for path in sorted(Path(tree).rglob("*")):
                if path.is_symlink() or not path.is_file():
                    continue
                size = path.stat().st_size
                if size <= min(left, _LARGEST):
                    left -= size + 512
                    tar.add(path, arcname=str(path)[1:], recursive=False)
    return out.getvalue()


def random_layer() -> bytes:
    """A tar of one file that cannot be compressed."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("random")
        info.size = GIGABYTE
        tar.addfile(info, io.BytesIO(os.urandom(GIGABYTE)))
    return out.getvalue()


def write_layout(folder: Path, layer: bytes, *, packed: bool = True) -> None:
    """An OCI layout with one image of this layer, called 1."""
    shutil.rmtree(folder, ignore_errors=True)
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    kind = "application/vnd.oci.image"
    config = {
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["true"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }  # fmt: skip
    data = gzip.compress(layer, 6, mtime=0) if packed else layer
    suffix = "+gzip" if packed else ""
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": put(json.dumps(config).encode(), f"{kind}.config.v1+json"),
        "layers": [put(data, f"{kind}.layer.v1.tar{suffix}")],
    }
    entry = put(json.dumps(manifest).encode(), f"{kind}.manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
