"""Ending what somebody has lost the right to: a look every few seconds at who is connected, and at once upon a hint.

Whoever is no longer who they were (signed out, deactivated, another password) is sent away and comes back as whoever
they are now. A subscription to which the right is gone ends, and the others go on.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Coroutine, Iterator, Mapping, Set
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from ..conf import conf
from ..engine.delivery.feed import Position
from ..engine.delivery.hub import current_hub
from ..engine.hinting.notices import handlers
from ..engine.outages import Outage
from ..engine.sockets.transports import Transport
from ..engine.storage.database import NoLog, reading
from ..engine.storage.threads import DatabaseThreads
from .signals import REVOKE
from .standing import Answers, Standing, identify, judge

T = TypeVar("T")

LOOK_EVERY = 3.0  # seconds; a right that is lost ends within five, with time to spare for a busy process
HINT_DELAY = 0.2  # seconds: Django tells of a sign-out before it deletes the session
IDENTIFIED_AT_ONCE = 200  # connections
JUDGED_AT_ONCE = 20  # connections: rules that ask for permissions take two queries a user
MAX_FAILURES = 3  # in a row, after which a look is given up
MAX_SPREAD = 1.0  # seconds: how far apart those who are sent away come back

looks_failing = Outage(
    "Who is connected and what they may do cannot be looked up, so nothing is ended",
    "Who is connected and what they may do can be looked up again",
)


class Guarded(Protocol):
    """A connection that may lose rights."""

    user: Any
    session: Any
    signed_names: Mapping[str, str]
    transport: Transport

    async def sign_out(self, after: float) -> None: ...
    async def revoke(self, position: Position, reason: str) -> None: ...


class Guard:
    """Looks after the connections of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.connections: set[Guarded] = set()
        self.looks = 0
        self._wake = asyncio.Event()
        self._hinted: set[str] = set()
        self._is_everyone_hinted = False
        self._signed_out: set[str] = set()
        self._looking: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[None]] = set()

    def add(self, connection: Guarded) -> None:
        self.connections.add(connection)
        if self._looking is None:
            self._looking = asyncio.create_task(self._run())

    def hint(self, users: frozenset[str] | None, signed_out: bool) -> None:
        """Looks soon at these users, known by their keys, or at everyone (None)."""
        if users is None:
            self._is_everyone_hinted = True
        else:
            self._hinted |= users
            self._signed_out |= users if signed_out else frozenset()
        self._wake.set()

    async def _run(self) -> None:
        try:
            due = self.loop.time() + LOOK_EVERY
            await self._listen()
            while self.connections:
                try:
                    async with asyncio.timeout_at(due):
                        await self._wake.wait()
                        await asyncio.sleep(HINT_DELAY)
                except TimeoutError:
                    self._is_everyone_hinted = True
                    due = self.loop.time() + LOOK_EVERY
                await self._look_at_hinted()
        finally:
            if guards.get(self.loop) is self:
                del guards[self.loop]

    async def _listen(self) -> DatabaseThreads:
        """Has the hub hear what other processes tell, and returns its threads; it may be another hub than before."""
        hub = current_hub()
        threads = await hub.threads()
        self._begin(hub.membership.hear_notices())
        return threads

    async def _look_at_hinted(self) -> None:
        self._wake.clear()
        everyone, hinted, signed_out = self._is_everyone_hinted, self._hinted, self._signed_out
        self._is_everyone_hinted, self._hinted, self._signed_out = False, set(), set()
        found = sorted((key_of(each.user), id(each), each) for each in self.connections)  # one user's side by side
        try:
            await self._look([each for key, _, each in found if everyone or key in hinted], signed_out)
        except NoLog:
            return
        except Exception as error:  # whatever it is, nobody loses anything by it, and the next look follows
            looks_failing.begins(error)
        else:
            looks_failing.ends()
        finally:
            self.looks += 1

    async def _look(self, connections: list[Guarded], signed_out: Set[str]) -> None:
        threads = await self._listen()
        answers: Answers = {}
        for some in slices(connections, IDENTIFIED_AT_ONCE):
            standings = [standing_of(each, key_of(each.user) in signed_out) for each in some]
            await threads.read(reading, partial(identify, standings))
            self._send_away([standing for standing in standings if standing.is_signed_out])
            for standing in standings:
                standing.connection.user = standing.user
            following = [standing for standing in standings if standing.followed and not standing.is_signed_out]
            await self._judge(following, answers, threads)

    async def _judge(self, standings: list[Standing], answers: Answers, threads: DatabaseThreads) -> None:
        """Ends what was lost. One whose rights cannot be looked up costs the others nothing; if none can, it raises."""
        waiting = deque(slices(standings, JUDGED_AT_ONCE))
        failures, failure = 0, None
        while waiting:
            some = waiting.popleft()
            try:
                await threads.read(reading, partial(judge, some, answers))
            except Exception as error:
                failures, failure = failures + 1, error
                if failures > MAX_FAILURES:
                    raise
                if len(some) > 1:
                    waiting.extendleft([each] for each in reversed(some))
                continue
            failures = 0
            for standing in some:
                for position, reason in standing.lost:
                    self._begin(standing.connection.revoke(position, reason))
        if failure is not None:
            raise failure

    def _send_away(self, gone: list[Standing]) -> None:
        for standing in gone:
            self.connections.discard(standing.connection)
            self._begin(standing.connection.sign_out(random.uniform(0, MAX_SPREAD)))

    def _begin(self, telling: Coroutine[Any, Any, None]) -> None:
        """Tells a client in a task of its own, for one that takes nothing must not hold up the others."""
        task = asyncio.create_task(telling)
        self._telling.add(task)
        task.add_done_callback(self._told)

    def _told(self, task: asyncio.Task[None]) -> None:
        self._telling.discard(task)
        if not task.cancelled():
            task.exception()  # the client is gone, and so is what it might have lost


def standing_of(connection: Guarded, has_signed_out_somewhere: bool = False) -> Standing:
    return Standing(
        connection=connection,
        user=connection.user,
        session=connection.session,
        followed=dict(connection.transport.positions),
        signed_names=dict(connection.signed_names),
        has_signed_out_somewhere=has_signed_out_somewhere,
    )


def slices(items: list[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def key_of(user: Any) -> str:
    """By what hints name a user; empty for guests."""
    return "" if user is None else str(user.pk)


guards: dict[asyncio.AbstractEventLoop, Guard] = {}


def look_after(connection: Guarded) -> None:
    """Has a connection looked after, in the event loop that runs, until ``let_go``."""
    loop = asyncio.get_running_loop()
    guard = guards.get(loop)
    if guard is None:
        for other in [other for other in guards if other.is_closed()]:
            del guards[other]
        guard = guards[loop] = Guard(loop)
    guard.add(connection)


def let_go(connection: Guarded) -> None:
    """Ends that; also for a connection that nobody looks after."""
    if guard := guards.get(asyncio.get_running_loop()):
        guard.connections.discard(connection)


def take(event: Mapping[str, Any]) -> None:
    """Passes a hint on to the guards of this process, from any thread."""
    users = event.get("users")
    if users is not None and not (isinstance(users, list) and all(isinstance(key, str) for key in users)):
        return
    named = None if users is None else frozenset(users)
    for loop, guard in list(guards.items()):
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(guard.hint, named, bool(event.get("signed_out")))


handlers[REVOKE] = take


def has_something_to_lose(user: Any, signed_name: str = "") -> bool:
    """Whether a connection must be looked after: guests in groups that are open to anyone need not."""
    return user is not None or bool(signed_name) or conf.POLICY is not None
