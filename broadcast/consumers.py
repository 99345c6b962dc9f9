"""The consumer: one WebSocket connection, greeted, fed and listened to."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

from channels.consumer import AsyncConsumer

from .access import policy
from .access.audiences import is_signed, plain_name
from .access.identity import draft_by
from .access.revalidation import Revalidator, has_something_to_lose
from .access.visitors import RETRY_AFTER, reload_user, require, require_name
from .addresses import dialect_in, joins_nothing, name_in, position_in, query_in
from .conf import conf
from .engine.commands import BadFrame, Command, Publish, Subscribe, Unsubscribe, command, unread
from .engine.frames import SUBPROTOCOL, Dialect, Fields, error_fields, message_fields
from .engine.hub.stream import Position
from .engine.process import current_process
from .engine.publish import relay
from .engine.throttle import TokenBucket
from .engine.transports.connect import transport_for
from .engine.transports.daphne.drain import Drain
from .engine.validation import SERVER
from .exceptions import InvalidMessage, LogUnavailable, OutcomeUnknown
from .groups import DEFAULT_GROUP

logger = logging.getLogger("broadcast")

MAX_STRIKES = 20  # bad or refused frames in a row
MAX_REF = 64  # characters of a wrong ref that its sender is told again
LOOKS_A_SECOND, LOOKS_AT_ONCE = 1.0, 3  # by one connection, for a right that its user may have been given

RESTARTING = 4000
UNAVAILABLE = 4003
USER_CHANGED = 4004
FORBIDDEN = 4500
TOO_MANY_BAD_FRAMES = 4501

T = TypeVar("T")
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        if not comes_from_here(scope):
            await send({"type": "websocket.close", "code": FORBIDDEN})
            return
        with current_process().node() as self.node:
            self.begin(scope, send)
            try:
                await self.accept(scope)
                if not self.joins_nothing:
                    await self.join(scope)
                while not self.closing:
                    event = await receive()
                    if self.closing or event["type"] != "websocket.receive":
                        return
                    await self.answer(event.get("text"))
            except OSError:
                return  # the client went away while it was written to
            finally:
                self.node.part(Drain).connections.discard(self)
                self.node.part(Revalidator).unwatch(self)
                await self.transport.close()

    # Connecting

    def begin(self, scope: Scope, send: Send) -> None:
        user = scope.get("user")
        self.user: Any = user if policy.is_signed_in(user) else None
        self.session: Any = scope.get("session")
        self.strikes = 0
        self.closing = False
        self.group = plain_name(name_in(scope, self.group))
        self.joins_nothing = joins_nothing(query_in(scope))
        self.transport = transport_for(self.node, send, dialect_in(scope, query_in(scope)))
        self._send = send

    async def accept(self, scope: Scope) -> None:
        subprotocol = SUBPROTOCOL if SUBPROTOCOL in scope.get("subprotocols", ()) else None
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol})
        if self.transport.drain is not None:
            self.transport.drain.connections.add(self)
        if has_something_to_lose(self.user):
            self.node.part(Revalidator).watch(self)

    async def join(self, scope: Scope) -> None:
        """Subscribes to the group of the address; without it there is nothing to stay for."""
        try:
            await self.subscribe(name_in(scope, self.group), *position_in(query_in(scope)))
        except BadFrame as error:
            if error.code == "unavailable":
                await self.bye(UNAVAILABLE, str(error), after=RETRY_AFTER)
            else:
                await self.bye(FORBIDDEN, str(error), after=None)

    async def subscribe(self, name: str, after: int | None, epoch: str) -> None:
        """Joins a group at a position and says so; whatever comes later follows the welcome."""
        group = await self.asked(require_name, name)
        followed = self.transport.positions
        if group not in followed and len(followed) >= conf.MAX_GROUPS:
            raise BadFrame(f"A connection may follow {conf.MAX_GROUPS} groups at a time.", "forbidden")
        try:
            position, recovered = await self.node.hub.join(self.transport, group, after, epoch)
        except LogUnavailable:
            raise BadFrame("Messages cannot be read right now. Try again.", "unavailable") from None
        self.transport.unfollow(group)
        self.note_name(group, name)
        try:
            if not self.closing:
                await self.transport.write(self.welcome(position, recovered))
        except BaseException:
            position.leave()
            raise
        if self.closing:  # the client was told to go meanwhile
            position.leave()
        else:
            self.transport.follow(position)

    def welcome(self, position: Position, recovered: bool) -> Fields:
        return {
            "type": "welcome",
            "author": SERVER,
            "body": self.greeting,
            "group": position.stream.name,
            "epoch": position.epoch,
            "offset": position.offset if position.stream.is_logged else None,
            "recovered": recovered,
            "user": self.user.get_username() if self.user is not None else None,
            "ping_ms": round(conf.PING_INTERVAL * 1000),
        }

    def note_name(self, group: str, name: str) -> None:
        """Keeps a signed name for as long as its group is followed: it has to hold until then."""
        kept = {key: each for key, each in self.signed_names.items() if key in self.transport.positions}
        if is_signed(name):
            kept[group] = name
        if kept or self.signed_names:
            self.signed_names = kept
        if has_something_to_lose(self.user, kept.get(group, "")):
            self.node.part(Revalidator).watch(self)

    # Gaining and losing

    @cached_property
    def looks(self) -> TokenBucket:
        return TokenBucket(LOOKS_A_SECOND, LOOKS_AT_ONCE)

    async def asked(self, question: Callable[..., Awaitable[T]], *about: str) -> T:
        """Asks for the user; after a refusal once more, for the user as they are by now, unless it comes too often."""
        try:
            return await question(self.user, *about)
        except BadFrame as error:
            if error.code != "forbidden" or self.user is None or self.looks.take():
                raise
        self.user = await reload_user(self.user)
        return await question(self.user, *about)

    async def sign_out(self, after: float) -> None:
        """Sends the client away because its user is no longer signed in as before; it comes back as whoever it is."""
        if not self.closing:
            await self.bye(USER_CHANGED, "You are no longer signed in as you were.", after)

    async def revoke(self, position: Position, reason: str) -> None:
        """Ends one subscription and says so; the connection goes on, unless that was all it was for."""
        if self.closing or not self.transport.is_following(position):
            return
        group = position.stream.name
        self.transport.unfollow(group)
        if self.transport.positions or self.joins_nothing:
            await self.transport.write(error_fields("forbidden", reason, group=group))
        else:
            await self.bye(FORBIDDEN, reason, after=None)

    # Leaving

    async def bye(self, code: int, reason: str, after: float | None) -> None:
        """Tells the client why it has to go, and in how many seconds to come back, if at all; then closes."""
        self.closing = True
        self.transport.unfollow_all()
        if self.transport.dialect is Dialect.V1:
            fields: Fields = {"type": "bye", "code": code, "reason": reason}
            fields["reconnect"] = after is not None
            fields["after_ms"] = None if after is None else round(after * 1000)
            await self.transport.write(fields)
        await self.transport.disconnect(code)

    async def go_away(self, after: float) -> None:
        """Sends the client away because this process ends: it comes back to another ``after`` seconds later."""
        await self.bye(RESTARTING, "The server restarts.", after)

    # Listening

    @cached_property
    def bucket(self) -> TokenBucket:
        """Only of those who speak: a process has thousands who do not."""
        return TokenBucket(conf.MESSAGE_RATE, conf.MESSAGE_BURST)

    async def answer(self, text: str | None) -> None:
        """Does what a frame asks for; whatever is wrong with it is said to this client alone."""
        try:
            wait = self.bucket.take()
            if wait:
                reason = f"You may send {conf.MESSAGE_RATE:g} frames a second. Wait a moment."
                raise unread(text, reason, "rate_limited", wait)
            await self.perform(command(text))
        except BadFrame as error:
            await self.refuse(error)
        else:
            self.strikes = 0

    async def refuse(self, error: BadFrame) -> None:
        self.strikes += is_strike(error)
        ref = error.ref if is_repeatable(error.ref) else None
        await self.transport.write(error_fields(error.code, str(error), ref, error.retry_after, error.group))
        if self.strikes >= MAX_STRIKES:
            reason = f"{MAX_STRIKES} frames in a row were not acceptable."
            await self.bye(TOO_MANY_BAD_FRAMES, reason, after=None)

    async def perform(self, asked: Command) -> None:
        match asked:
            case Publish():
                await self.publish(asked)
            case Subscribe():
                await self.subscribe_as_asked(asked)
            case Unsubscribe():
                self.transport.unfollow(asked.group)
            case _:  # a Ping
                await self.transport.write({"type": "pong"})

    async def subscribe_as_asked(self, asked: Subscribe) -> None:
        """Subscribes; a refusal names the group, and costs no other subscription anything."""
        try:
            await self.subscribe(asked.name, asked.after, asked.epoch)
        except BadFrame as error:
            error.group = plain_name(asked.name)
            raise

    async def publish(self, asked: Publish) -> None:
        group = asked.group or self.group
        try:
            await self.asked(require, "publish", group)
        except BadFrame as error:
            error.ref = asked.ref
            raise
        try:
            message = await relay(self.node, draft_by(self.user, asked, group))
        except OutcomeUnknown:
            text = "The message may or may not have been sent. Send it again with the same ref to be sure."
            raise BadFrame(text, "unavailable", asked.ref, RETRY_AFTER) from None
        except InvalidMessage as error:
            raise BadFrame(str(error), error.code, asked.ref) from None
        except LogUnavailable:
            text = "The message could not be kept, so it was not sent. Try again."
            raise BadFrame(text, "unavailable", asked.ref, RETRY_AFTER) from None
        unheard = asked.ref is not None and group not in self.transport.positions
        if message.is_repeated or unheard:
            await self.transport.write(message_fields(message) | {"duplicate": True})


def is_strike(error: BadFrame) -> bool:
    """Whether a client should have known better: not who comes back to many groups and has lost the right to some."""
    return error.code != "unavailable" and not (error.code == "forbidden" and error.group is not None)


def comes_from_here(scope: Scope) -> bool:
    headers: dict[bytes, bytes] = dict(scope.get("headers", ()))
    accepted = policy.accepts_origin(headers, scope.get("scheme", "ws"))
    if not accepted:
        logger.warning("Refused a WebSocket from the origin %r", headers[b"origin"])
    return accepted


def is_repeatable(ref: object) -> bool:
    """Whether a client can be told again what it sent as a ref, right or wrong."""
    return isinstance(ref, uuid.UUID) or (isinstance(ref, str) and len(ref) <= MAX_REF and ref.isprintable())
