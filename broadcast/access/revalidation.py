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
from ..engine.health import Health
from ..engine.hints.receiver import handlers
from ..engine.hub.hub import current_hub
from ..engine.hub.stream import Position
from ..engine.storage.database import reading
from ..engine.storage.threads import DatabaseThreads
from ..engine.transports.asgi import Transport
from ..exceptions import NoLog
from .signals import REVOKE
from .snapshot import AccessSnapshot, CachedRefusals, find_lost, identify

T = TypeVar("T")

LOOK_EVERY = 3.0  # seconds; a right that is lost ends within five, with time to spare for a busy process
HINT_DELAY = 0.2  # seconds: Django tells of a sign-out before it deletes the session
IDENTIFIED_AT_ONCE = 200  # connections
JUDGED_AT_ONCE = 20  # connections: rules that ask for permissions take two queries a user
MAX_FAILURES = 3  # in a row, after which a look is given up
MAX_SPREAD = 1.0  # seconds: how far apart those who are sent away come back

looks_failing = Health(
    "Who is connected and what they may do cannot be looked up, so nothing is ended",
    "Who is connected and what they may do can be looked up again",
)


class Revalidated(Protocol):
    """A connection that may lose rights."""

    user: Any
    session: Any
    signed_names: Mapping[str, str]
    transport: Transport

    async def sign_out(self, after: float) -> None: ...
    async def revoke(self, position: Position, reason: str) -> None: ...


class Revalidator:
    """Looks after the connections of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.connections: set[Revalidated] = set()
        self.looks = 0
        self._wake = asyncio.Event()
        self._hinted: set[str] = set()
        self._is_everyone_hinted = False
        self._signed_out: set[str] = set()
        self._looking: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[None]] = set()

    def add(self, connection: Revalidated) -> None:
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
            if revalidators.get(self.loop) is self:
                del revalidators[self.loop]

    async def _listen(self) -> DatabaseThreads:
        """Has the hub hear what other processes tell, and returns its threads; it may be another hub than before."""
        hub = current_hub()
        threads = await hub.threads()
        self._begin(hub.membership.join_control())
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
            looks_failing.fail(error)
        else:
            looks_failing.recover()
        finally:
            self.looks += 1

    async def _look(self, connections: list[Revalidated], signed_out: Set[str]) -> None:
        threads = await self._listen()
        answers: CachedRefusals = {}
        for some in slices(connections, IDENTIFIED_AT_ONCE):
            snapshots = [snapshot_of(each, key_of(each.user) in signed_out) for each in some]
            await threads.read(reading, partial(identify, snapshots))
            self._send_away([snapshot for snapshot in snapshots if snapshot.is_signed_out])
            for snapshot in snapshots:
                snapshot.connection.user = snapshot.user
            following = [snapshot for snapshot in snapshots if snapshot.followed and not snapshot.is_signed_out]
            await self._judge(following, answers, threads)

    async def _judge(self, snapshots: list[AccessSnapshot], answers: CachedRefusals, threads: DatabaseThreads) -> None:
        """Ends what was lost. One whose rights cannot be looked up costs the others nothing; if none can, it raises."""
        waiting = deque(slices(snapshots, JUDGED_AT_ONCE))
        failures, failure = 0, None
        while waiting:
            some = waiting.popleft()
            try:
                await threads.read(reading, partial(find_lost, some, answers))
            except Exception as error:
                failures, failure = failures + 1, error
                if failures > MAX_FAILURES:
                    raise
                if len(some) > 1:
                    waiting.extendleft([each] for each in reversed(some))
                continue
            failures = 0
            for snapshot in some:
                for position, reason in snapshot.lost:
                    self._begin(snapshot.connection.revoke(position, reason))
        if failure is not None:
            raise failure

    def _send_away(self, gone: list[AccessSnapshot]) -> None:
        for snapshot in gone:
            self.connections.discard(snapshot.connection)
            self._begin(snapshot.connection.sign_out(random.uniform(0, MAX_SPREAD)))

    def _begin(self, telling: Coroutine[Any, Any, None]) -> None:
        """Tells a client in a task of its own, for one that takes nothing must not hold up the others."""
        task = asyncio.create_task(telling)
        self._telling.add(task)
        task.add_done_callback(self._told)

    def _told(self, task: asyncio.Task[None]) -> None:
        self._telling.discard(task)
        if not task.cancelled():
            task.exception()  # the client is gone, and so is what it might have lost


def snapshot_of(connection: Revalidated, has_signed_out_somewhere: bool = False) -> AccessSnapshot:
    return AccessSnapshot(
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


revalidators: dict[asyncio.AbstractEventLoop, Revalidator] = {}


def watch_access(connection: Revalidated) -> None:
    """Has a connection looked after, in the event loop that runs, until ``unwatch_access``."""
    loop = asyncio.get_running_loop()
    guard = revalidators.get(loop)
    if guard is None:
        for other in [other for other in revalidators if other.is_closed()]:
            del revalidators[other]
        guard = revalidators[loop] = Revalidator(loop)
    guard.add(connection)


def unwatch_access(connection: Revalidated) -> None:
    """Ends that; also for a connection that nobody looks after."""
    if guard := revalidators.get(asyncio.get_running_loop()):
        guard.connections.discard(connection)


def take(event: Mapping[str, Any]) -> None:
    """Passes a hint on to the guards of this process, from any thread."""
    users = event.get("users")
    if users is not None and not (isinstance(users, list) and all(isinstance(key, str) for key in users)):
        return
    named = None if users is None else frozenset(users)
    for loop, guard in list(revalidators.items()):
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(guard.hint, named, bool(event.get("signed_out")))


handlers[REVOKE] = take


def has_something_to_lose(user: Any, signed_name: str = "") -> bool:
    """Whether a connection must be looked after: guests in groups that are open to anyone need not."""
    return user is not None or bool(signed_name) or conf.POLICY is not None
