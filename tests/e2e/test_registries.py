"""Registries as a user meets them: Debian's docker-registry, with skopeo as the judge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from live import Live
from needs import needs
from registrybox import PASSWORD, USER, Registry, htpasswd, registry, token_server
from tokenserver import REFRESH

pytestmark = needs("root", "crun", "skopeo", "docker-registry", "openssl")


@pytest.fixture(autouse=True)
def _own_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


@pytest.fixture
def served(shared_instance: Live, tmp_path: Path) -> Iterator[Registry]:
    """A registry that asks nobody who he is, with busybox as ``team/busybox:1``."""
    archive = tmp_path / "busybox.tar"
    shared_instance.wirt("save", "-o", str(archive), "busybox:latest")
    with registry(shared_instance, tmp_path / "registry") as found:
        found.push(f"docker-archive:{archive}", "team/busybox:1")
        yield found


def test_pull_and_run(shared_instance: Live, served: Registry) -> None:
    live, name = shared_instance, f"{served.host}/team/busybox:1"
    digest = served.inspect("team/busybox:1")["Digest"]
    by_digest = f"{served.host}/team/busybox@{digest}"
    try:
        first = live.wirt("pull", name)
        assert first.stdout == (
            f"Digest: {digest}\nStatus: Downloaded newer image for {name}\n{name}\n"
        ) or first.stdout.endswith(f"Image is up to date for {name}\n{name}\n")
        assert "1: Pulling from" in first.stderr
        again = live.wirt("pull", name)
        assert f"Status: Image is up to date for {name}\n" in again.stdout
        assert live.wirt("pull", "-q", name).stdout == f"{name}\n"
        assert live.wirt("run", "--rm", name, "echo", "hello").stdout == "hello\n"
        live.wirt("pull", "-q", by_digest)
        assert live.wirt("run", "--rm", by_digest, "echo", "pinned").stdout == "pinned\n"
    finally:
        live.wirt("rmi", name, by_digest, code=None)


def test_run_gets_what_is_missing(shared_instance: Live, served: Registry) -> None:
    live, name = shared_instance, f"{served.host}/team/busybox:1"
    try:
        never = live.wirt("run", "--rm", "--pull", "never", name, "true", code=125)
        assert "No such image" in never.stderr
        missing = live.wirt("run", "--rm", name, "echo", "hello")
        assert missing.stdout == "hello\n"
        assert f"Unable to find image '{name}' locally" in missing.stderr
        there = live.wirt("run", "--rm", name, "echo", "hello")
        assert there.stderr == ""
        always = live.wirt("run", "--rm", "--pull", "always", name, "echo", "hello")
        assert f"Image is up to date for {name}" in always.stderr
        quiet = live.wirt("create", "-q", "--pull", "always", name)
        live.wirt("rm", quiet.stdout.strip())
        assert quiet.stderr == ""
    finally:
        live.wirt("rmi", name, code=None)


def test_what_is_not_there(shared_instance: Live, served: Registry) -> None:
    missing = shared_instance.wirt("pull", f"{served.host}/team/busybox:2", code=3)
    assert "has no manifest team/busybox:2" in missing.stderr
    nobody = shared_instance.wirt("pull", "127.0.0.1:1/team/busybox", code=None)
    assert nobody.returncode not in {0, 1}
    assert "cannot reach 127.0.0.1:1" in nobody.stderr


def test_push_and_what_the_judge_finds(shared_instance: Live, served: Registry) -> None:
    live = shared_instance
    here, there = f"{served.host}/own/box:a", f"{served.host}/other/box:a"
    try:
        live.wirt("tag", "busybox", here)
        pushed = live.wirt("push", here)
        found = served.inspect("own/box:a")
        assert pushed.stdout.startswith(f"a: digest: {found['Digest']} size: ")
        assert "Pushed" in pushed.stderr
        again = live.wirt("push", here)
        assert again.stdout == pushed.stdout
        assert again.stderr.count("Layer already exists") == 2
        live.wirt("tag", here, there)
        assert live.wirt("push", there).stderr.count("Mounted from own/box") == 2
        assert served.inspect("other/box:a")["Digest"] == found["Digest"]
        live.wirt("tag", here, f"{served.host}/own/box:b")
        live.wirt("push", "--all-tags", f"{served.host}/own/box")
        assert sorted(served.inspect("own/box:b")["RepoTags"]) == ["a", "b"]
        listed = live.wirt("search", "--format", "{{.Name}}", f"{served.host}/box").stdout
        assert f"{served.host}/own/box\n" in listed
        seen = json.loads(live.wirt("image", "inspect", "--remote", here).stdout)[0]
        assert seen["digest"] == found["Digest"]
        assert seen["raw"]["config"]["Cmd"] == ["sh"]
        assert live.wirt("push", f"{served.host}/own/nothing", code=3).stderr
    finally:
        live.wirt("rmi", here, there, f"{served.host}/own/box:b", code=None)


def test_an_index_goes_back_as_it_came(
    shared_instance: Live, served: Registry, tmp_path: Path
) -> None:
    live = shared_instance
    name, copy = f"{served.host}/team/many:1", f"{served.host}/team/copy:1"
    layout = tmp_path / "layout"
    _make_index(served, layout)
    served.push(f"oci:{layout}:1", "team/many:1", "--all")
    digest = served.inspect("team/many:1", "--raw")
    try:
        live.wirt("pull", "--all-platforms", name)
        live.wirt("tag", name, copy)
        live.wirt("push", copy)
        assert served.inspect("team/copy:1", "--raw") == digest
        live.wirt("rmi", name, copy)
        live.wirt("pull", name)
        live.wirt("tag", name, f"{served.host}/new/part:1")
        alone = live.wirt("push", f"{served.host}/new/part:1")
        assert "only linux/amd64 is pushed" in alone.stderr
        assert "manifests" not in served.inspect("new/part:1", "--raw")
    finally:
        live.wirt("rmi", name, copy, f"{served.host}/new/part:1", code=None)


def test_platforms_of_guests(
    shared_instance: Live, served: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform that was asked for is got and checked; what this host cannot run is refused."""
    live, name = shared_instance, f"{served.host}/team/many:1"
    other = f"{served.host}/team/box:1"
    layout = tmp_path / "layout"
    _make_index(served, layout)
    served.push(f"oci:{layout}:1", "team/many:1", "--all")
    try:
        foreign = live.wirt("run", "--rm", "--platform", "linux/s390x", name, "true", code=125)
        assert "the image is for linux/s390x, this host is linux/amd64" in foreign.stderr
        assert "binfmt_misc" in foreign.stderr
        never = live.wirt("create", "--platform", "amd64", "--pull", "never", name, code=None)
        assert f"the image '{name}' here is for linux/s390x, not for linux/amd64" in never.stderr
        own = live.wirt("run", "--rm", "--platform", "linux/amd64", name, "echo", "own")
        assert own.stdout == "own\n"
        assert f"Unable to find image '{name}' locally" in own.stderr
        again = live.wirt("run", "--rm", "--platform", "linux/amd64", name, "echo", "own")
        assert (again.stdout, again.stderr) == ("own\n", "")
        live.wirt("pull", "--platform", "linux/s390x", name)
        machine = live.wirt("create", "--as", "microvm", name, code=None)
        assert "a machine has this host's processor" in machine.stderr
        always = live.wirt(
            "run", "--rm", "--pull", "always", "--platform", "linux/amd64", name, "echo", "own"
        )
        assert always.stdout == "own\n"
        live.wirt("tag", "busybox", other)
        image = live.wirt("images", "-q", "--no-trunc", other).stdout.strip()
        by_id = live.wirt("run", "--rm", "--platform", "linux/s390x", image, "true", code=125)
        assert "not for linux/s390x" in by_id.stderr
        assert "Unable to find" not in by_id.stderr
        monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "linux/s390x")
        by_variable = live.wirt("run", "--rm", name, "true", code=125)
        assert "the image is for linux/s390x" in by_variable.stderr
        monkeypatch.delenv("DOCKER_DEFAULT_PLATFORM")
        wrong = live.wirt("run", "--rm", "--platform", "li nux", name, "true", code=125)
        assert "invalid platform" in wrong.stderr
    finally:
        live.wirt("rmi", "-f", name, other, code=None)


