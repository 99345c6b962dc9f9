"""Revalidation: checks open connections every few seconds and on events, and ends what is no longer allowed.

Whoever is no longer who they were (signed out, deactivated, another password) is sent away and comes back as whoever
they are now. A subscription to which the right is gone ends, and the others go on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence, Set
from functools import partial
from typing import Any, Protocol, TypeVar

from ..conf import conf, user_settings
from ..engine.frames import UNAVAILABLE
from ..engine.hints.layer import CONTROL_GROUP
from ..engine.hub.position import Position
from ..engine.node import Node
from ..engine.slices import slices
from ..engine.storage.database import reading
from ..engine.storage.threads import DatabaseThreads
from ..engine.transports.transport import Transport
from ..exceptions import NoLog, Refused
from .fingerprints import Seen, may_go_unnoticed, rests_on_other_tables, see
from .sessions import signs_in
from .signals import REVOKE
from .signed_names import is_signed
from .snapshot import AccessSnapshot, CachedRefusals, find_lost, identify, snapshot_of

T = TypeVar("T")

PASS_SECONDS = 3.0  # seconds; a right that is lost ends within five, with time to spare for a busy process
EVENT_DELAY = 0.2  # seconds: Django tells of a sign-out before it deletes the session
SEEN_AT_ONCE = 500  # connections
JUDGED_AT_ONCE = 20  # connections: rules that ask for permissions take two queries a user
MAX_FAILURES = 3  # in a row, after which a pass is given up
MAX_UNJUDGED = 30.0  # seconds for which messages may go on to those of whom nobody can say whether they may have them
MAX_SPREAD = 1.0  # seconds: how far apart those who are sent away come back


class Revalidated(Protocol):
    """A connection that may lose rights."""

    user: Any
    session: Any
    signed_names: Mapping[str, str]
    transport: Transport

    async def sign_out(self, after: float) -> None: ...
    async def revoke(self, position: Position, refused: Refused) -> None: ...
    async def bye(self, code: int, reason: str, after: float | None) -> None: ...


class Revalidator:
    """Revalidates the connections of one node: a pass every few seconds, and at once upon an event."""

    def __init__(self, node: Node) -> None:
        self.connections: dict[Revalidated, str] = {}  # and the key of the session that signs each in, if there is one
        self._open_ended: set[Revalidated] = set()  # whose rights may go though neither user nor session changes
        self._unsettled: set[Revalidated] = set()  # that have come, or followed something else, since they were judged
        self._node = node
        self._system = node.process.system
        self._health = node.process.health.access
        self._wake = asyncio.Event()
        self._due: set[str] = set()  # keys of users
        self._is_everyone_due = False
        self._signed_out: set[str] = set()
        self._known: dict[Any, int] = {}  # fingerprints of the users as they were judged, by their keys
        self._rules: Any = None  # by which they were judged
        self._unjudged: dict[Revalidated, tuple[float, int]] = {}  # since when, and how far they were then
        self._running: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[None]] = set()
        node.control_handlers[REVOKE] = self.on_event

    def watch(self, connection: Revalidated, name: str = "") -> None:
        """Revalidates a connection until ``unwatch``. To be said again when it follows the group of a further name."""
        if connection not in self.connections:
            self.connections[connection] = connection.session.session_key if signs_in(connection.session) else ""
        self._unsettled.add(connection)
        if may_go_unnoticed(connection.user, name):
            self._open_ended.add(connection)
        if self._running is None:
            self._due, self._signed_out = set(), set()  # of connections that are gone
            self._running = asyncio.create_task(self._run())

    def note_writing(self, connection: Revalidated, group: str) -> None:
        """Has the user of a watched connection read anew in every pass if what it may write has sources of its own."""
        if connection in self.connections and rests_on_other_tables(group):
            self._open_ended.add(connection)

    def unwatch(self, connection: Revalidated) -> None:
        """Stops revalidating a connection; does nothing if it is not watched."""
        self.connections.pop(connection, None)
        self._open_ended.discard(connection)
        self._unsettled.discard(connection)
        self._unjudged.pop(connection, None)

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Has users, known by their keys, or everyone (None) judged soon; an event that is not sound is ignored."""
        users = event.get("users")
        if not self.connections:
            return  # whoever comes now is judged as they are now
        if users is None:
            self._is_everyone_due = True
            self._unsettled.update(self.connections)
        elif isinstance(users, list) and all(isinstance(key, str) for key in users):
            self._due.update(users)
            self._signed_out.update(users if event.get("signed_out") else ())
        else:
            return
        self._wake.set()

    async def _run(self) -> None:
        loop = self._node.loop
        due = loop.time() + PASS_SECONDS
        try:
            self._begin(self._node.receiver.join_control())
            while self.connections:
                try:
                    async with asyncio.timeout_at(due):
                        await self._wake.wait()
                        await asyncio.sleep(EVENT_DELAY)
                except TimeoutError:
                    self._is_everyone_due = True
                    due = loop.time() + PASS_SECONDS
                await self._pass()
            await self._node.receiver.discard(CONTROL_GROUP)
        finally:
            self._running = None
        if self.connections:  # one came while the group was left
            self.watch(next(iter(self.connections)))

    async def _pass(self) -> None:
        """Judges whoever is due."""
        self._wake.clear()
        everyone, due, signed_out = self._is_everyone_due, self._due, self._signed_out
        self._is_everyone_due, self._due, self._signed_out = False, set(), set()
        judged: set[Revalidated] = set()
        named = [each for each in self.connections if due and key_of(each.user) in due]
        self._unsettled.update(named)
        asked = list(self.connections) if everyone else named
        try:
            await self._revalidate(asked, signed_out, judged)
        except NoLog:
            return
        except Exception as error:  # whatever it is, nobody loses anything by it at once, and the next pass follows
            self._health.fail(error)
            self._note_unjudged([each for each in asked if each not in judged])
        else:
            self._health.recover()
        for each in self._unjudged.keys() & judged:
            del self._unjudged[each]

    def _note_unjudged(self, connections: list[Revalidated]) -> None:
        """Sends away who goes on receiving though for too long nobody could say whether they may.

        Where the log's own database is away nothing is received, so nobody goes.
        """
        now = self._node.loop.time()
        for connection in connections:
            since, place = self._unjudged.setdefault(connection, (now, place_of(connection)))
            if now - since > MAX_UNJUDGED and place_of(connection) > place and connection in self.connections:
                self.unwatch(connection)
                after = self._system.uniform(0, MAX_SPREAD)
                self._begin(connection.bye(UNAVAILABLE, "What you may see cannot be looked up right now.", after))

    async def _revalidate(self, connections: list[Revalidated], signed_out: Set[str], judged: set[Revalidated]) -> None:
        """Ends what was lost, and notes of whom it is known."""
        answers: CachedRefusals = {}
        if len(self._known) > 2 * len(self.connections):
            present = {each.user.pk for each in self.connections if each.user is not None}
            self._known = {key: known for key, known in self._known.items() if key in present}
        if self._rules is not (rules := user_settings()):
            self._rules = rules
            self._unsettled.update(self.connections)
            for each in self.connections:
                if any(may_go_unnoticed(each.user, name) for name in each.transport.positions):
                    self._open_ended.add(each)
        first_seen: dict[Any, int] = {}  # fingerprints; who changes meanwhile is judged again in the next pass
        every_due: list[Revalidated] = []
        try:
            for some in slices(connections, SEEN_AT_ONCE):
                seen = await self._see(some)
                first_seen = {**seen.users, **first_seen}
                due = [each for each in some if not self._is_as_judged(each, seen)]
                self._unsettled.difference_update(due)
                due.sort(key=lambda each: key_of(each.user))  # one user's side by side
                every_due += due
                judged.update(set(some).difference(due))
                if due:
                    await self._identify(due, seen.sessions, signed_out, answers, judged)
        finally:
            self._settle(every_due, {key_of(each.user) for each in connections if each not in judged}, first_seen)

    async def _see(self, some: Sequence[Revalidated]) -> Seen:
        threads = await self._node.database.threads()  # each time: the node closes those that nobody uses
        users = {each.user.pk: each.user for each in some if each.user is not None}
        held = [each.session for each in some if self.connections.get(each)]
        return await threads.read(reading, partial(see, users, held))

    def _is_as_judged(self, connection: Revalidated, seen: Seen) -> bool:
        """True if nothing has changed on which the rights of a connection rest."""
        user = connection.user
        if user is None or connection in self._unsettled or connection in self._open_ended:
            return False
        is_same = user.pk in seen.users and seen.users[user.pk] == self._known.get(user.pk)
        key = self.connections.get(connection, "")
        return is_same and (not key or key in seen.sessions)

    def _settle(self, due: list[Revalidated], left: Set[str], seen: Mapping[Any, int]) -> None:
        """Notes as what users were judged, each in all of their connections; whoever is left is judged again."""
        for each in due:
            if key_of(each.user) in left:
                if each in self.connections:
                    self._unsettled.add(each)
            elif each.user is not None and each.user.pk in seen:
                self._known[each.user.pk] = seen[each.user.pk]

    async def _identify(
        self,
        some: list[Revalidated],
        held: Set[str],
        signed_out: Set[str],
        answers: CachedRefusals,
        judged: set[Revalidated],
    ) -> None:
        """Ends what was lost by some, whose sessions are ``held`` where their keys are among these."""
        threads = await self._node.database.threads()
        snapshots = [snapshot_of(each, key_of(each.user) in signed_out) for each in some]
        await threads.read(reading, partial(identify, snapshots, held))
        self._send_away([snapshot for snapshot in snapshots if snapshot.is_signed_out])
        for snapshot in snapshots:
            snapshot.connection.user = snapshot.user
        judged.update(snapshot.connection for snapshot in snapshots if not snapshot.followed)
        following = [snapshot for snapshot in snapshots if snapshot.followed and not snapshot.is_signed_out]
        await self._judge(following, answers, threads, judged)

    async def _judge(
        self,
        snapshots: list[AccessSnapshot],
        answers: CachedRefusals,
        threads: DatabaseThreads,
        judged: set[Revalidated],
    ) -> None:
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
            judged.update(snapshot.connection for snapshot in some)
            for snapshot in some:
                for position, refused in snapshot.lost:
                    self._begin(snapshot.connection.revoke(position, refused))
        if failure is not None:
            raise failure

    def _send_away(self, gone: list[AccessSnapshot]) -> None:
        for snapshot in gone:
            self.unwatch(snapshot.connection)
            self._begin(snapshot.connection.sign_out(self._system.uniform(0, MAX_SPREAD)))

    def _begin(self, telling: Coroutine[Any, Any, None]) -> None:
        """Tells a client in a task of its own, for one that takes nothing must not hold up the others."""
        task = asyncio.create_task(telling)
        self._telling.add(task)
        task.add_done_callback(self._told)

    def _told(self, task: asyncio.Task[None]) -> None:
        self._telling.discard(task)
        if not task.cancelled():
            task.exception()  # the client is gone, and so is what it might have lost


def place_of(connection: Revalidated) -> int:
    """A number that grows with each message that a connection gets from the log."""
    return sum(position.offset for position in connection.transport.positions.values())


def key_of(user: Any) -> str:
    """The key by which events name a user; empty for guests."""
    return "" if user is None else str(user.pk)


def has_something_to_lose(user: Any, name: str = "") -> bool:
    """True if a connection must be revalidated: guests in groups that are open to anyone need not."""
    return user is not None or is_signed(name) or conf.POLICY is not None
