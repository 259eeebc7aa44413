"""Put the world right when the daemon starts: adopt what runs, bury what ended, undo what is half.

Found / result, for each stored guest:

- other boot id than at its last start: the host was rebooted; down, its restart policy decides
- its keeper answers and has started it: adopted, running (or paused)
- its keeper answers but waits for START: the start was cut short; undone
- its keeper holds its socket but does not answer: the host is slow, or the keeper stopped; it is
  asked again until it answers or is gone, and its guest runs on meanwhile
- an exit record: ended while we were away; finished with its true code and time
- neither, but it should run: its keeper was killed; put down, code 137
- state REMOVING: removal goes on

What no stored guest owns is swept away by the helper.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from wirt.aio import Nursery
from wirt.engine.protocol import Exit
from wirt.errors import NotFound, Unavailable, WirtError
from wirt.guest.keeper import SLOW
from wirt.host.finish import Finish, noted_exit
from wirt.host.health import Health
from wirt.host.insist import insist
from wirt.host.launch import Launch, boot_id
from wirt.host.remove import Remove
from wirt.host.restart import FIRST_DELAY, LONGEST_DELAY, wanted_at_boot
from wirt.host.roster import Roster
from wirt.host.running import ANSWER_SECONDS, Live, Running
from wirt.layout import Layout
from wirt.model.guest import Guest, GuestState
from wirt.privileged.client import Helper
from wirt.privileged.protocol import ReleaseGuest

log = logging.getLogger("wirt.adopt")

SLOW_SECONDS = 30.0
"""How long a slow keeper may take to answer when it is asked again."""
SLOW_PAUSE = 1.0

SHOULD_RUN = frozenset({GuestState.RUNNING, GuestState.PAUSED})


class Adopt:
    """One pass over all guests before the socket is opened."""

    def __init__(
        self,
        *,
        layout: Layout,
        roster: Roster,
        running: Running,
        finish: Finish,
        remove: Remove,
        helper: Helper,
        health: Health,
    ) -> None:
        self._layout = layout
        self._roster = roster
        self._running = running
        self._finish = finish
        self._remove = remove
        self._helper = helper
        self._health = health
        self._slow: dict[str, Guest] = {}

    def slow(self) -> tuple[str, ...]:
        """Ids of guests whose keepers have yet to answer."""
        return tuple(self._slow)

    def go_on(self, nursery: Nursery) -> None:
        """Ask slow keepers again, each in a task of its own, while requests are answered."""
        for guest in tuple(self._slow.values()):
            nursery.start(self._patiently(guest), name=f"adopt {guest.name}")

    async def _patiently(self, guest: Guest) -> None:
        """Until its keeper answers or is gone, or somebody has done something about the guest."""
        this_boot = boot_id()
        try:
            while guest.id in self._slow:
                log.warning("the keeper of guest %s does not answer yet", guest.name)
                await asyncio.sleep(SLOW_PAUSE)
                now = next((g for g in self._roster.all() if g.id == guest.id), None)
                if now is None or now.status != guest.status:
                    return
                del self._slow[guest.id]
                await self._adopt(now, this_boot, timeout=SLOW_SECONDS)
        finally:
            self._slow.pop(guest.id, None)

    async def adopt_all(self) -> None:
        """Bring every stored guest into a state that is true; one guest's fault stops no other."""
        this_boot = boot_id()
        for guest in tuple(self._roster.all()):
            try:
                await self._adopt(guest, this_boot)
            except Exception:
                log.exception("guest %s could not be adopted", guest.name)

    async def _adopt(
        self, guest: Guest, this_boot: str, *, timeout: float = ANSWER_SECONDS
    ) -> None:
        if guest.status.state is GuestState.REMOVING:
            await self._remove.remove(guest)
            return
        should_run = guest.status.state in SHOULD_RUN
        if should_run and guest.boot_id and guest.boot_id != this_boot:
            await self._end(guest, Exit(code=255, time=0, error="the host was restarted"))
            return
        if self._layout.guest_run(guest.id).is_dir():
            live = await self._connect(guest, timeout)
            if guest.id in self._slow:
                return
            if live is not None:
                await self._take_up(guest, live)
                return
        elif not should_run:
            await self._tidy(guest)
            return
        ending = self._finish.read_exit(guest.id)
        if ending is None and should_run:
            ending = noted_exit(guest)
        if ending is not None or should_run:
            await self._end(guest, ending)
        else:
            await self._undo_start(guest)

    async def _connect(self, guest: Guest, timeout: float) -> Live | None:
        try:
            return await self._running.connect(guest, timeout=timeout)
        except Unavailable as error:
            if error.code == SLOW:
                self._slow[guest.id] = guest
            return None

    async def _take_up(self, guest: Guest, live: Live) -> None:
        """A keeper answers: its word decides."""
        hello = live.keeper.hello
        state = hello.get("state", [""])[0]
        if hello.get("id") != [guest.id] or state == "waiting":
            await self._running.drop(guest.id)
            await self._undo_start(guest)
            return
        if state == "exited":
            await self._running.drop(guest.id)
            ending = self._finish.read_exit(guest.id)
            await self._end(guest, ending or Exit(code=int(hello.get("code", ["255"])[0])))
            return
        async with self._roster.locks.hold(guest.id):  # it may end in this very moment
            if guest.status.state not in SHOULD_RUN:
                # START was given, but the daemon died before it could note it
                status = replace(
                    guest.status,
                    state=GuestState.RUNNING,
                    pid=int(hello["pid"][0]),
                    started_at=int(hello["started"][0]),
                    exit_code=0,
                    error="",
                    stopped_by_user=False,
                )
                guest = replace(guest, status=status, boot_id=boot_id())
                await self._roster.save(guest)
            elif guest.status.state is GuestState.PAUSED and not guest.status.asleep:
                await self._freeze_again(guest, live)
        self._health.watch(guest)
        log.info("guest %s is running, adopted", guest.name)

    @staticmethod
    async def _freeze_again(guest: Guest, live: Live) -> None:
        """A pause is noted before it is carried out."""
        try:
            await live.handle.freeze(True)
        except WirtError as error:
            log.warning("guest %s may not be frozen: %s", guest.name, error)

    async def _end(self, guest: Guest, ending: Exit | None) -> None:
        """Finish as if we had watched; ``ending`` None: nobody knows how it ended."""
        if guest.status.state not in SHOULD_RUN:
            running = replace(guest.status, state=GuestState.RUNNING, stopped_by_user=False)
            guest = replace(guest, status=running)
            await self._roster.save(guest)
        await self._finish.bury(guest.id, ending)

    async def _undo_start(self, guest: Guest) -> None:
        """A start was cut short; whoever asked for it was told so. A guest that was to vanish at
        its end vanishes now, even if it never began."""
        await insist(self._helper, ReleaseGuest(id=guest.id))
        if guest.spec.remove_on_exit:
            await self._remove.remove(guest)

    async def _tidy(self, guest: Guest) -> None:
        """A guest that is down: remove it when it was to vanish at its end."""
        if guest.status.state is GuestState.EXITED and guest.spec.remove_on_exit:
            await self._remove.remove(guest)


