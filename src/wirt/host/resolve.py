"""From a reference to documents: an index with its own digest, and the manifest for a platform."""

from __future__ import annotations

from dataclasses import dataclass

from wirt.errors import Invalid, NotFound
from wirt.image import catalog, platform
from wirt.image.archive_oci import MAX_DEPTH
from wirt.image.catalog import DOCUMENTS, Document
from wirt.image.document import refuse
from wirt.image.manifest import MAX_MANIFESTS, Descriptor, Index, Manifest, check_image
from wirt.image.platform import Platform
from wirt.image.remote.repository import Fetched
from wirt.image.remote.source import Source

MAX_REFERRERS = 100
"""Documents about one image that are pulled with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """``target``: what the reference means. ``chosen``: the manifest to run. ``fetched``: the bytes
    of all ``documents``, which are those two, what lies between them, and all when all were
    wanted."""

    target: Document
    chosen: Document
    documents: tuple[Document, ...]
    fetched: tuple[Fetched, ...]

    @property
    def manifest(self) -> Manifest:
        """The content of ``chosen``."""
        assert isinstance(self.chosen.content, Manifest)
        return self.chosen.content


class Resolve:
    """Asks one source. ``wanted``: a platform that the user insists on, None for this host's.

    ``whole``: fetch the manifests of all platforms too. ``referrers``: fetch what speaks about any
    of them.
    """

    def __init__(
        self,
        source: Source,
        *,
        wanted: Platform | None,
        whole: bool = False,
        referrers: bool = False,
    ) -> None:
        self._source = source
        self._wanted = wanted
        self._whole = whole
        self._referrers = referrers
        self._documents: dict[str, tuple[Document, Fetched]] = {}

    async def run(self, reference: str) -> Resolved:
        """Fetch what a tag or digest means. Raises NotFound, Invalid, Upstream."""
        fetched = await self._source.manifest(reference)
        target = catalog.read(fetched.data, fetched.digest, fetched.media_type)
        self._documents[str(target.digest)] = (target, fetched)
        chosen = await self._choose(target)
        assert isinstance(chosen.content, Manifest)
        check_image(chosen.content)
        if self._whole:
            await self._all(target)
        if self._referrers:
            await self._speakers()
        found = self._documents.values()
        return Resolved(
            target=target,
            chosen=chosen,
            documents=tuple(document for document, _ in found),
            fetched=tuple(one for _, one in found),
        )

    async def _choose(self, target: Document) -> Document:
        machine = self._wanted or platform.host()
        document = target
        for _ in range(MAX_DEPTH):
            if not isinstance(document.content, Index):
                return document
            candidates = [
                (entry.platform or Platform(), entry)
                for entry in document.content.manifests
                if entry.media_type in DOCUMENTS
            ]
            place, entry = platform.choose(candidates, machine, what="the image")
            if self._wanted is not None and not platform.runs(place, self._wanted):
                raise NotFound(
                    f"the image has nothing for {self._wanted}",
                    hint=f"it offers: {place}",
                    code="image.platform",
                )
            document = await self._fetch(entry)
        raise _too_deep()

    async def _all(self, target: Document) -> None:
        waiting = [(target, 0)]
        while waiting:
            document, depth = waiting.pop(0)
            if not isinstance(document.content, Index):
                continue
            if depth >= MAX_DEPTH:
                raise _too_deep()
            entries = (e for e in document.content.manifests if e.media_type in DOCUMENTS)
            waiting += [(await self._fetch(entry), depth + 1) for entry in entries]

    async def _speakers(self) -> None:
        """Signatures and the like, and what speaks about those. What is listed and does not speak
        about it is left out: a registry may list what it likes."""
        waiting = [document.digest for document, _ in self._documents.values()]
        most = len(waiting) + MAX_REFERRERS
        while waiting and len(self._documents) < most:
            subject = waiting.pop(0)
            for entry in (await self._source.referrers(subject))[:MAX_REFERRERS]:
                if entry.media_type not in DOCUMENTS or str(entry.digest) in self._documents:
                    continue
                document = await self._fetch(entry)
                about = document.content.subject
                if about is None or about.digest != subject:
                    del self._documents[str(entry.digest)]
                else:
                    waiting.append(document.digest)

    async def _fetch(self, entry: Descriptor) -> Document:
        known = self._documents.get(str(entry.digest))
        if known is None:
            if len(self._documents) >= MAX_MANIFESTS:
                raise refuse("image index", f"it leads to more than {MAX_MANIFESTS} documents")
            fetched = await self._source.manifest(str(entry.digest))
            document = catalog.read(fetched.data, fetched.digest, fetched.media_type)
            known = self._documents[str(entry.digest)] = (document, fetched)
        if known[0].media_type != entry.media_type or known[0].size != entry.size:
            raise refuse("image index", f"{entry.digest} is not as it announced it")
        return known[0]


def _too_deep() -> Invalid:
    return Invalid(
        f"the image's indexes are nested deeper than {MAX_DEPTH} levels", code="image.malformed"
    )
