"""Addresses in builds: of files to download, and of git repositories. All of them are hostile.

Only http, https, ssh and git's own protocol lead anywhere; nothing of an address can become an
option of a program or name a transport that runs one (``ext::``, ``file://``, ``--upload-pack=``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from wirt.errors import Invalid

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.ASCII | re.IGNORECASE)
_SCP = re.compile(r"\w[\w.-]*@(\w[\w.-]*):(?!//)", re.ASCII)
_SECRET = re.compile(r"([a-z][a-z0-9+.-]*://)[^/@\s]+@", re.ASCII | re.IGNORECASE)
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+@-]{0,200}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
_ORDINARY = re.compile(r"[\x21-\x7e]+", re.ASCII)
SCHEMES = ("http", "https")
GIT_SCHEMES = (*SCHEMES, "git", "ssh")
MAX_LENGTH = 4096


def masked(text: str) -> str:
    """The text without the credentials of addresses in it."""
    return _SECRET.sub(r"\1***@", text)


def split_secret(url: str) -> tuple[str, str]:
    """An address of http or https without the credentials in it, and these (``user:password``)."""
    scheme, sign, rest = url.partition("://")
    before, slash, path = rest.partition("/")
    secret, at, host = before.rpartition("@")
    if not at or scheme.lower() not in SCHEMES:
        return url, ""
    return f"{scheme}{sign}{host}{slash}{path}", secret


def is_remote(source: str) -> bool:
    """Whether a source of ADD, or a context, is an address rather than a path."""
    return bool(_SCHEME.match(source) or _SCP.match(source) or source.startswith("github.com/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class GitAddress:
    """A repository, what to take of it, and which directory in it. ``commit``: the ref is one."""

    url: str
    ref: str = ""
    directory: str = ""

    @property
    def commit(self) -> bool:
        return _HASH.fullmatch(self.ref) is not None

    @property
    def ssh(self) -> bool:
        """Whether it takes a key to get in."""
        return bool(_SCP.match(self.url)) or self.url.lower().startswith("ssh://")

    @property
    def host(self) -> str:
        """Where it is."""
        match = _SCP.match(self.url)
        return match[1] if match else urlsplit(self.url).hostname or ""


def git_address(text: str) -> GitAddress | None:
    """The repository that an address names, or None when it is that of a file.

    Raises Invalid for what no repository is called.
    """
    url, _, fragment = text.partition("#")
    if url.startswith("github.com/"):
        url = f"https://{url}"
    scheme = _scheme(url, GIT_SCHEMES)
    is_file = scheme in SCHEMES and not urlsplit(url).path.rstrip("/").endswith(".git")
    if is_file and not text.startswith("github.com/"):
        return None
    ref, _, directory = fragment.partition(":")
    if ref and (not _REF.fullmatch(ref) or ".." in ref or ref.endswith((".lock", "/"))):
        raise Invalid(
            f"{ref[:100]!r} is no branch, tag or commit",
            hint="write URL#REF or URL#REF:DIRECTORY",
            code="build.git-ref",
        )
    return GitAddress(url=url, ref=ref, directory=directory.strip("/"))


def submodule_address(said: str, parent: str) -> str:
    """The address of a submodule; one that begins with ``./`` or ``../`` starts at its parent's, as
    with git. Raises Invalid for what is none or leads out of its host."""
    found = said
    if said.startswith(("./", "../")):
        match = _SCP.match(parent)
        at = match.end() if match else parent.index("/", parent.index("://") + 3) + 1
        parts, rest = parent[at:].rstrip("/").split("/"), said
        while rest.startswith(("./", "../")):
            step, _, rest = rest.partition("/")
            if step == ".." and not (parts and parts.pop()):
                raise Invalid(
                    f"the submodule at {said[:100]!r} leads out of {masked(parent)[:200]}",
                    code="build.submodules",
                )
        found = parent[:at] + "/".join([*parts, rest])
    _scheme(found, GIT_SCHEMES)
    return found


def pinned(repository: GitAddress, checksum: str) -> GitAddress:
    """The repository at the commit that ``--checksum`` names. Raises Invalid when its ref is
    another commit."""
    if not _HASH.fullmatch(checksum) or (repository.commit and repository.ref != checksum):
        raise Invalid(
            f"--checksum={checksum[:80]} is not the commit of {masked(repository.url)[:200]}",
            hint="for a repository it is the hash of a commit",
            code="build.checksum",
        )
    return replace(repository, ref=checksum)


def file_address(text: str) -> tuple[str, str]:
    """An address to download from, and the name of the file. Raises Invalid."""
    _scheme(text, SCHEMES)
    parts = urlsplit(text)
    name = unquote(parts.path.rpartition("/")[2])
    if not name or "/" in name or "\0" in name or name in {".", ".."}:
        raise Invalid(
            f"{masked(text)[:200]!r} names no file",
            hint="its path must end with a name",
            code="build.address",
        )
    return text, name


def _scheme(text: str, allowed: tuple[str, ...]) -> str:
    match = _SCHEME.match(text)
    scheme = match[1].lower() if match else "ssh" if _SCP.match(text) else ""
    if scheme not in allowed or not _ORDINARY.fullmatch(text) or len(text) > MAX_LENGTH:
        raise Invalid(
            f"cannot fetch from {masked(text)[:200]!r}",
            hint=f"addresses begin with {' or '.join(f'{one}://' for one in allowed)}",
            code="build.address",
        )
    try:
        host = urlsplit(text).hostname if match else text
    except ValueError:
        host = None
    if not host or host.startswith("-"):
        raise Invalid(f"the address {masked(text)[:200]!r} names no host", code="build.address")
    return scheme
