"""The store of blobs: whole or not there, and never taken away from who holds a lease."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from wirt.errors import Invalid, NotFound
from wirt.image.store import BlobStore
from wirt.model.image import Digest


def digest_of(data: bytes, name: str = "sha256") -> Digest:
    return Digest(name, hashlib.new(name, data).hexdigest())


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    made = BlobStore(tmp_path / "blobs", tmp_path / "uploads")
    made.open_store()
    return made


def test_what_is_put_is_there(store: BlobStore) -> None:
    with store.lease() as lease:
        digest = store.put(b"data", lease)
        assert store.put(b"data", lease) == digest == digest_of(b"data")
    assert store.document(digest) == b"data"
    assert store.size(digest) == 4
    with store.open(digest) as file:
        assert file.read() == b"data"


def test_content_must_be_what_was_announced(store: BlobStore) -> None:
    with store.lease() as lease:
        for digest, size, code in (
            (digest_of(b"other"), 4, "blob.digest"), (digest_of(b"data"), 5, "blob.size"),
        ):  # fmt: skip
            with store.upload() as upload:
                upload.write(b"data")
                with pytest.raises(Invalid) as failure:
                    store.commit(upload, lease, digest=digest, size=size)
                assert failure.value.code == code
        with pytest.raises(NotFound):
            store.open(digest_of(b"data"))
        with store.upload(algorithms=("sha512",)) as upload:
            upload.write(b"data")
            wanted = digest_of(b"data", "sha512")
            assert store.commit(upload, lease, digest=wanted) == wanted


def test_uploads_are_bounded_and_vanish(store: BlobStore, tmp_path: Path) -> None:
    with store.upload(limit=10) as upload, pytest.raises(Invalid):
        upload.write(bytes(11))
    with store.upload() as upload:
        upload.write(b"x")
    assert list((tmp_path / "uploads").iterdir()) == []
    (tmp_path / "uploads" / "left").touch()
    store.open_store()
    assert list((tmp_path / "uploads").iterdir()) == []


def test_a_lease_keeps_a_blob(store: BlobStore) -> None:
    with store.lease() as outer:
        with store.lease() as inner:
            digest = store.put(b"data", inner)
            outer.hold(digest)
        with store.collection() as collection:
            assert collection.remove(digest) is False
    with store.collection() as collection, store.lease() as lease:
        lease.hold(digest)
        lease.end()
        assert collection.remove(digest) is False, "whoever held it may have just noted it"
    assert [found for found, _ in store.all()] == [digest]
    with store.collection() as collection:
        assert collection.remove(digest) is True
        assert collection.remove(digest) is True
    assert list(store.all()) == []


def test_a_damaged_document_is_noticed(store: BlobStore) -> None:
    with store.lease() as lease:
        digest = store.put(b"data", lease)
    store.path(digest).write_bytes(b"date")
    with pytest.raises(Invalid, match="damaged"):
        store.document(digest)
