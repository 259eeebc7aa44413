"""Addresses of repositories: whose submodules are where, and what of them may be shown."""

from __future__ import annotations

import pytest

from wirt.errors import Invalid
from wirt.image.build.address import git_address, is_remote, split_secret, submodule_address


@pytest.mark.parametrize(
    ("said", "parent", "found"),
    [
        ("../b.git", "https://h.example/o/a.git", "https://h.example/o/b.git"),
        ("../../p/b", "https://u:p@h.example:8/o/a.git/", "https://u:p@h.example:8/p/b"),
        ("./b", "https://h.example/o/a.git", "https://h.example/o/a.git/b"),
        ("./../b", "ssh://git@h.example/o/a", "ssh://git@h.example/o/b"),
        ("../b.git", "git@h.example:o/a.git", "git@h.example:o/b.git"),
        ("../b.git", "git@h.example:a.git", "git@h.example:b.git"),
        ("../b.git", "git@h.example:/srv/a.git", "git@h.example:/srv/b.git"),
        ("https://other.example/x", "https://h.example/a.git", "https://other.example/x"),
        ("git@other.example:x", "https://h.example/a.git", "git@other.example:x"),
    ],
)
def test_submodules(said: str, parent: str, found: str) -> None:
    assert submodule_address(said, parent) == found


@pytest.mark.parametrize(
    "said",
    [
        "../../x", "../../../etc", "file:///x", "/x", "x", "", "ext::sh", "--upload-pack=x",
        "-u@host:x", "git@-oProxyCommand=x:y", "https://-x/y", "https:///y", "../a b", "../\0",
    ],
)  # fmt: skip
def test_submodules_that_are_nowhere(said: str) -> None:
    with pytest.raises(Invalid):
        submodule_address(said, "https://h.example/a.git")


@pytest.mark.parametrize(
    ("url", "open_url", "secret"),
    [
        ("https://u:p@h.example/a@b", "https://h.example/a@b", "u:p"),
        ("https://token@h.example", "https://h.example", "token"),
        ("https://h.example/a@b", "https://h.example/a@b", ""),
        ("ssh://git@h.example/a", "ssh://git@h.example/a", ""),
        ("git@h.example:a", "git@h.example:a", ""),
    ],
)
def test_what_is_secret_in_an_address(url: str, open_url: str, secret: str) -> None:
    assert split_secret(url) == (open_url, secret)


def test_ssh() -> None:
    for text, host in (
        ("git@h.example:o/a.git#main:d", "h.example"),
        ("ssh://git@h.example:22/o/a.git#main:d", "h.example"),
    ):
        assert is_remote(text)
        found = git_address(text)
        assert found is not None
        assert (found.ssh, found.host, found.ref, found.directory) == (True, host, "main", "d")
    plain = git_address("https://u:p@h.example/a.git")
    assert plain is not None
    assert (plain.ssh, plain.host) == (False, "h.example")
