"""Docker's file of credentials: read strictly, changed carefully, told to nobody."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from wirt.cli.docker_config import HUB_KEY, DockerConfig
from wirt.errors import Invalid


def _config(folder: Path, data: Any) -> DockerConfig:
    path = folder / "config.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return DockerConfig(path)


def _auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize("key", ["reg.example:5000", "https://reg.example:5000/v2/"])
def test_an_entry_is_found_by_any_of_its_names(tmp_path: Path, key: str) -> None:
    config = _config(tmp_path, {"auths": {key: _auth("me:pass:word")}, "HttpHeaders": {"X": "y"}})
    found = config.credentials("reg.example:5000")
    assert found is not None
    assert (found["username"], found["password"]) == ("me", "pass:word")
    assert config.credentials("other.example") is None


def test_the_hub_has_a_name_of_its_own(tmp_path: Path) -> None:
    config = _config(tmp_path, {"auths": {HUB_KEY: {**_auth("me:"), "identitytoken": "tok"}}})
    found = config.credentials("docker.io")
    assert found is not None
    assert found["identity_token"] == "tok"


@pytest.mark.parametrize(
    "data",
    [
        "not json",
        "[]",
        '{"auths": []}',
        '{"auths": {"r": "x"}}',
        '{"auths": {"r": {"auth": "!!"}}}',
        '{"auths": {"r": {"auth": "bm9jb2xvbg=="}}}',
    ],
)
def test_a_broken_file_is_an_error_and_not_nobody(tmp_path: Path, data: str) -> None:
    """images.md case 36."""
    with pytest.raises(Invalid, match="cannot understand"):
        _config(tmp_path, data).credentials("r")


def test_what_is_stored_is_private_and_the_rest_stays(tmp_path: Path) -> None:
    config = _config(tmp_path, {"auths": {"a": _auth("x:y")}, "psFormat": "table"})
    assert config.store("b", {"username": "me", "password": "pw"}) == ""
    assert config.path.stat().st_mode & 0o777 == 0o600
    written = json.loads(config.path.read_text())
    assert written == {
        "auths": {"a": _auth("x:y"), "b": _auth("me:pw")},
        "psFormat": "table",
    }
    assert DockerConfig(config.path).erase("b")
    assert not DockerConfig(config.path).erase("b")
    assert json.loads(config.path.read_text())["auths"] == {"a": _auth("x:y")}
    assert list(tmp_path.iterdir()) == [config.path]


HELPER = """#!/bin/sh
folder=$(dirname "$0")
case $1 in
    get) read -r server; cat "$folder/kept" 2>/dev/null ||
        { echo "credentials not found in native keychain"; exit 1; };;
    store) cat > "$folder/kept";;
    erase) rm -f "$folder/kept";;
esac
"""


def test_a_credential_helper_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker-credential-mine"
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    config = _config(tmp_path, {"credHelpers": {"r.example": "mine"}})
    assert config.credentials("r.example") is None
    assert config.store("r.example", {"username": "me", "password": "pw"}) == "mine"
    assert "pw" not in config.path.read_text()
    assert json.loads((tmp_path / "kept").read_text())["ServerURL"] == "r.example"
    (tmp_path / "kept").write_text('{"Username": "me", "Secret": "pw"}')
    assert config.credentials("r.example") == {"username": "me", "password": "pw"}
    (tmp_path / "kept").write_text('{"Username": "<token>", "Secret": "t"}')
    assert config.credentials("r.example") == {"identity_token": "t"}
    (tmp_path / "kept").write_text("nonsense secret")
    with pytest.raises(Invalid) as failure:
        config.credentials("r.example")
    assert "nonsense" not in str(failure.value)
    assert config.credentials("other.example") is None


def test_a_helper_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    config = _config(tmp_path, {"credsStore": "nowhere"})
    with pytest.raises(Invalid, match="not installed"):
        config.credentials("r.example")
