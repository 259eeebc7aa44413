"""Things that have happened. Nobody commands by event."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that has happened, in docker's vocabulary.

    ``sequence``: grows by one, never reused. ``time``: Unix nanoseconds. ``type``: ``guest``,
    ``image``, ``network``, ``volume``, ``group``, ``daemon``. ``action``: ``create``, ``start``,
    ``die``, ``oom``, ``health_status: healthy``... ``subject``: the id or name it happened to.
    ``attributes``: names and figures such as ``name``, ``image``, ``exitCode``.
    """

    sequence: int
    time: int
    type: str
    action: str
    subject: str
    attributes: dict[str, str] = field(default_factory=dict)