class Revive:
    """Starts guests again: after a delay, or those that should be up when the daemon starts."""

    def __init__(self, *, roster: Roster, launch: Launch, nursery: Nursery) -> None:
        self._roster = roster
        self._launch = launch
        self._nursery = nursery

    def all(self) -> None:
        """Start every guest whose policy wants it up and which is down."""
        for guest in self._roster.all():
            waiting = guest.status.state is GuestState.RESTARTING
            down = guest.status.state is GuestState.EXITED
            if waiting or (down and wanted_at_boot(guest)):
                self._nursery.start(self.later(guest, 0.0), name=f"revive {guest.name}")

    async def later(self, guest: Guest, delay: float) -> None:
        """Start a guest after ``delay`` seconds unless anything has become of it meanwhile.

        While the helper or the keeper does not answer the guest stays RESTARTING and is tried
        again, ever more seldom.
        """
        while True:
            await asyncio.sleep(delay)
            try:
                await self._launch.start(guest, again=True)
                return
            except WirtError as error:
                log.warning("guest %s could not be started again: %s", guest.name, error)
            try:
                guest = self._roster.get(guest.id)
            except NotFound:
                return
            if guest.status.state is not GuestState.RESTARTING:
                return
            delay = min(max(2 * delay, FIRST_DELAY), LONGEST_DELAY)
