"""Writing images as an archive that docker, podman, skopeo, buildah and umoci read.

Both forms are an OCI layout. The docker form has ``manifest.json`` and ``repositories`` besides,
which name the same blobs. The same images give the same bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

from wirt.errors import Invalid
from wirt.host.events import Bus
from wirt.host.images import Images
from wirt.host.layers import Layers
from wirt.host.pipe import CHUNK, FdWriter, Pipes
from wirt.image import archive_docker, manifest
from wirt.image.archive_oci import FULL_NAME, REF_NAME
from wirt.image.manifest import Descriptor, Index, Manifest
from wirt.image.store import BlobStore
from wirt.model.image import Digest, Image, Reference
from wirt.state.manifests import ManifestTable
from wirt.tar import writer
from wirt.tar.member import Member, Type

FORMATS = ("docker", "oci")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """One image to write under some of its names (normalised)."""

    image: Image
    names: tuple[str, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        """The document that each name means; the image's own manifest when it has none."""
        return tuple(self.image.targets[name] for name in self.names) or (self.image.manifest,)


class SaveImages:
    """``wirt save``."""

    def __init__(
        self,
        pipes: Pipes,
        store: BlobStore,
        images: Images,
        layers: Layers,
        manifests: ManifestTable,
        bus: Bus,
    ) -> None:
        self._pipes = pipes
        self._manifests = manifests
        self._store = store
        self._images = images
        self._layers = layers
        self._bus = bus

    async def choose(self, texts: Sequence[str], form: str) -> tuple[_Choice, ...]:
        """Look the images up. Raises NotFound, Invalid; call it before answering 200."""
        if form not in FORMATS:
            raise Invalid(
                f"unknown format {form[:40]!r}", hint=f"formats are: {', '.join(FORMATS)}"
            )
        if not texts:
            raise Invalid("no image was named", hint="name at least one image to save")
        names: dict[str, list[str]] = {}
        images: dict[str, Image] = {}
        for text in texts:
            for image, name in await self._meant(text):
                images[image.id] = image
                names.setdefault(image.id, []).extend([name] if name else [])
        return tuple(
            _Choice(image=image, names=tuple(dict.fromkeys(names[image.id])))
            for image in images.values()
        )

    async def _meant(self, text: str) -> list[tuple[Image, str]]:
        """A bare repository means all of its tags, as docker's does."""
        try:
            reference = Reference.parse(text, default_tag="")
        except Invalid:
            return [(await self._images.find(text), "")]
        if not reference.tag and not reference.digest:
            prefix = f"{reference}:"
            found = [
                (image, name)
                for image in await self._images.all()
                for name in image.references
                if name.startswith(prefix)
            ]
            if found:
                return found
        image = await self._images.find(text)
        return [(image, str(reference) if str(reference) in image.references else "")]

    async def stream(self, choices: Sequence[_Choice], form: str) -> AsyncGenerator[bytes, None]:
        """The archive's bytes."""
        with self._layers.lease() as lease:
            for choice in choices:
                for blob in await self._blobs(choice.image):
                    lease.hold(blob)
            more = await self._more(choices)
            for digest in more:
                lease.hold(digest)
            written = self._pipes.drain(
                lambda sink: _Archive(self._store, sink).write(
                    choices, more, docker=form == "docker"
                )
            )
            async with contextlib.aclosing(written):
                async for chunk in written:
                    yield chunk
        for choice in choices:
            self._bus.publish("image", "save", choice.image.id)

    async def _more(self, choices: Sequence[_Choice]) -> tuple[Digest, ...]:
        """What the names mean beyond the images of this host: indexes, other platforms."""
        targets = [target for choice in choices for target in choice.targets]
        found = await self._manifests.reachable(targets)
        return tuple(Digest.parse(text) for text in sorted(found))

    async def _blobs(self, image: Image) -> list[Digest]:
        read = await self._pipes.call(lambda: read_manifest(self._store, image))
        layers = [layer.digest for layer in read.layers]
        return [Digest.parse(image.manifest), Digest.parse(image.id), *layers]


