"""Transports by ASGI: each connection reads its groups' streams at the speed of its own socket."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...conf import conf
from ...exceptions import LogUnavailable
from ...models import Message
from ..frames import INTERNAL_ERROR, STALLED, Dialect, Fields, Frame, message_fields
from ..hub.position import Batch, Position
from ..log_lines import say
from .daphne.internals import WriteBackpressure, is_closed

if TYPE_CHECKING:
    from .daphne.drain import Drain

Send = Callable[[dict[str, Any]], Awaitable[None]]


class ClientGone(ConnectionError):
    """The client went away, or takes nothing any more."""


class Transport(ABC):
    """One connection: its dialect, its positions, and the way its bytes leave.

    ``drain`` is where the connection signs on to be sent away when its server ends, if it is on daphne. ``is_metered``
    says that what comes in is paid for below, as it is read.
    """

    __slots__ = ("dialect", "drain", "is_metered", "positions", "send")

    def __init__(self, send: Send, dialect: Dialect) -> None:
        self.dialect = dialect
        self.positions: dict[str, Position] = {}
        self.send = send
        self.drain: Drain | None = None
        self.is_metered = False

    async def write(self, fields: Fields) -> None:
        """Writes one frame for this connection alone."""
        await self.write_frame(Frame(fields))

    async def write_frame(self, frame: Frame) -> None:
        if text := frame.text(self.dialect):
            try:
                await self.send({"type": "websocket.send", "text": text})
            except Exception as error:
                if isinstance(error, OSError) or is_closed(error):
                    raise ClientGone from error
                raise

    async def acknowledge(self, message: Message, is_asked_for: bool) -> None:
        """Writes a sender's message to it once more if it was there before; and, if asked, where it is not followed.

        A plain client would take that for another message, and gets it so only if it was there before it joined.
        """
        position = self.positions.get(message.group_id)
        if position is None:
            is_needed = is_asked_for
        else:
            is_shown = self.dialect is Dialect.PLAIN and (message.offset or 0) > position.joined_at
            is_needed = message.is_repeated and not is_shown
        if is_needed:
            await self.write(message_fields(message) | {"duplicate": True})

    async def disconnect(self, code: int) -> None:
        """Closes the connection from this side."""
        await self.send({"type": "websocket.close", "code": code})

    def follow(self, position: Position) -> None:
        """Starts to deliver from a position; an earlier one in the same group ends."""
        self.unfollow(position.stream.name)
        self.positions[position.stream.name] = position
        self.notify()

    def unfollow(self, group: str) -> None:
        position = self.positions.pop(group, None)
        if position is not None:
            position.leave()

    def unfollow_all(self) -> None:
        for group in list(self.positions):
            self.unfollow(group)

    def is_following(self, position: Position) -> bool:
        return self.positions.get(position.stream.name) is position

    @abstractmethod
    def notify(self) -> None:
        """Tells the transport that there may be something to deliver."""

    async def close(self) -> None:
        """Ends every position and all work; returns when nothing is written any more."""
        self.unfollow_all()

    async def next_batch(self, position: Position) -> Batch | None:
        """The next batch for a position, from the log if need be; None if the log cannot be read right now."""
        try:
            return position.stream.batch(position) or await position.stream.older_batch(position)
        except LogUnavailable:
            return None

    async def fail(self, error: Exception) -> None:
        """Closes a connection that could not be served, and tells why."""
        say(logging.ERROR, "A connection could not be written to and is closed", error=error)
        await self.give_up(INTERNAL_ERROR)

    async def give_up(self, code: int) -> None:
        """Closes a connection from below, so that the client comes back and misses nothing."""
        with suppress(Exception):  # it is gone already
            await self.disconnect(code)


class AsgiTransport(Transport):
    """Writes by ASGI's ``send``, in a task of its own.

    A client that reads slowly holds up this task alone; what it has not got yet is a position. Where
    ``send`` does not wait for the client, ``flow`` tells whether it takes what it is sent.
    """

    __slots__ = ("_backpressure", "_retry", "_wake", "_writing")

    def __init__(self, send: Send, dialect: Dialect, flow: WriteBackpressure | None = None) -> None:
        super().__init__(send, dialect)
        self._backpressure = flow
        self._wake = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None

    def notify(self) -> None:
        self._wake.set()
        if self._writing is None:
            self._writing = asyncio.create_task(self._deliver())

    async def close(self) -> None:
        await super().close()
        if self._retry is not None:
            self._retry.cancel()
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])

    async def _deliver(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                for position in list(self.positions.values()):
                    await self._deliver_some(position)
        except ClientGone:
            await self._linger_then_abort()
        except Exception as error:
            await self.fail(error)

    async def _deliver_some(self, position: Position) -> None:
        batch = await self.next_batch(position)
        if batch is None:
            self._notify_later()
            return
        for count, frame in enumerate(batch.frames, 1):
            if not self.is_following(position):
                return  # it ended while the socket was slow
            await self.write_frame(frame)
            position.passed(batch, count)
            if self._backpressure is not None and self._backpressure.is_full:
                await self._wait_for_client(self._backpressure)
        if batch.frames:
            self._wake.set()

    async def _wait_for_client(self, flow: WriteBackpressure) -> None:
        """Returns when the client has taken what it was sent; one that takes nothing for long has to go."""
        drained = asyncio.Event()
        flow.when_drained(drained.set)
        try:
            async with asyncio.timeout(conf.STALLED_TIMEOUT):
                await drained.wait()
        except TimeoutError:
            flow.abort_if_closing()
            await self.give_up(STALLED)
            raise ClientGone from None

    async def _linger_then_abort(self) -> None:
        """Aborts a closing connection whose client has read nothing for STALLED_TIMEOUT."""
        if self._backpressure is not None:
            await asyncio.sleep(conf.STALLED_TIMEOUT)
            self._backpressure.abort_if_closing()

    def _notify_later(self) -> None:
        """Tries again in a while: by one timer, however often it is notified until then."""
        loop = asyncio.get_running_loop()
        if self._retry is None or self._retry.when() <= loop.time():
            self._retry = loop.call_later(conf.POLL_INTERVAL, self.notify)
