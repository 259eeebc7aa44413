"""From exceptions to :class:`~wirt.privileged.protocol.Failure` and back."""

from __future__ import annotations

import errno
import logging
from functools import cache
from typing import Any, ForwardRef, get_args, get_origin

import msgspec

from wirt.errors import BY_KIND, Internal, Kind, WirtError
from wirt.privileged import protocol
from wirt.privileged.protocol import Failure, Verb

log = logging.getLogger("wirt.privileged")

_FULL = {errno.ENOSPC, errno.EDQUOT}
_EXHAUSTED = {
    errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN,
}  # fmt: skip


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The JSON of an answer packet: a failure, or the verb's answer."""

    answer: msgspec.Raw = msgspec.Raw(b"null")
    failure: Failure | None = None


@cache
def answer_type(verb: type[Verb[Any]]) -> type[msgspec.Struct]:
    """The type named in ``class X(Verb[Answer])``."""
    for base in getattr(verb, "__orig_bases__", ()):
        if get_origin(base) is Verb:
            (found,) = get_args(base)
            name = found.__forward_arg__ if isinstance(found, ForwardRef) else found.__name__
            answer: type[msgspec.Struct] = getattr(protocol, name)
            return answer
    raise TypeError(f"{verb.__name__} does not name its answer")


@cache
def all_verbs() -> tuple[type[Verb[Any]], ...]:
    """Every verb of the protocol."""
    kinds = (value for value in vars(protocol).values() if isinstance(value, type))
    return tuple(k for k in kinds if issubclass(k, Verb) and k is not Verb)


@cache
def _decoder() -> msgspec.json.Decoder[Any]:
    verbs = all_verbs()
    union: Any = verbs[0]
    for verb in verbs[1:]:
        union = union | verb
    return msgspec.json.Decoder(union)


def unpack_verb(payload: bytes) -> Verb[Any]:
    """The verb of a request. Raises MsgspecError and UnicodeDecodeError for anything else."""
    verb: Verb[Any] = _decoder().decode(payload)
    return verb


def pack(answer: Any) -> bytes:
    """An answer or a failure as JSON."""
    if isinstance(answer, Failure):
        return msgspec.json.encode(Answer(failure=answer))
    return msgspec.json.encode(Answer(answer=msgspec.Raw(msgspec.json.encode(answer))))


def to_failure(error: BaseException) -> Failure:
    """What the daemon is told about an exception."""
    if isinstance(error, WirtError):
        message = "; ".join((error.message, *error.notes))
        return Failure(
            kind=error.kind.value, message=message, hint=error.hint or "", code=error.code
        )
    if isinstance(error, OSError) and error.errno is not None:
        kind = Kind.EXHAUSTED if error.errno in _EXHAUSTED else Kind.INTERNAL
        message = error.strerror or str(error)
        if error.filename is not None:
            message += f": {error.filename!s}"
        hint = "free some space; 'wirt df' shows what takes it here" if error.errno in _FULL else ""
        return Failure(kind=kind.value, message=message, hint=hint, errno=error.errno)
    log.error("a verb failed", exc_info=error)
    return Failure(kind=Kind.INTERNAL.value, message=f"{type(error).__name__}: {error}")


def to_error(failure: Failure) -> WirtError:
    """The exception to raise in the daemon; an errno is kept in ``facts["errno"]``."""
    try:
        kind = BY_KIND[Kind(failure.kind)]
    except ValueError:
        kind = Internal
    facts = {"errno": failure.errno} if failure.errno else {}
    return kind(failure.message, hint=failure.hint or None, code=failure.code or None, **facts)
