"""What a client asks for, as it travels: the head of a build's request."""

from __future__ import annotations

from typing import Any

import msgspec

from wirt.image.build.step import MAX_SECRET
from wirt.image.remote.auth import Credentials
from wirt.model.guest import Isolation


class NamedContext(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``--build-context NAME=...``: ``image`` is a reference, ``url`` an address, ``prefix`` where
    the context's archive holds it; exactly one is set."""

    name: str
    image: str = ""
    url: str = ""
    prefix: str = ""


class Output(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What becomes of the result. ``kind``: ``image``, ``oci``, ``docker``, ``tar`` or ``none``.

    All but ``image`` and ``none`` follow the answer's lines as bytes."""

    kind: str = "image"


class BuildWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One build.

    ``dockerfile``: its text, or None: it is the file ``dockerfile_name`` of the context.
    ``context_url``: the context is fetched from there; otherwise the body brings it as a tar.
    ``args``: build arguments. ``secrets``: id to base64. ``credentials``: by registry.
    ``credentials_token``: by which the client's answers are known; without one it is not asked.
    ``ssh``: names of the client's SSH agents, ``ssh_token``: by which their connections are known.
    ``known_hosts``: the servers that ssh believes, as lines of OpenSSH's file.
    ``cache_from``: references of caches to take results from.
    ``no_cache``: names of stages, or ``["*"]``. ``shm_size``: bytes. ``ulimits``:
    soft and hard by name, -1 for none. ``extra_hosts``: ``NAME:IP``.
    ``check``: build nothing, only look for mistakes. ``ignore``: the text of the context's
    ``.dockerignore``, for the checks; the client has applied it already.
    ``verify``: build a second time without the cache and compare. ``isolation``: of RUN steps.
    ``keep_failed``: a RUN that fails is kept until somebody has looked into it.
    """

    dockerfile: str | None = None
    dockerfile_name: str = "Dockerfile"
    context_url: str = ""
    contexts: tuple[NamedContext, ...] = ()
    tags: tuple[str, ...] = ()
    target: str = ""
    args: dict[str, str] = {}
    labels: dict[str, str] = {}
    secrets: dict[str, str] = {}
    ssh: tuple[str, ...] = ()
    ssh_token: str = ""
    known_hosts: str = ""
    credentials: dict[str, Credentials] = {}
    credentials_token: str = ""
    platform: str = ""
    cache_from: tuple[str, ...] = ()
    no_cache: tuple[str, ...] = ()
    pull: bool = False
    network: str = "default"
    extra_hosts: tuple[str, ...] = ()
    shm_size: int | None = None
    ulimits: dict[str, tuple[int, int]] = {}
    isolation: Isolation = Isolation.CONTAINER
    output: Output = Output()
    check: bool = False
    ignore: str = ""
    explain: bool = False
    verify: bool = False
    keep_failed: bool = False

    def __repr__(self) -> str:
        """Without what may be secret."""
        return f"BuildWish(tags={self.tags!r}, target={self.target!r})"


MAX_HEAD = 8 * 1024 * 1024 + 2 * MAX_SECRET
"""Bytes of the head."""

Line = dict[str, Any]
