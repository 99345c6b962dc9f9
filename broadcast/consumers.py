"""The consumer: one WebSocket connection, greeted, fed and listened to."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from channels.consumer import AsyncConsumer

from . import policy
from .audiences import plain_name
from .authors import draft_by
from .conf import conf
from .engine.connecting import transport_for
from .engine.drain import unwatch, watch
from .engine.hub import current_hub
from .engine.layer import DEFAULT_GROUP
from .engine.publishing import relay
from .engine.rate import Bucket
from .engine.validation import SERVER
from .engine.wire import (
    SUBPROTOCOL,
    BadFrame,
    Command,
    Dialect,
    Publish,
    Subscribe,
    Unsubscribe,
    checked_epoch,
    checked_offset,
    command,
    error_fields,
    message_fields,
    unread,
)
from .exceptions import InvalidMessage, LogUnavailable, OutcomeUnknown
from .visitors import RETRY_AFTER, require, require_name

logger = logging.getLogger("broadcast")

MAX_STRIKES = 20  # bad or refused frames in a row
MAX_REF = 64  # characters of a wrong ref that its sender is told again

RESTARTING = 4000
UNAVAILABLE = 4003
FORBIDDEN = 4500
TOO_MANY_BAD_FRAMES = 4501

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        self.headers: dict[bytes, bytes] = dict(scope.get("headers", ()))
        if not policy.accepts_origin(self.headers, scope.get("scheme", "ws")):
            logger.warning("Refused a WebSocket from the origin %r", self.headers[b"origin"])
            await send({"type": "websocket.close", "code": FORBIDDEN})
            return
        user = scope.get("user")
        self.user: Any = user if policy.is_signed_in(user) else None
        self.query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        self.bucket = Bucket(conf.MESSAGE_RATE, conf.MESSAGE_BURST)
        self.strikes = 0
        self.closing = False
        self.name = self.name_in(scope)
        self.group = plain_name(self.name)
        self.transport = transport_for(send, self.dialect_of(scope))
        self._send = send
        try:
            await self.accept(scope)
            while not self.closing:
                event = await receive()
                if event["type"] != "websocket.receive":
                    return
                await self.answer(event.get("text"))
        except OSError:
            return  # the client went away while it was written to
        finally:
            unwatch(self)
            await self.transport.close()

    # Connecting

    def dialect_of(self, scope: Scope) -> Dialect:
        offered = SUBPROTOCOL in scope.get("subprotocols", ())
        return Dialect.V1 if offered or self.query.get("v") == ["1"] else Dialect.PLAIN

    def name_in(self, scope: Scope) -> str:
        """The group that the address names, plain or signed: by the route, or as what follows the socket's path."""
        if "url_route" in scope:
            return str(scope["url_route"]["kwargs"].get("group", self.group))
        prefix, path = conf.SOCKET_PATH.rstrip("/") + "/", scope.get("path", "").rstrip("/")
        return path.removeprefix(prefix) if path.startswith(prefix) else self.group

    async def accept(self, scope: Scope) -> None:
        subprotocol = SUBPROTOCOL if SUBPROTOCOL in scope.get("subprotocols", ()) else None
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol})
        watch(self, self._send)
        if self.query.get("join") == ["none"]:
            return
        try:
            after, epoch = self.asked_position()
            await self.subscribe(self.name, after, epoch)
        except BadFrame as error:
            if error.code == "unavailable":
                await self.bye(UNAVAILABLE, str(error), after=RETRY_AFTER)
            else:
                await self.bye(FORBIDDEN, str(error), after=None)

    def asked_position(self) -> tuple[int | None, str]:
        """Where the address asks to go on from: ``?after=<offset>&epoch=<epoch>``."""
        after = self.query.get("after", [""])[-1]
        if not after:
            return None, ""
        try:
            offset = int(after) if after.isascii() and after.isdecimal() and len(after) < 20 else -1
            return checked_offset(offset), checked_epoch(self.query.get("epoch", [""])[-1])
        except InvalidMessage as error:
            raise BadFrame(f"In the address: {error}") from None

    async def subscribe(self, name: str, after: int | None, epoch: str) -> None:
        """Joins a group at a position and says so; whatever comes later follows the welcome."""
        group = await require_name(self.user, name)
        followed = self.transport.positions
        if group not in followed and len(followed) >= conf.MAX_GROUPS:
            raise BadFrame(f"A connection may follow {conf.MAX_GROUPS} groups at a time.", "forbidden")
        try:
            position, recovered = await current_hub().join(self.transport, group, after, epoch)
        except LogUnavailable:
            raise BadFrame("Messages cannot be read right now. Try again.", "unavailable") from None
        self.transport.unfollow(group)
        offset = position.offset if position.feed.is_logged else None
        try:
            await self.transport.write(
                {
                    "type": "welcome",
                    "author": SERVER,
                    "body": self.greeting,
                    "group": group,
                    "epoch": position.epoch,
                    "offset": offset,
                    "recovered": recovered,
                    "user": self.user.get_username() if self.user is not None else None,
                    "ping_ms": round(conf.PING_INTERVAL * 1000),
                }
            )
        except BaseException:
            position.leave()
            raise
        self.transport.follow(position)

    async def bye(self, code: int, reason: str, after: float | None) -> None:
        """Tells the client why it has to go, and in how many seconds to come back, if at all; then closes."""
        self.closing = True
        self.transport.unfollow_all()
        if self.transport.dialect is Dialect.V1:
            fields: dict[str, Any] = {"type": "bye", "code": code, "reason": reason}
            fields["reconnect"] = after is not None
            fields["after_ms"] = None if after is None else round(after * 1000)
            await self.transport.write(fields)
        await self.transport.disconnect(code)

    async def leave(self, after: float) -> None:
        """Sends the client away because this process ends: it comes back to another ``after`` seconds later."""
        await self.bye(RESTARTING, "The server restarts.", after)

    # Listening

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
            await require(self.user, "publish", group)
        except BadFrame as error:
            error.ref = asked.ref
            raise
        try:
            message = await relay(draft_by(self.user, asked, group))
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


def is_repeatable(ref: object) -> bool:
    """Whether a client can be told again what it sent as a ref, right or wrong."""
    return isinstance(ref, uuid.UUID) or (isinstance(ref, str) and len(ref) <= MAX_REF and ref.isprintable())
