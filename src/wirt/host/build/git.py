"""The program ``git`` in an empty repository: what a ref means, its commit, files, submodules."""

from __future__ import annotations

import os
import resource
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from wirt.errors import NotFound
from wirt.image.build.address import GitAddress, masked, split_secret
from wirt.image.build.tree import clean
from wirt.linux import spawn
from wirt.tar import writer
from wirt.tar.member import Member, Type

MAX_FILE = 4 * 1024**3
_SECONDS = 900.0
_QUIET = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/true",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ALLOW_PROTOCOL": "http:https:git",
    "GIT_PROTOCOL_FROM_USER": "0",
    "HOME": "/nonexistent",
}
_GUARDS = (
    "-c", "protocol.file.allow=never", "-c", "protocol.ext.allow=never",
    "-c", "core.hooksPath=/dev/null", "-c", "credential.helper=", "-c", "core.fsmonitor=false",
    "-c", "http.followRedirects=initial", "-c", "fetch.fsckObjects=true", "-c", "tar.umask=0022",
    "-c", "gc.auto=0", "-c", "submodule.recurse=false", "-c", "pack.threads=1",
)  # fmt: skip
_SSH_OPTIONS = (
    "BatchMode=yes", "StrictHostKeyChecking=yes", "GlobalKnownHostsFile=/dev/null",
    "UpdateHostKeys=no", "IdentityFile=none", "PreferredAuthentications=publickey",
    "ForwardAgent=no", "ClearAllForwardings=yes", "PermitLocalCommand=no", "ConnectTimeout=30",
)  # fmt: skip
_WHOLE = "* -export-ignore -export-subst\n"
"""Nothing is left out of archives, or changed in them, as nothing is when files are checked out."""
_CONFIG = """\
[core]
	repositoryformatversion = 0
	filemode = true
	bare = false
[remote "origin"]
	url = {url}
	fetch = +refs/heads/*:refs/remotes/origin/*
"""
_KEPT = ("HEAD", "index", "shallow", "packed-refs", "config")
"""Of a repository's files, besides its objects."""


