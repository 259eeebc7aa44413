"""The build cache at registries: Debian's, with credentials, and wirt's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from live import Live
from needs import needs
from registrybox import PASSWORD, USER, Registry, htpasswd, registry

pytestmark = needs("root", "crun", "skopeo", "docker-registry")

DOCKERFILE = """\
FROM busybox AS build
RUN echo tool > /tool
RUN --mount=type=cache,target=/cache echo x >> /cache/count && wc -l < /cache/count > /runs
FROM busybox
COPY --from=build /tool /runs /
RUN cat /tool > /who
"""
STEPS = 4


@pytest.fixture
def live(shared_instance: Live) -> Live:
    return shared_instance


@pytest.fixture(autouse=True)
def _own_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


@pytest.fixture
def context(tmp_path: Path, live: Live) -> Iterator[Path]:
    place = tmp_path / "context"
    place.mkdir()
    (place / "Dockerfile").write_text(DOCKERFILE)
    yield place
    forget(live)
    live.wirt("rmi", "-f", "made:1", code=None)


def forget(live: Live) -> None:
    """No results, no cache mounts."""
    live.wirt("rmi", "-f", "made:1", code=None)
    live.wirt("builder", "prune", "-f", code=None)


def build(live: Live, context: Path, *words: str, code: int | None = 0) -> str:
    """Build; what was told."""
    told = live.wirt(
        "build", "--progress", "plain", "-t", "made:1", *words, str(context), code=code
    )
    return told.stderr


def cached(told: str) -> int:
    """How many instructions were taken from the cache."""
    steps = set(re.findall(r"^(#\d+) \[", told, re.MULTILINE))
    return len(steps & set(re.findall(r"^(#\d+) CACHED", told, re.MULTILINE)))


def travels(live: Live, context: Path, served: Registry) -> None:
    """Everything goes there and comes back; the registry has the layers of results once."""
    name = f"{served.host}/team/cache:main"
    build(live, context, "--cache-to", f"type=registry,ref={name},mode=max")
    made = live.wirt("inspect", "made:1").stdout
    raw = served.inspect("team/cache:main", "--raw")
    assert raw["artifactType"] == "application/vnd.wirt.build-cache.v1"
    layers = {layer["digest"] for layer in raw["layers"]}
    kinds = [layer["mediaType"].rpartition(".build-cache.")[2] for layer in raw["layers"]]
    assert kinds[0] == "list.v1+json+gzip"
    assert kinds[-1] == "mount.v1.tar+gzip"
    beside = f"{served.host}/team/cache:image"
    live.wirt("tag", "made:1", beside)
    pushed = live.wirt("push", beside).stderr
    own = [layer["digest"] for layer in served.inspect("team/cache:image", "--raw")["layers"]][1:]
    assert len(own) == 2
    assert "nothing is copied" in pushed or pushed.count("Layer already exists") == 2
    assert set(own) <= layers
    live.wirt("rmi", "-f", beside)
    forget(live)
    told = build(live, context, "--cache-from", f"type=registry,ref={name}")
    assert cached(told) == STEPS + 2  # and the two FROM
    assert json.loads(live.wirt("inspect", "made:1").stdout)[0]["id"] == json.loads(made)[0]["id"]
    assert live.wirt("run", "--rm", "made:1", "cat", "/who").stdout == "tool\n"
    (context / "Dockerfile").write_text(DOCKERFILE.replace("> /runs", "> /runs # again"))
    build(live, context, "--cache-from", f"type=registry,ref={name}")
    runs = live.wirt("run", "--rm", "made:1", "cat", "/runs").stdout
    assert int(runs) == 2, "the cache mount did not come along"
    (context / "Dockerfile").write_text(DOCKERFILE)


def test_debians_registry_with_a_password(live: Live, context: Path, tmp_path: Path) -> None:
    with registry(
        live, tmp_path / "registry", port=5021, auth=htpasswd(tmp_path / "auth")
    ) as served:
        name = f"{served.host}/team/cache:main"
        denied = live.wirt(
            "build", "-t", "made:1", "--cache-to", f"type=registry,ref={name}", str(context),
            code=None,
        )  # fmt: skip
        assert denied.returncode != 0
        assert f"wirt login {served.host}" in denied.stderr
        lenient = build(live, context, "--cache-to", f"type=registry,ref={name},ignore-error=true")
        assert "the build cache was not exported" in lenient
        login = ("login", "-u", USER, "--password-stdin", served.host)
        live.wirt(*login, feed=PASSWORD)
        creds = Creds(live=live, host=served.host)
        forget(live)
        travels(live, context, creds)
        assert PASSWORD not in live.log()


class Creds(Registry):
    """A registry whose judge says who it is."""

    def skopeo(self, *words: str) -> str:
        return super().skopeo(words[0], "--creds", f"{USER}:{PASSWORD}", *words[1:])


def test_wirts_own_registry(live: Live, context: Path) -> None:
    live.wirt("registry", "serve", "--listen", "127.0.0.1:5022", "--anonymous", "all")
    try:
        travels(live, context, Registry(live=live, host="127.0.0.1:5022"))
    finally:
        live.wirt("registry", "rm", "team/cache", code=None)
        live.wirt("registry", "stop", code=None)


def test_min_what_is_missing_and_what_is_no_cache(
    live: Live, context: Path, tmp_path: Path
) -> None:
    with registry(live, tmp_path / "registry", port=5023) as served:
        name = f"{served.host}/team/cache:min"
        told = build(live, context, "--cache-from", name, "--cache-to", f"type=registry,ref={name}")
        assert f"there is no build cache at {name}" in told
        raw = served.inspect("team/cache:min", "--raw")
        assert len(raw["layers"]) == 3  # the list, COPY and RUN of the target
        forget(live)
        told = build(live, context, "--cache-from", name)
        assert cached(told) == 4, told  # two FROM, COPY by its files, RUN
        forget(live)
        for layer in raw["layers"][1:]:
            digits = layer["digest"].partition(":")[2]
            blobs = tmp_path / "registry/data/docker/registry/v2/blobs/sha256"
            (blobs / digits[:2] / digits / "data").unlink()
        told = build(live, context, "--cache-from", name)
        assert cached(told) == 2, told  # what the registry has lost is made here
        assert f"taking results from {name}" in told
        live.wirt("tag", "busybox", f"{served.host}/team/box:1")
        live.wirt("push", "-q", f"{served.host}/team/box:1")
        live.wirt("rmi", f"{served.host}/team/box:1")
        told = build(live, context, "--cache-from", f"{served.host}/team/box:1")
        assert "is no build cache" in told
        gone = build(live, context, "--cache-from", "127.0.0.1:1/team/cache", code=None)
        assert "cannot reach 127.0.0.1:1" in gone
    for words, hint in (
        ("type=inline", "type=registry"),
        ("type=gha", "type=local"),
        ("type=registry,ref=a/b,compression=zstd", "gzip"),
        ("type=registry", "ref=NAME"),
        ("type=registry,ref=a/b,mode=most", "ref=NAME"),
    ):
        assert hint in build(live, context, "--cache-to", words, code=None)
