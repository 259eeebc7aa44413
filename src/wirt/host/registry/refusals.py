"""What a registry refuses; ``api/registry/errors.py`` gives each code its name on the wire."""

from __future__ import annotations

from wirt.errors import Conflict, Exhausted, Forbidden, Invalid, NotFound, WirtError


def unknown_blob(digest: object) -> NotFound:
    """The repository never got this blob, whatever other repositories have."""
    return NotFound(
        f"the repository has no blob {digest}",
        hint="push it first",
        code="registry.blob-unknown",
    )


def unknown_manifest(reference: str) -> NotFound:
    """No such tag or digest."""
    return NotFound(
        f"the repository has no manifest {reference[:140]}",
        hint="'wirt registry ls' lists what is there",
        code="registry.manifest-unknown",
    )


def unknown_name(name: str) -> NotFound:
    """Nothing was ever pushed there."""
    return NotFound(
        f"there is no repository {name}",
        hint="'wirt registry ls' lists what is there",
        code="registry.name-unknown",
    )


def unknown_upload() -> NotFound:
    """Finished, cancelled, somebody else's, or of an earlier life of the daemon."""
    return NotFound(
        "there is no such upload",
        hint="begin it again",
        code="registry.upload-unknown",
    )


def missing_part(digest: str) -> NotFound:
    """A manifest names a blob that its repository does not have."""
    return NotFound(
        f"the manifest names the blob {digest}, which the repository does not have",
        hint="push the blobs before the manifest",
        code="registry.manifest-blob-unknown",
    )


def bad_manifest(why: str) -> Invalid:
    """The manifest is not what it should be."""
    return Invalid(
        f"the manifest is refused: {why}",
        hint="push an OCI or Docker schema 2 manifest",
        code="registry.manifest-invalid",
    )


def bad_upload(why: str) -> Invalid:
    """A request about an upload contradicts itself."""
    return Invalid(f"the upload is refused: {why}", code="registry.upload-invalid")


def bad_digest(why: str) -> Invalid:
    """A digest that is malformed, or that the content does not have."""
    return Invalid(why, code="registry.digest-invalid")


def bad_size(why: str) -> Invalid:
    """More or fewer bytes than announced."""
    return Invalid(why, code="registry.size-invalid")


def out_of_order(offset: int) -> Conflict:
    """A chunk does not begin where the upload stands, or another one is being written."""
    return Conflict(
        f"the next chunk begins at byte {offset}",
        hint="send the chunks one after the other, in order",
        code="registry.out-of-order",
        offset=offset,
    )


def still_used(digest: str, manifest: str) -> WirtError:
    """A blob is part of a manifest of its repository."""
    return Conflict(
        f"the blob {digest} belongs to the manifest {manifest}",
        hint="delete the manifest first",
        code="registry.blob-in-use",
    )


def denied(what: str) -> Forbidden:
    """Logged in, but not allowed."""
    return Forbidden(
        f"you may not {what}",
        hint="the registry's policy says who may do what",
        code="registry.denied",
    )


def unauthorized(what: str) -> Forbidden:
    """Not logged in, or with what does not count."""
    return Forbidden(
        f"log in to {what}",
        hint="'wirt login' or 'docker login' with a user of the registry",
        code="registry.unauthorized",
    )


def too_many(what: str) -> Exhausted:
    """A limit that protects the others."""
    return Exhausted(
        f"too many {what}", hint="try again in a little while", code="registry.too-many"
    )


def too_large(limit: int) -> Exhausted:
    """A document beyond its limit."""
    return Exhausted(
        f"a manifest has at most {limit} bytes",
        hint="put the content into blobs",
        code="registry.too-large",
    )