class Submodule(msgspec.Struct, frozen=True, kw_only=True):
    """A repository inside of another. ``url`` as its ``.gitmodules`` says it."""

    path: str
    url: str
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """``program`` with a repository at ``place``, which is made when something is fetched."""

    program: str
    place: Path
    url: str
    environment: Mapping[str, str] = field(default_factory=lambda: _QUIET, repr=False)

    def with_ssh(self, agent: Path, known_hosts: str) -> Git:
        """Also by ssh, with the keys of an agent. Raises Unsupported without the program ssh."""
        hosts = self.place / "known_hosts"
        hosts.write_text(known_hosts)
        options = [*_SSH_OPTIONS, f"UserKnownHostsFile={hosts}", f"IdentityAgent={agent}"]
        words = [spawn.which("ssh"), "-F", "none"]
        for option in options:
            words += ["-o", option]
        more = {
            "GIT_SSH_COMMAND": shlex.join(words),
            "GIT_ALLOW_PROTOCOL": f"{_QUIET['GIT_ALLOW_PROTOCOL']}:ssh",
        }
        return replace(self, environment={**self.environment, **more})

    # --- asking -----------------------------------------------------------------------------

    def resolve(self, ref: str) -> str:
        """The commit that a branch, a tag or HEAD is now. Raises NotFound, CommandFailed."""
        told = self._run("ls-remote", "-q", "--", self._open_url, ref, f"{ref}^{{}}")
        found = dict(line.split("\t", 1)[::-1] for line in told.splitlines() if "\t" in line)
        for name in (ref, f"refs/{ref}", f"refs/tags/{ref}", f"refs/heads/{ref}"):
            commit = found.get(f"{name}^{{}}") or found.get(name)
            if commit:
                return commit
        raise NotFound(
            f"{masked(self.url)[:200]} has no branch or tag {ref[:100]!r}",
            hint="write URL#REF; of a commit all its digits",
            code="build.git-ref",
        )

    def fetch(self, wanted: GitAddress) -> str:
        """Fetch one commit, or more where the server can give no single one; its name."""
        self._run("init", "-q", "--bare", "--template=", ".")
        (self.place / "info").mkdir()
        (self.place / "info" / "attributes").write_text(_WHOLE)
        words = ("fetch", "-q", "--no-tags")
        ref = wanted.ref or "HEAD"
        try:
            self._run(*words, "--depth=1", "--", self._open_url, ref)
        except spawn.CommandFailed:
            if wanted.commit:
                everything = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
                self._run(*words, "--", self._open_url, *everything)
                return self._commit(wanted.ref)
            self._run(*words, "--", self._open_url, ref)
        return self._commit("FETCH_HEAD")

    def _commit(self, name: str) -> str:
        return self._run("rev-parse", "--verify", "-q", f"{name}^{{commit}}").strip()

    def submodules(self, commit: str) -> tuple[Submodule, ...]:
        """Those of a commit that its ``.gitmodules`` tells the address of."""
        listed = self._run("ls-tree", "-z", "--full-tree", commit, "--", ".gitmodules")
        if not listed.startswith("100"):
            return ()
        said: dict[str, dict[str, str]] = {}
        for line in self._run("config", "--blob", f"{commit}:.gitmodules", "-z", "--list").split(
            "\0"
        ):
            key, _, value = line.partition("\n")
            section, _, rest = key.partition(".")
            name, _, variable = rest.rpartition(".")
            if section == "submodule" and name:
                said.setdefault(name, {})[variable] = value
        urls = {
            clean(one.get("path", "")): one.get("url", "")
            for one in said.values()
            if one.get("update") != "none"
        }
        return tuple(self._links(commit, urls))

    def _links(self, commit: str, urls: Mapping[str, str]) -> Iterator[Submodule]:
        for line in self._run("ls-tree", "-r", "-z", "--full-tree", commit).split("\0"):
            what, _, path = line.partition("\t")
            if what.startswith("160000 commit ") and urls.get(path):
                yield Submodule(path=path, url=urls[path], commit=what.split()[2])

    # --- files ------------------------------------------------------------------------------

    def archive(self, commit: str, *, keep_git: bool) -> tuple[Path, ...]:
        """Files that make a tar of the commit when put one after the other."""
        files = self.place / "files.tar"
        self._run("archive", "--format=tar", f"--output={files}", commit)
        return (self._own_archive(commit), files) if keep_git else (files,)

    def _own_archive(self, commit: str) -> Path:
        """The repository itself as ``.git``: one pack, HEAD at the commit, no credentials. The
        archive has no end, for another one to follow."""
        for name in self._run("for-each-ref", "--format=%(refname)").split():
            self._run("update-ref", "-d", name)
        (self.place / "HEAD").write_text(f"{commit}\n")
        self._run("read-tree", commit)
        self._run("repack", "-q", "-a", "-d", "-f")
        address, _ = split_secret(self.url)
        (self.place / "config").write_text(_CONFIG.format(url=_quoted(address)))
        objects = sorted(path for path in (self.place / "objects").rglob("*") if path.is_file())
        made = self.place / "own.tar"
        with made.open("xb") as file:
            for name in ("", "/objects", "/refs", "/refs/heads", "/refs/tags"):
                directory = Member(name=f".git{name}".encode(), type=Type.DIRECTORY, mode=0o755)
                file.write(writer.encode(directory))
            for path in (*(self.place / name for name in _KEPT), *objects):
                if path.exists():
                    file.writelines(_member(path, f".git/{path.relative_to(self.place)}"))
        return made

    # --- running ----------------------------------------------------------------------------

    @property
    def _open_url(self) -> str:
        """The address as arguments may show it."""
        return split_secret(self.url)[0]

    def _run(self, *words: str) -> str:
        """Run git; its output. Raises CommandFailed."""

        def bounded() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE, MAX_FILE))

        environment = dict(self.environment)
        address, secret = split_secret(self.url)
        if secret:  # arguments are logged, and anybody's to see
            environment |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"url.{self.url}.insteadOf",
                "GIT_CONFIG_VALUE_0": address,
            }
        done = spawn.run_sync(
            [self.program, *_GUARDS, *words],
            cwd=str(self.place), env=environment, timeout=_SECONDS, before_exec=bounded,
        )  # fmt: skip
        return done.text


def _quoted(text: str) -> str:
    """A value in git's configuration (git-config(1), "Syntax")."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _member(path: Path, name: str) -> Iterator[bytes]:
    size = path.stat().st_size
    yield writer.encode(Member(name=os.fsencode(name), type=Type.FILE, mode=0o644, size=size))
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(1024 * 1024):
            yield chunk
    yield writer.padding(size)