def _make_index(served: Registry, layout: Path) -> None:
    """An OCI layout whose tag 1 is an index of two platforms with the same layer."""
    served.skopeo(
        "copy", "-q", "--src-tls-verify=false", f"docker://{served.host}/team/busybox:1",
        f"oci:{layout}:one",
    )  # fmt: skip
    index = json.loads((layout / "index.json").read_text())
    entry = index["manifests"][0]
    entry.pop("annotations")
    manifest = json.loads(_blob(layout, entry["digest"]).read_bytes())
    config = json.loads(_blob(layout, manifest["config"]["digest"]).read_bytes())
    other = _put(layout, {**config, "architecture": "s390x"}, manifest["config"])
    foreign = _put(layout, {**manifest, "config": other}, entry)
    entries = [
        {**entry, "platform": {"os": "linux", "architecture": "amd64"}},
        {**foreign, "platform": {"os": "linux", "architecture": "s390x"}},
    ]
    kind = "application/vnd.oci.image.index.v1+json"
    made = _put(
        layout, {"schemaVersion": 2, "mediaType": kind, "manifests": entries}, {"mediaType": kind}
    )
    made["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [made]}))


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def _put(layout: Path, value: object, like: dict[str, object]) -> dict[str, object]:
    import hashlib

    data = json.dumps(value).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    _blob(layout, digest).write_bytes(data)
    return {**like, "digest": digest, "size": len(data)}


def test_login_logout_and_what_needs_them(shared_instance: Live, tmp_path: Path) -> None:
    live = shared_instance
    with registry(
        live, tmp_path / "registry", port=5001, auth=htpasswd(tmp_path / "auth")
    ) as served:
        name = f"{served.host}/private/box:1"
        live.wirt("tag", "busybox", name)
        try:
            nobody = live.wirt("push", name, code=None)
            assert nobody.returncode not in {0, 1}
            assert f"hint: it may not exist, or need a login: wirt login {served.host}" in (
                nobody.stderr
            )
            login = ("login", "-u", USER, "--password-stdin", served.host)
            wrong = live.wirt(*login, feed="wrong", code=None)
            assert wrong.returncode != 0
            assert "wrong" not in wrong.stderr
            assert not (tmp_path / "docker").exists()
            assert live.wirt(*login, feed=PASSWORD).stdout == "Login Succeeded\n"
            file = tmp_path / "docker/config.json"
            assert file.stat().st_mode & 0o777 == 0o600
            live.wirt("push", "-q", name)
            live.wirt("rmi", name)
            assert live.wirt("run", "--rm", name, "echo", "private").stdout == "private\n"
            assert live.wirt("logout", served.host).stdout.startswith("Removing login")
            assert live.wirt("pull", name, code=None).returncode != 0
            file.write_text("{ broken")
            broken = live.wirt("pull", name, code=None)
            assert "cannot understand" in broken.stderr
            told = live.log() + live.wirt("events", "--since", "10m", "--until", "0s").stdout
            assert PASSWORD not in told
        finally:
            live.wirt("rmi", name, code=None)


def test_the_hosts_own_registry_copies_nothing(shared_instance: Live) -> None:
    live = shared_instance
    live.wirt("registry", "serve", "--listen", "127.0.0.1:5002", "--anonymous", "all")
    own = Registry(live=live, host="127.0.0.1:5002")
    name = f"{own.host}/mine/box:1"
    live.wirt("tag", "busybox", name)
    try:
        pushed = live.wirt("push", name)
        assert "nothing is copied" in pushed.stderr
        digest = own.inspect("mine/box:1")["Digest"]
        assert pushed.stdout.startswith(f"1: digest: {digest} size: ")
        live.wirt("rmi", name)
        back = live.wirt("pull", name)
        assert f"Digest: {digest}\n" in back.stdout
        assert "Downloading" not in back.stderr
        assert live.wirt("run", "--rm", name, "echo", "mine").stdout == "mine\n"
    finally:
        live.wirt("rmi", name, code=None)
        live.wirt("registry", "rm", "mine/box", code=None)
        live.wirt("registry", "stop", code=None)


def test_tokens(shared_instance: Live, tmp_path: Path) -> None:
    """A registry that wants bearer tokens: for nobody, for a user, and by an identity token."""
    live, folder = shared_instance, tmp_path / "tokens"
    with (
        token_server(live, folder) as auth,
        registry(live, tmp_path / "registry", port=5003, auth=auth) as served,
    ):
        public, private = f"{served.host}/public/box:1", f"{served.host}/private/box:1"
        for name in (public, private):
            live.wirt("tag", "busybox", name)
        try:
            assert live.wirt("push", public, code=None).returncode != 0
            login = ("login", "-u", USER, "--password-stdin", served.host)
            assert live.wirt(*login, feed="wrong", code=None).returncode != 0
            live.wirt(*login, feed=PASSWORD)
            kept = json.loads((tmp_path / "docker/config.json").read_text())
            assert kept["auths"][served.host]["identitytoken"] == REFRESH
            assert PASSWORD not in json.dumps(kept)
            for name in (public, private):
                live.wirt("push", name)
            assert "POST 200" in (folder / "asked").read_text()
            live.wirt("rmi", public, private)
            live.wirt("logout", served.host)
            live.wirt("pull", public)
            denied = live.wirt("pull", private, code=None)
            assert denied.returncode != 0
            assert f"wirt login {served.host}" in denied.stderr
            live.wirt(*login, feed=PASSWORD)
            live.wirt("pull", private)
            assert PASSWORD not in live.log()
            assert REFRESH not in live.log()
        finally:
            live.wirt("rmi", public, private, code=None)
