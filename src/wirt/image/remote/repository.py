"""The verbs of one repository at one endpoint, as the distribution specification numbers them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from yarl import URL

from wirt.errors import Invalid, NotFound, Upstream
from wirt.image import document, manifest
from wirt.image.document import MAX_DOCUMENT
from wirt.image.manifest import Descriptor, Index
from wirt.image.remote import address
from wirt.image.remote.challenge import scope
from wirt.image.remote.door import Ask, Door
from wirt.model.image import Digest

_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+"
_VAGUE = {"", "application/json", "text/plain", "application/octet-stream"}
ACCEPT = ", ".join(
    (manifest.OCI_INDEX, manifest.OCI_MANIFEST, manifest.DOCKER_INDEX, manifest.DOCKER_MANIFEST)
)
MAX_PAGES = 1000
_NEXT = re.compile(r'\s*<([^>]*)>\s*;[^,]*\brel="?next"?', re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A manifest or index as a registry gave it, its digest verified."""

    data: bytes
    digest: Digest
    media_type: str


class Repository:
    """One repository. ``path``: its name as in references. Works with :class:`Door`."""

    def __init__(self, door: Door, path: str) -> None:
        self.door = door
        self.path = path
        self.name = door.endpoint.repository(path)
        endpoint = door.endpoint
        self._query = {"ns": endpoint.domain} if endpoint.mirror and not endpoint.prefix else {}
        self.pull = frozenset({scope(self.name, "pull")})
        self.push = frozenset({scope(self.name, "pull", "push")})

    @property
    def host(self) -> str:
        """Who is asked."""
        return self.door.endpoint.host

    async def manifest(self, reference: str) -> Fetched:
        """end-3: a document by tag or digest. Raises NotFound, Upstream when it is another."""
        what = f"manifest {self._shown(reference)}"
        data, headers = await self.door.document(
            Ask(
                method="GET",
                where=f"{self.name}/manifests/{reference}",
                what=what,
                query=self._query,
                headers={"Accept": ACCEPT},
                scopes=self.pull,
            ),
            limit=MAX_DOCUMENT,
        )
        said = headers.get("Docker-Content-Digest", "")
        wanted = reference if ":" in reference else said
        algorithm = Digest.parse(wanted).algorithm if wanted else "sha256"
        digest = Digest(algorithm, hashlib.new(algorithm, data).hexdigest())
        if wanted and str(digest) != wanted:
            raise Upstream(
                f"{self.host} gives another document as {what}: its digest is {digest}",
                hint="the registry or something before it is broken or lies",
                code="registry.digest",
            )
        return Fetched(data=data, digest=digest, media_type=_media_type(data, headers, what))

    async def head(self, reference: str, *, pushing: bool = False) -> Digest | None:
        """end-3 by HEAD: the digest that a tag or digest has there; None when it is not there or
        the registry does not say, or knows no HEAD."""
        ask = Ask(
            method="HEAD",
            where=f"{self.name}/manifests/{reference}",
            what=f"manifest {self._shown(reference)}",
            query=self._query,
            headers={"Accept": ACCEPT},
            good=frozenset({200, 400, 404, 405, 501}),
            scopes=self.push if pushing else self.pull,
        )
        async with self.door.ask(ask) as response:
            said = response.headers.get("Docker-Content-Digest", "")
            return Digest.parse(said) if response.status == 200 and said else None

    async def put_manifest(self, reference: str, data: bytes, media_type: str) -> bool:
        """end-7: store a document by tag or digest; whether the registry lists it for its subject
        by itself (``OCI-Subject``)."""
        ask = Ask(
            method="PUT",
            where=f"{self.name}/manifests/{reference}",
            what=f"manifest {self._shown(reference)}",
            headers={"Content-Type": media_type},
            good=frozenset({200, 201, 202}),
            scopes=self.push,
            body=lambda: data,
        )
        async with self.door.ask(ask) as response:
            return "OCI-Subject" in response.headers

    async def has_blob(self, digest: Digest) -> bool:
        """end-2 by HEAD, in order to push."""
        ask = Ask(
            method="HEAD",
            where=f"{self.name}/blobs/{digest}",
            what=f"blob {digest}",
            good=frozenset({200, 404}),
            scopes=self.push,
        )
        async with self.door.ask(ask) as response:
            return response.status == 200

    async def begin_upload(self, digest: Digest, source: str = "") -> URL | None:
        """end-4a: where to upload a blob. end-11 with ``source``, a repository of this registry
        that has it: None when it was mounted from there and nothing is left to do."""
        scopes = self.push
        query: dict[str, str] = {}
        if source:
            scopes |= {scope(self.door.endpoint.repository(source), "pull")}
            query = {"mount": str(digest), "from": self.door.endpoint.repository(source)}
        ask = Ask(
            method="POST",
            where=f"{self.name}/blobs/uploads/",
            what=f"upload of {digest} to {self._shown('')}",
            query=query,
            headers={"Content-Length": "0"},
            good=frozenset({201, 202} if source else {202}),
            scopes=scopes,
        )
        async with self.door.ask(ask) as response:
            if response.status == 201:
                return None
            return self.location(response.url, response.headers)

    def location(self, asked: URL, headers: Mapping[str, str]) -> URL:
        """The ``Location`` of an upload. Raises Upstream for a missing or bad one."""
        said = headers.get("Location", "")
        if not said:
            raise Upstream(
                f"{self.host} does not say where to upload to", code="registry.no-location"
            )
        return address.follow(asked, said)

    async def tags(self) -> tuple[str, ...]:
        """end-8: all tags, in the registry's order."""
        return await self._paged(f"{self.name}/tags/list", "tags")

    async def _paged(self, where: str, key: str) -> tuple[str, ...]:
        found: list[str] = []
        ask = Ask(method="GET", where=where, what=f"tags of {self.path}", scopes=self.pull)
        for _ in range(MAX_PAGES):
            data, headers = await self.door.document(ask, limit=MAX_DOCUMENT)
            found += document.strings(document.parse(data, "list of tags"), key, "list of tags")
            page = next_page(self._here(where), headers.get("Link", ""))
            if page is None:
                break
            ask = replace(ask, where=page)
        return tuple(dict.fromkeys(found))

    async def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """end-12: the documents that speak about another; by the tag that stands in for the list
        where the registry has no such list."""
        ask = Ask(
            method="GET",
            where=f"{self.name}/referrers/{subject}",
            what=f"referrers of {subject}",
            headers={"Accept": manifest.OCI_INDEX},
            good=frozenset({200, 400, 404, 405, 501}),
            scopes=self.pull,
        )
        found: list[Descriptor] = []
        for _ in range(MAX_PAGES):
            async with self.door.ask(ask) as response:
                kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
                if response.status != 200 or kind != manifest.OCI_INDEX:
                    return await self._tagged_referrers(subject)
                data = await self.door.read(response, ask.what, MAX_DOCUMENT)
                found += manifest.parse_index(data).manifests
                page = next_page(response.url, response.headers.get("Link", ""))
            if page is None:
                break
            ask = replace(ask, where=page)
        return tuple(found)

    async def _tagged_referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        index = await self.referrers_tag(subject)
        return index.manifests if index is not None else ()

    async def referrers_tag(self, subject: Digest) -> Index | None:
        """The index under the tag that stands in for a list of referrers, None without one."""
        try:
            fetched = await self.manifest(fallback_tag(subject))
            found = manifest.parse(fetched.data, fetched.media_type)
        except (NotFound, Invalid):
            return None
        return found if isinstance(found, Index) else None

    def _here(self, where: str) -> URL:
        return URL(f"{self.door.base}{where}")

    def _shown(self, reference: str) -> str:
        mark = "@" if ":" in reference else ":" if reference else ""
        return f"{self.path}{mark}{reference}"


def fallback_tag(subject: Digest) -> str:
    """The tag that stands in for a list of referrers: ``sha256-<hex>``, cut at 32 and 64."""
    return f"{subject.algorithm[:32]}-{subject.encoded[:64]}"


def next_page(here: URL, link: str) -> URL | None:
    """The address in ``Link: <...>; rel="next"`` (RFC 8288), None without one."""
    match = _NEXT.match(link[:8192])
    return address.follow(here, match[1]) if match else None


def _media_type(data: bytes, headers: Mapping[str, str], what: str) -> str:
    announced = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if announced.startswith(_SCHEMA_1):
        raise Invalid(
            f"the {what} is of Docker's schema 1, which is out of use since 2019",
            hint="push the image again with a newer tool",
            code="image.media-type",
        )
    if announced not in _VAGUE:
        return announced
    said = document.string(document.parse(data, what), "mediaType", what)
    if not said:
        raise document.refuse(what, "neither it nor the registry says of what type it is")
    return said
