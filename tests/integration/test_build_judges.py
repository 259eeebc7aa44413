"""The same Dockerfiles built by buildah and by wirt: file systems and configurations must be equal.

buildah shares no code with wirt. Where it lacks a feature of the language, the case says so, and
the comparison insists that buildah refuses the file or gives something else.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildcases import CASES, Case, flags, make_context
from live import Live
from needs import needs

pytestmark = needs("root", "crun", "overlay", "buildah")

LEFT_BY_BUILDAH = {"run", "etc/hostname", "etc/hosts", "etc/resolv.conf", "dev", "proc", "sys"}
"""What its RUN leaves in the image besides the command's own doing."""

Tree = dict[str, tuple[object, ...]]


class Buildah:
    """buildah with all its state in one directory."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._count = 0

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self._home),
            "TMPDIR": str(self._home),
            "XDG_RUNTIME_DIR": str(self._home),
            "STORAGE_DRIVER": "vfs",
            "BUILDAH_ISOLATION": "chroot",
            "LC_ALL": "C.UTF-8",
        }
        places = ("--root", str(self._home / "root"), "--runroot", str(self._home / "run"))
        return subprocess.run(
            ["buildah", *places, *words],
            env=environment,
            cwd=self._home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def build(self, context: Path, case: Case) -> bytes | None:
        """The image as a docker archive; None when buildah refuses the file."""
        words = flags(context, case)
        built = self.run(
            "bud", "--format=docker", "--layers=false", "--pull-never", "-q", "-t", "made",
            "--network=none", *words, str(context),
        )  # fmt: skip
        if built.returncode != 0:
            return None
        self._count += 1
        archive = self._home / f"{self._count}.tar"
        pushed = self.run("push", "-q", "made", f"docker-archive:{archive}:made:latest")
        assert pushed.returncode == 0, pushed.stderr
        data = archive.read_bytes()
        archive.unlink()
        self.run("rmi", "-f", "made")
        return data


@pytest.fixture(scope="module")
def judge(
    shared_instance: Live, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Live, Buildah]]:
    """An instance and a buildah that have the same base image."""
    home = tmp_path_factory.mktemp("buildah")
    (home / "base.tar").write_bytes(shared_instance.pipe("save", "busybox"))
    buildah = Buildah(home)
    pulled = buildah.run("pull", "-q", f"docker-archive:{home}/base.tar")
    assert pulled.returncode == 0, pulled.stderr
    shared_instance.wirt("tag", "busybox", "localhost/busybox")
    yield shared_instance, buildah
    shared_instance.wirt("rmi", "localhost/busybox")


def _image(archive: bytes) -> tuple[Tree, dict[str, Any]]:
    """The root file system and the configuration in a docker archive."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as outer:

        def content(name: str) -> bytes:
            file = outer.extractfile(name)
            assert file is not None
            return file.read()

        manifest = json.loads(content("manifest.json"))[0]
        tree: Tree = {}
        for layer in manifest["Layers"]:
            _apply(content(layer), tree)
        return tree, json.loads(content(manifest["Config"]))


def _apply(layer: bytes, tree: Tree) -> None:
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        members = archive.getmembers()
        for member in members:
            path = member.name.strip("/").removeprefix("./")
            folder, _, name = path.rpartition("/")
            if name.startswith(".wh."):
                _remove(tree, f"{folder}/{name[4:]}".lstrip("/"))
        for member in members:
            path = member.name.strip("/").removeprefix("./")
            if path not in {"", "."} and not path.rpartition("/")[2].startswith(".wh."):
                if not (member.isdir() and tree.get(path, ("",))[0] == "dir"):
                    _remove(tree, path)
                tree[path] = _entry(archive, member, tree)


def _remove(tree: Tree, path: str) -> None:
    for other in [each for each in tree if each == path or each.startswith(f"{path}/")]:
        del tree[other]


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo, tree: Tree) -> tuple[object, ...]:
    """Type, mode, owner and content. A hard link is what it links to."""
    owner = (oct(member.mode & 0o7777), member.uid, member.gid)
    if member.islnk():
        return tree[member.linkname.strip("/").removeprefix("./")]
    if member.issym():
        return ("link", member.uid, member.gid, member.linkname)
    if member.isdir():
        return ("dir", *owner)
    if member.isreg():
        file = archive.extractfile(member)
        assert file is not None
        return ("file", *owner, hashlib.sha256(file.read()).hexdigest())
    return (member.type, *owner)


def _differences(ours: bytes, theirs: bytes) -> list[str]:
    tree, config = _image(ours)
    other_tree, other_config = _image(theirs)
    found = [
        f"{path}: {tree.get(path)} {other_tree.get(path)}"
        for path in sorted(tree.keys() | other_tree.keys())
        if tree.get(path) != other_tree.get(path)
        and not (path in LEFT_BY_BUILDAH and path not in tree)
    ]
    mine, yours = _told(config), _told(other_config)
    found += [
        f"{key}: {mine.get(key)} {yours.get(key)}"
        for key in sorted(mine.keys() | yours.keys())
        if mine.get(key) != yours.get(key)
    ]
    return found


COMPARED = (
    "Env Cmd Entrypoint WorkingDir User ExposedPorts Volumes Labels StopSignal Healthcheck OnBuild"
    " Shell"
)


def _told(config: dict[str, Any]) -> dict[str, Any]:
    """What a configuration says, without what is empty and what names the builder."""
    node = config["config"]
    found = {key: node.get(key) for key in COMPARED.split()}
    labels = {k: v for k, v in (found["Labels"] or {}).items() if k != "io.buildah.version"}
    found |= {"Labels": labels, "author": config.get("author")}
    return {key: value for key, value in found.items() if value}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_build_the_same(judge: tuple[Live, Buildah], tmp_path: Path, case: Case) -> None:
    live, buildah = judge
    make_context(tmp_path, case)
    words = flags(tmp_path, case)
    live.wirt("build", "-q", "--network=none", "-t", "made", *words, str(tmp_path))
    try:
        ours = live.pipe("save", "made")
    finally:
        live.wirt("rmi", "made")
    theirs = buildah.build(tmp_path, case)
    differences = ["buildah refuses it"] if theirs is None else _differences(ours, theirs)
    if not case.lacks:
        assert differences == []
        return
    assert differences, f"buildah does this as well now: {case.lacks}"
    tree, config = _image(ours)
    assert {path: _shown(tree.get(path), text) for path, text in case.gives.items()} == case.gives
    assert set(case.says) <= set(_lines(config))
    assert case.gives or case.says


def _shown(entry: tuple[object, ...] | None, expected: str) -> str:
    """A file as :attr:`Case.gives` writes it down, as far as its content is the expected one."""
    if entry is None:
        return ""
    mode = str(entry[1]).removeprefix("0o")
    if entry[0] == "dir":
        return f"{mode} /"
    content = expected.partition(" ")[2]
    same = entry[-1] == hashlib.sha256(content.encode()).hexdigest()
    return f"{mode} {content if same else entry[-1]}"


def _lines(config: dict[str, Any]) -> Iterator[str]:
    """A configuration as :attr:`Case.says` writes it down."""
    for key, value in _told(config).items():
        if key in {"Cmd", "Entrypoint", "Shell"}:
            yield f"{key} {' '.join(value)}"
        elif key == "Labels":
            yield from (f"{key} {name}={text}" for name, text in value.items())
        elif isinstance(value, list | dict):
            yield from (f"{key} {each}" for each in value)
        else:
            yield f"{key} {value}"
