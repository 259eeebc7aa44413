"""The event bus. ``publish`` never waits; a slow reader loses the oldest and is told so.

Events are kept in a ring in the database, so ``since=`` works across restarts of the daemon.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from wirt.aio import Nursery
from wirt.model.event import Event
from wirt.state.events import EventTable

QUEUE_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class Lagged:
    """A reader was too slow: ``missed`` events are gone from its queue."""

    missed: int


class Listener:
    """A bounded private queue of events; iterate it."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._missed = 0
        self._wake = asyncio.Event()

    def push(self, event: Event) -> None:
        """Append, dropping the oldest when full."""
        if len(self._events) >= QUEUE_LENGTH:
            self._events.popleft()
            self._missed += 1
        self._events.append(event)
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Event | Lagged]:
        while True:
            while self._missed or self._events:
                if self._missed:
                    missed, self._missed = self._missed, 0
                    yield Lagged(missed)
                if self._events:
                    yield self._events.popleft()
            self._wake.clear()
            await self._wake.wait()


class Bus:
    """Numbers, stores and fans out events."""

    def __init__(self, table: EventTable, nursery: Nursery) -> None:
        self._table = table
        self._nursery = nursery
        self._listeners: set[Listener] = set()
        self._sequence = 0
        self._unsaved: list[Event] = []
        self._saving: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Continue after the last stored number."""
        self._sequence = await self._table.last()

    def publish(self, kind: str, action: str, subject: str, **attributes: str) -> Event:
        """Tell everyone that something has happened. ``kind`` is docker's event type."""
        self._sequence += 1
        event = Event(
            sequence=self._sequence,
            time=time.time_ns(),
            type=kind,
            action=action,
            subject=subject,
            attributes=attributes,
        )
        for listener in self._listeners:
            listener.push(event)
        self._unsaved.append(event)
        if self._saving is None:
            self._saving = self._nursery.start(self._save(), name="save events")
        return event

    async def _save(self) -> None:
        try:
            while self._unsaved:
                batch, self._unsaved = self._unsaved, []
                await self._table.add(batch)
        finally:
            self._saving = None

    @contextmanager
    def listener(self) -> Iterator[Listener]:
        """A private queue, opened before the action whose events are wanted."""
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    async def history(self, since: int, until: int) -> list[Event]:
        """Stored events with ``since <= time < until`` (Unix nanoseconds), and unsaved ones."""
        unsaved = [event for event in self._unsaved if since <= event.time < until]
        stored = await self._table.between(since, until)
        last = stored[-1].sequence if stored else 0
        return stored + [event for event in unsaved if event.sequence > last]