def read_manifest(store: BlobStore, image: Image) -> Manifest:
    """The image's manifest as stored."""
    data = store.document(Digest.parse(image.manifest))
    return manifest.parse_manifest(data, media_type=manifest.type_of(data))


class _Archive:
    """Writes one archive, in a thread."""

    def __init__(self, store: BlobStore, sink: FdWriter) -> None:
        self._store = store
        self._sink = sink
        self._written: set[Digest] = set()

    def write(self, choices: Sequence[_Choice], more: Sequence[Digest], *, docker: bool) -> None:
        self._directory("blobs")
        for algorithm in sorted({"sha256", *(digest.algorithm for digest in more)}):
            self._directory(f"blobs/{algorithm}")
        manifests = [(choice, read_manifest(self._store, choice.image)) for choice in choices]
        for choice, found in manifests:
            for digest in (
                *(layer.digest for layer in found.layers),
                found.config.digest,
                Digest.parse(choice.image.manifest),
            ):
                self._blob(digest)
        for digest in more:
            if self._store.path(digest).exists():  # an index may name what was not taken in
                self._blob(digest)
        self._file("index.json", manifest.encode_index(self._index(choices)))
        if docker:
            self._file("manifest.json", archive_docker.encode(_docker_entries(manifests)))
        self._file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        if docker:
            self._file("repositories", manifest.encode_json(_repositories(manifests)))
        self._sink.write(writer.END)

    def _index(self, choices: Sequence[_Choice]) -> Index:
        entries: list[Descriptor] = []
        for choice in choices:
            plain = [self._descriptor(Digest.parse(target)) for target in choice.targets]
            entries += map(_named, plain, choice.names) if choice.names else plain
        return Index(manifests=tuple(entries))

    def _descriptor(self, digest: Digest) -> Descriptor:
        return Descriptor(
            media_type=manifest.type_of(self._store.document(digest)),
            digest=digest,
            size=self._store.size(digest),
        )

    def _directory(self, name: str) -> None:
        member = Member(name=name.encode(), type=Type.DIRECTORY, mode=0o755)
        self._sink.write(writer.encode(member))

    def _file(self, name: str, data: bytes) -> None:
        member = Member(name=name.encode(), type=Type.FILE, mode=0o644, size=len(data))
        self._sink.write(writer.encode(member) + data + writer.padding(len(data)))

    def _blob(self, digest: Digest) -> None:
        if digest in self._written:
            return
        self._written.add(digest)
        size = self._store.size(digest)
        name = _path(digest).encode()
        self._sink.write(writer.encode(Member(name=name, type=Type.FILE, mode=0o644, size=size)))
        with self._store.open(digest) as file:
            while data := file.read(CHUNK):
                self._sink.write(data)
        self._sink.write(writer.padding(size))


def _named(descriptor: Descriptor, name: str) -> Descriptor:
    short = Reference.parse(name).familiar
    return replace(descriptor, annotations={FULL_NAME: name, REF_NAME: short})


def _path(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def _docker_entries(manifests: Sequence[tuple[_Choice, Manifest]]) -> list[dict[str, object]]:
    return [
        {
            "Config": _path(found.config.digest),
            "RepoTags": [Reference.parse(name).familiar for name in choice.names] or None,
            "Layers": [_path(layer.digest) for layer in found.layers],
        }
        for choice, found in manifests
    ]


def _repositories(manifests: Sequence[tuple[_Choice, Manifest]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for choice, read in manifests:
        top = read.layers[-1].digest.encoded if read.layers else read.config.digest.encoded
        for name in choice.names:
            reference = Reference.parse(name)
            found.setdefault(reference.familiar_name, {})[reference.tag] = top
    return found
