"""The consumer: one WebSocket connection. It is greeted, receives its groups' messages, and its frames are answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

from channels.consumer import AsyncConsumer
from django.utils.translation import gettext_noop

from .access.addresses import address_in
from .access.identity import draft_by, is_signed_in, name_of
from .access.limits import ConnectionLimits, flooded, subject, take_message
from .access.origins import accepts_handshake
from .access.policy import Action
from .access.refusals import arequire, reload_user
from .access.revalidation import Revalidator, has_something_to_lose
from .access.sentences import told
from .access.sessions import unwrapped
from .access.signed_names import is_signed, plain_name
from .engine import commands
from .engine.commands import Command, Publish, Subscribe, Unsubscribe, dialect_in, name_in, position_in, query_in
from .engine.frames import (
    FLOODING,
    FORBIDDEN,
    RESTARTING,
    TOO_MANY_BAD_FRAMES,
    TOO_MANY_CONNECTIONS,
    UNAVAILABLE,
    USER_CHANGED,
    Dialect,
    Fields,
    bye_fields,
    error_fields,
    welcome_fields,
)
from .engine.hub.position import Position
from .engine.inbox import MAX_LAG, PONG_SECONDS, Inbox, Outcome
from .engine.process import current_process
from .engine.questions import Questions
from .engine.storage.records import Draft
from .engine.throttle import TokenBucket
from .engine.transports.connect import transport_for
from .engine.transports.pacing import FLOODED, Receive, paced
from .exceptions import LogUnavailable, Refused, refused_for
from .groups import DEFAULT_GROUP

CANNOT_READ = gettext_noop("Messages cannot be read right now. Try again.")
MAX_STRIKES = 20  # bad or refused frames in a row
RECHECKS_PER_SECOND, RECHECKS_AT_ONCE = 1.0, 3  # by one connection, for a right that its user may have been given

T = TypeVar("T")

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class BroadcastConsumer(AsyncConsumer):  # type: ignore[misc]
    """Greets each client, relays what it says to everyone in the group, and delivers what others say.

    It works with a bare ASGI scope, and with what session and authentication middleware and a URL
    router add to it. Bad input gets an ``error`` frame and costs nobody else anything. A subclass
    may set ``group``, the group joined where the address names none, and ``greeting``.
    """

    group = DEFAULT_GROUP
    greeting = "Welcome!"
    signed_names: Mapping[str, str] = MappingProxyType({})  # by which groups were joined
    named: tuple[Any, str] = (None, "")  # a user and their public name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        if not accepts_handshake(scope):
            await send({"type": "websocket.close", "code": FORBIDDEN})
            return
        with current_process().node() as self.node:
            self.begin(scope, send)
            try:
                with suppress(OSError):  # the client went away while it was written to
                    await self.listen(scope, receive)
                self.closing = True
                self.transport.unfollow_all()
                await self.inbox.finish()
            finally:
                self.closing = True  # also where it was cancelled: nobody has anything more to tell
                self.inbox.cancel()
                del self.inbox  # it and this consumer would keep each other
                self.limits.leave()
                if self.transport.drain is not None:
                    self.transport.drain.connections.discard(self)
                self.node.part(Revalidator).unwatch(self)
                await self.transport.close()

    # Connecting

    def begin(self, scope: Scope, send: Send) -> None:
        user = scope.get("user")
        self.user: Any = user if is_signed_in(user) else None
        self.session: Any = unwrapped(scope.get("session"))
        self.strikes = 0
        self.closing = False
        self.group = plain_name(name_in(scope, self.group))
        self.joins_nothing = commands.joins_nothing(query_in(scope))
        self.transport = transport_for(self.node, send, dialect_in(scope, query_in(scope)))
        self.limits = ConnectionLimits(self.node.process, subject(self.user, address_in(scope)))
        self.inbox = Inbox(self.node, self.acknowledge)
        self._send = send

    async def accept(self, scope: Scope) -> None:
        await self._send({"type": "websocket.accept", "subprotocol": commands.subprotocol_in(scope)})
        if self.transport.drain is not None:
            self.transport.drain.connections.add(self)
        if has_something_to_lose(self.user):
            self.node.part(Revalidator).watch(self)

    async def join(self, scope: Scope) -> None:
        """Takes one of the user's places, and subscribes to the group of the address, if there is one; or goes."""
        code = TOO_MANY_CONNECTIONS
        try:
            self.limits.enter()
            code = UNAVAILABLE
            if not self.joins_nothing:
                await self.subscribe(name_in(scope, self.group), *position_in(query_in(scope)))
        except Refused as error:
            code = FORBIDDEN if error.retry_after is None else code
            await self.bye(code, told(error, self.user), error.retry_after)

    async def subscribe(self, name: str, after: int | None, epoch: str) -> None:
        """Joins a group at a position and says so; whatever comes later follows the welcome."""
        self.limits.take_group(plain_name(name), self.transport.positions)
        group = await self.require("subscribe", name)
        try:
            user = await name_of(self)
            position, recovered = await self.node.hub.join(self.transport, group, after, epoch)
        except LogUnavailable as error:
            raise refused_for(error, CANNOT_READ) from None
        try:
            await self.transport.leave(group)
            self.note_name(group, name)
            if not self.closing:
                await self.transport.write(self.welcome(position, recovered, user))
        except BaseException:
            position.leave()
            raise
        if self.closing:  # the client was told to go meanwhile
            position.leave()
            return
        self.transport.follow(position)
        if has_something_to_lose(self.user, name):
            self.node.part(Revalidator).watch(self, name)

    def welcome(self, position: Position, recovered: bool, user: str | None) -> Fields:
        offset = position.offset if position.stream.is_logged else None
        return welcome_fields(position.stream.name, position.epoch, offset, recovered, user, self.greeting)

    def note_name(self, group: str, name: str) -> None:
        """Keeps a signed name for as long as its group is followed: it has to hold until then."""
        kept = {key: each for key, each in self.signed_names.items() if key in self.transport.positions}
        if is_signed(name):
            kept[group] = name
        if kept or self.signed_names:
            self.signed_names = kept

    # Gaining and losing

    @cached_property
    def recheck_bucket(self) -> TokenBucket:
        return TokenBucket(RECHECKS_PER_SECOND, RECHECKS_AT_ONCE, self.node.process.system.monotonic)

    async def require(self, action: Action, name: str) -> str:
        """The group of ``name``, if the user may; after a refusal asked once more, for the user as they are by now.

        Not if that comes too often. Raises Refused.
        """
        try:
            return await arequire(self.read, self.user, action, name)
        except Refused as error:
            if error.code != "forbidden" or self.user is None or self.recheck_bucket.take():
                raise
        self.user = await reload_user(self.read, self.user)
        return await arequire(self.read, self.user, action, name)

    async def read(self, question: Callable[[], T], /) -> T:
        """Asks the database in the node's threads, with what others ask. Raises LogUnavailable."""
        return await self.node.part(Questions).ask(question)

    async def sign_out(self, after: float) -> None:
        """Sends the client away because its user is no longer signed in as before; it comes back as whoever it is."""
        if not self.closing:
            self.inbox.cancel()
            await self.bye(USER_CHANGED, "You are no longer signed in as you were.", after)

    async def revoke(self, position: Position, refused: Refused) -> None:
        """Ends one subscription and says so; the connection goes on, unless that was all it was for."""
        if self.closing or not self.transport.is_following(position):
            return
        group = position.stream.name
        await self.transport.leave(group)
        reason = told(refused, self.user)
        if self.transport.positions or self.joins_nothing:
            await self.transport.write(error_fields(Refused(reason, refused.code, group=group), reason))
        else:
            await self.bye(FORBIDDEN, reason, after=None)

    # Leaving

    async def bye(self, code: int, reason: str, after: float | None) -> None:
        """Tells the client why it has to go, and in how many seconds to come back, if at all; then closes. Once."""
        if self.closing:
            return
        self.closing = True
        self.transport.unfollow_all()
        if self.transport.dialect is not Dialect.PLAIN:
            await self.transport.write(bye_fields(code, reason, after))
        await self.transport.disconnect(code)

    async def go_away(self, after: float) -> None:
        """Sends the client away because this process ends: it comes back to another ``after`` seconds later."""
        await self.bye(RESTARTING, "The server restarts.", after)

    # Listening

    async def listen(self, scope: Scope, receive: Receive) -> None:
        """Serves the client until it goes or is told to."""
        await self.accept(scope)
        await self.join(scope)
        receive = receive if self.transport.is_metered else paced(receive)
        while not self.closing:
            event = await receive()
            if event["type"] == FLOODED:
                await self.bye(FLOODING, told(flooded(), self.user), after=None)
            if self.closing or event["type"] != "websocket.receive":
                return
            await self.answer(event.get("text"))

    async def answer(self, text: str | None) -> None:
        """Does what a frame asks for; whatever is wrong with it is said to this client alone."""
        try:
            self.limits.take_frame(text)
            asked = commands.command(text)
            await self.perform(asked, len(text or ""))
        except Refused as error:
            await self.refuse(error)
        else:
            if not isinstance(asked, Publish):  # of which it is not known yet
                self.strikes = max(0, self.strikes - 1)  # a ping does not make up for everything

    async def refuse(self, error: Refused) -> None:
        self.strikes += is_strike(error)
        await self.transport.write(error_fields(error, told(error, self.user)))
        if self.strikes >= MAX_STRIKES:
            await self.bye(TOO_MANY_BAD_FRAMES, f"{MAX_STRIKES} frames in a row were not acceptable.", after=None)

    async def perform(self, asked: Command, size: int) -> None:
        """Does what was asked for, in the order in which it came; a refusal names the message or the group."""
        try:
            match asked:
                case Publish():
                    group = await self.require("publish", asked.group or self.group)
                    self.node.part(Revalidator).note_writing(self, group)
                    take_message(self.limits.whom)
                    await self.inbox.put(draft_by(self.user, asked, group, await name_of(self)), size)
                case Subscribe():
                    await self.inbox.settle()
                    await self.subscribe(asked.name, asked.after, asked.epoch)
                case Unsubscribe():
                    await self.inbox.wait(MAX_LAG)
                    await self.transport.leave(asked.group)
                case _:  # a Ping
                    await self.inbox.wait(PONG_SECONDS)
                    await self.transport.write({"type": "pong"})
        except Refused as error:
            if isinstance(asked, Publish):
                error.ref = asked.ref
            if isinstance(asked, Subscribe):
                error.group = plain_name(asked.name)
            raise

    async def acknowledge(self, draft: Draft, outcome: Outcome) -> None:
        """Says what became of a message, where the client does not hear it as everybody does."""
        with suppress(OSError):
            if self.closing:
                return
            if isinstance(outcome, Refused):
                await self.refuse(outcome)
            elif isinstance(outcome, Exception):
                self.closing = True
                await self.transport.fail(outcome)
            else:
                self.strikes = 0
                await self.transport.acknowledge(outcome, draft.has_client_ref)


def is_strike(error: Refused) -> bool:
    """True if an error counts towards MAX_STRIKES: a refused subscription does not, nor does a log that is away."""
    return error.code != "unavailable" and not (error.code == "forbidden" and error.group is not None)
