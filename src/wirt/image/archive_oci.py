"""The OCI image layout in a tar (image-layout.md of the OCI image specification)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from wirt.errors import Invalid
from wirt.image import catalog, document, platform
from wirt.image.archive import Archive, Bundle
from wirt.image.catalog import DOCUMENTS, Document
from wirt.image.document import MAX_DOCUMENT, refuse
from wirt.image.manifest import (
    Descriptor,
    Index,
    Manifest,
    check_image,
    is_image,
    parse_index,
)
from wirt.image.platform import Platform
from wirt.image.store import Upload
from wirt.model.image import Digest, Reference

REF_NAME = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"
MAX_DEPTH = 8
"""Indexes inside indexes; more is an attack."""


def bundles(archive: Archive, machine: Platform) -> tuple[Bundle, ...]:
    """The images of a layout for ``machine``, one for each entry of ``index.json``.

    An index brings everything that the layout has of it. An entry that is no image but speaks
    about one of them (a signature) comes with it.
    """
    marker = document.parse(archive.text(archive.get("oci-layout"), 4096), "oci-layout")
    version = document.string(marker, "imageLayoutVersion", "oci-layout")
    if version.split(".")[0] != "1":
        raise Invalid(f"the layout is of the unknown version {version[:20]!r}")
    index = parse_index(archive.text(archive.get("index.json"), MAX_DOCUMENT))
    names: dict[str, list[str]] = {}
    for entry in index.manifests:
        if entry.media_type not in DOCUMENTS:
            continue  # unknown types are no error (image-layout.md)
        names.setdefault(str(entry.digest), []).extend(_names(entry))
    entries = {str(entry.digest): entry for entry in index.manifests if str(entry.digest) in names}
    trees = {digest: _tree(archive, entry) for digest, entry in entries.items()}
    speakers = [digest for digest, tree in trees.items() if _speaks(tree)]
    found = {
        digest: _bundle(archive, tree, machine, tuple(dict.fromkeys(names[digest])))
        for digest, tree in trees.items()
        if digest not in speakers
    }
    _attach(found, [trees[digest] for digest in speakers])
    return tuple(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tree:
    """An entry with all that it names and the archive has; parts come before what names them."""

    top: Document
    documents: dict[Digest, Document]
    members: dict[Digest, Upload]


def _tree(archive: Archive, entry: Descriptor) -> _Tree:
    documents: dict[Digest, Document] = {}
    members: dict[Digest, Upload] = {}

    def walk(descriptor: Descriptor, depth: int) -> None:
        upload = blob(archive, descriptor)
        known = documents.get(descriptor.digest)
        if known is not None and known.media_type != descriptor.media_type:
            raise refuse("image index", f"{descriptor.digest} is announced as two different types")
        if descriptor.media_type in DOCUMENTS and known is None:
            if depth > MAX_DEPTH:
                raise Invalid(
                    f"the image's indexes are nested deeper than {MAX_DEPTH} levels",
                    code="image.malformed",
                )
            text = archive.text(upload, MAX_DOCUMENT)
            read = catalog.read(text, descriptor.digest, descriptor.media_type)
            for _, part in read.parts:
                if archive.find(_path(part)) is not None:
                    walk(part, depth + 1)
            documents[descriptor.digest] = read
        members[descriptor.digest] = upload

    walk(entry, 0)
    return _Tree(top=documents[entry.digest], documents=documents, members=members)


def _speaks(tree: _Tree) -> bool:
    """Whether an entry is no image itself but something about one."""
    content = tree.top.content
    return isinstance(content, Manifest) and content.subject is not None and not is_image(content)


def _attach(found: dict[str, Bundle], speakers: Sequence[_Tree]) -> None:
    """Give each referrer to a bundle that has its subject; what has none is no image."""
    waiting = list(speakers)
    while waiting:
        rest = [tree for tree in waiting if not _attached(found, tree)]
        if len(rest) == len(waiting):
            content = rest[0].top.content
            assert isinstance(content, Manifest)
            check_image(content)
        waiting = rest


def _attached(found: dict[str, Bundle], tree: _Tree) -> bool:
    subject = tree.top.content.subject
    assert subject is not None
    for name, bundle in found.items():
        if any(known.digest == subject.digest for known in bundle.documents):
            found[name] = replace(
                bundle,
                documents=(*bundle.documents, *tree.documents.values()),
                members=(*bundle.members, *tree.members.items()),
            )
            return True
    return False


def _names(entry: Descriptor) -> list[str]:
    """The references that an entry's annotations give: containerd's full one, or the spec's
    when it names more than a bare tag."""
    full = entry.annotations.get(FULL_NAME, "")
    short = entry.annotations.get(REF_NAME, "")
    if full:
        return [str(Reference.parse(full))]
    if "/" in short or ":" in short:
        return [str(Reference.parse(short))]
    return []


def _choose(tree: _Tree, machine: Platform) -> Document:
    """The manifest for this machine, through indexes inside indexes."""
    chosen = tree.top
    while isinstance(chosen.content, Index):
        candidates = [
            (entry.platform or Platform(), tree.documents[entry.digest])
            for entry in chosen.content.manifests
            if entry.digest in tree.documents
        ]
        _, chosen = platform.choose(candidates, machine, what=f"the image {chosen.digest}")
    return chosen


def _bundle(
    archive: Archive, tree: _Tree, machine: Platform, references: tuple[str, ...]
) -> Bundle:
    chosen = _choose(tree, machine)
    assert isinstance(chosen.content, Manifest)
    check_image(chosen.content)
    return Bundle(
        config=blob(archive, chosen.content.config),
        layers=tuple((blob(archive, layer), layer) for layer in chosen.content.layers),
        references=references,
        manifest=chosen,
        target=tree.top.digest,
        documents=tuple(tree.documents.values()),
        members=tuple(tree.members.items()),
    )


def _path(descriptor: Descriptor) -> str:
    return f"blobs/{descriptor.digest.algorithm}/{descriptor.digest.encoded}"


def blob(archive: Archive, descriptor: Descriptor) -> Upload:
    """The member with a descriptor's content. Raises Invalid when it has another size or digest."""
    upload = archive.get(_path(descriptor))
    if upload.size != descriptor.size:
        raise Invalid(
            f"the blob {descriptor.digest} has {upload.size} bytes instead of {descriptor.size}",
            hint="the archive is damaged or forged: get it again",
            code="blob.size",
        )
    if descriptor.digest not in upload.digests:
        raise Invalid(
            f"the content of the blob {descriptor.digest} is another: it has the digest "
            f"{upload.digest}",
            hint="the archive is damaged or forged: get it again",
            code="blob.digest",
        )
    return upload
