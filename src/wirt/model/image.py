"""Images: references, digests, configuration, and the root a guest boots from.

References follow docker's rules for short names; digests the OCI image specification
(descriptor.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from wirt.errors import Invalid

_HEX_LENGTH = {"sha256": 64, "sha512": 128}
_DIGEST = re.compile(r"(sha256|sha512):([0-9a-f]+)", re.ASCII)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
MAX_PATH = 255
DEFAULT_DOMAIN = "docker.io"


def is_path(text: str) -> bool:
    """Whether it is a repository's name without the registry's: ``team/app``."""
    return len(text) <= MAX_PATH and _PATH.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether it is a tag: at most 128 characters, the first one a letter, digit or ``_``."""
    return _TAG.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """``algorithm:encoded``; only sha256 and sha512 with lower-case hex of the right length."""

    algorithm: str
    encoded: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """The digest, or :class:`Invalid`; safe to use as a path component afterwards."""
        match = _DIGEST.fullmatch(text)
        if match is None or len(match[2]) != _HEX_LENGTH[match[1]]:
            raise Invalid(
                f"invalid digest {text[:100]!r}", hint="a digest is sha256:<64 hex digits>"
            )
        return cls(match[1], match[2])

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """A name of an image: ``domain/path[:tag][@digest]``, always normalised."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str, *, default_tag: str = "latest") -> Reference:
        """Docker's normalisation: ``busybox`` is ``docker.io/library/busybox:latest``."""
        bad = Invalid(
            f"invalid image reference {text[:200]!r}",
            hint="write [HOST[:PORT]/]NAME[:TAG][@DIGEST] with a lower-case name",
        )
        rest, at, digest = text.partition("@")
        if at:
            digest = str(Digest.parse(digest))
        head, slash, tail = rest.partition("/")
        if slash and ("." in head or ":" in head or head == "localhost" or head != head.lower()):
            domain, path = head, tail
        else:
            domain, path = DEFAULT_DOMAIN, rest
        path, colon, tag = path.partition(":")
        if domain in {"index.docker.io", "docker.io"}:
            domain = DEFAULT_DOMAIN
            path = path if "/" in path else f"library/{path}"
        if not _DOMAIN.fullmatch(domain) or not _PATH.fullmatch(path) or len(path) > 255:
            raise bad
        if colon and not _TAG.fullmatch(tag):
            raise bad
        return cls(domain, path, tag if colon else ("" if digest else default_tag), digest)

    @property
    def familiar(self) -> str:
        """The short form that people type: ``busybox:latest``."""
        name = self.familiar_name
        if self.tag:
            name += f":{self.tag}"
        return f"{name}@{self.digest}" if self.digest else name

    @property
    def familiar_name(self) -> str:
        """The short form without tag and digest."""
        if self.domain != DEFAULT_DOMAIN:
            return f"{self.domain}/{self.path}"
        return self.path.removeprefix("library/")

    def __str__(self) -> str:
        text = f"{self.domain}/{self.path}"
        if self.tag:
            text += f":{self.tag}"
        return f"{text}@{self.digest}" if self.digest else text


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What an image says about how to run it (OCI ``config``, plus docker's Healthcheck).

    ``healthcheck`` is docker's JSON object as stored in the image, times in nanoseconds.
    """

    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    healthcheck: dict[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image in the store. ``id`` is the digest of its configuration blob.

    ``manifest``: digest of its manifest. ``diff_ids``: digests of the uncompressed layers, base
    first. ``chain_ids``: one per layer, names of the unpacked layers. ``size``: bytes of the
    unpacked layers. ``created_at``: Unix nanoseconds, 0 when unknown. ``targets``: for each name,
    the digest of the document that it means: the manifest, or an index that has this image for
    this host.
    """

    id: str
    manifest: str
    architecture: str
    os: str
    config: ImageConfig
    diff_ids: tuple[str, ...]
    chain_ids: tuple[str, ...]
    size: int
    created_at: int = 0
    references: tuple[str, ...] = ()
    targets: dict[str, str] = field(default_factory=dict)

    @property
    def digests(self) -> tuple[str, ...]:
        """``repository@digest`` for each name, as people type it (docker's RepoDigests)."""
        names = (
            f"{Reference.parse(name).familiar_name}@{target}"
            for name, target in sorted(self.targets.items())
        )
        return tuple(dict.fromkeys(names))
