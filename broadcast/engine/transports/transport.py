"""One connection as the hub sees it: what it follows, and the way in which its frames leave."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ...conf import conf
from ...exceptions import LogUnavailable
from ...models import Message
from ..frames import INTERNAL_ERROR, Batch, Dialect, Fields, encoded, message_fields, plain_text
from ..hub.position import Position
from ..log_lines import say
from .daphne.behind import is_closed

if TYPE_CHECKING:
    from .daphne.drain import Drain
    from .direct import WriteScheduler

MAX_EXPECTED = 100  # messages of one client that it has yet to hear

Send = Callable[[dict[str, Any]], Awaitable[None]]


class ClientGone(ConnectionError):
    """The client went away, or takes nothing any more."""


class Expected(NamedTuple):
    """A message that its sender is to hear as everybody does, at a position in an epoch."""

    position: Position
    epoch: str
    message: Message

    @property
    def is_due(self) -> bool:
        return self.position.epoch != self.epoch or self.position.offset < (self.message.offset or 0)


class Transport(ABC):
    """One connection: its dialect, its positions, and the way its bytes leave. The hub's rounds visit it.

    While it ``_is_waiting``, for its client or for its end, it is not visited. ``drain`` is where the connection
    signs on to be sent away when its server ends, if it is on daphne. ``is_metered`` says that what comes in is paid
    for below, as it is read.
    """

    __slots__ = (
        *("_ending", "_expected", "_is_waiting", "_reading", "_scheduler"),
        *("dialect", "drain", "is_metered", "positions", "send"),
    )

    def __init__(self, send: Send, dialect: Dialect, scheduler: WriteScheduler) -> None:
        self._scheduler = scheduler
        self._is_waiting = False
        self._reading: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._expected: tuple[Expected, ...] = ()
        self.dialect = dialect
        self.positions: dict[str, Position] = {}
        self.send = send
        self.drain: Drain | None = None
        self.is_metered = False

    async def write(self, fields: Fields) -> None:
        """Writes one frame for this connection alone."""
        await self.send_text(plain_text(fields) if self.dialect is Dialect.PLAIN else encoded(fields))

    async def send_text(self, text: str, send: Send | None = None) -> None:
        """Sends one text frame by ASGI; nothing if it is empty. Raises ClientGone."""
        if text:
            try:
                await (send or self.send)({"type": "websocket.send", "text": text})
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
            if is_asked_for and not is_needed and self.dialect is not Dialect.PLAIN:
                is_needed = not self._expects(message, position)
        if is_needed:
            await self._answer(message)

    async def _answer(self, message: Message) -> None:
        await self.write(message_fields(message) | {"duplicate": True})

    def _expects(self, message: Message, position: Position) -> bool:
        """Notes what a sender is to hear as all do, in case that it leaves before that; False if that is too much."""
        expected = (*self._expected, Expected(position, position.epoch, message))
        self._expected = tuple(each for each in expected if each.is_due)[:MAX_EXPECTED]
        return len(expected) <= MAX_EXPECTED

    async def leave(self, group: str) -> None:
        """Stops to follow a group; what the client was yet to hear there as the answer to its own, it hears at once."""
        position = self.positions.get(group)
        self.unfollow(group)  # first: only then it is known how far it has got
        due = [each.message for each in self._expected if each.position is position and each.is_due]
        self._expected = tuple(each for each in self._expected if each.position is not position)
        for message in due:
            await self._answer(message)

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

    @abstractmethod
    def write_ready(self) -> bool:
        """Writes some of what there is: the visit of a round. True if there may be more. Never raises."""

    async def close(self) -> None:
        """Ends every position and all work; returns when nothing is written any more."""
        self.unfollow_all()
        self._is_waiting = True
        self._scheduler.remove(self)
        if tasks := [task for task in self._tasks() if task is not None]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _tasks(self) -> list[asyncio.Task[None] | None]:
        """What may be under way."""
        return [self._reading, self._ending]

    def _let_others_first(self, position: Position) -> None:
        """Puts a group last, so that one that is always behind does not keep the others waiting."""
        if self.is_following(position):
            group = position.stream.name
            self.positions[group] = self.positions.pop(group)

    # Behind the ring

    def _read_older(self, position: Position) -> None:
        """Begins to read what only the log has; of one group at a time."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._catch_up(position))
            self._reading.add_done_callback(self._caught_up)

    async def _catch_up(self, position: Position) -> None:
        """Reads one batch of the log, and has it written; the next round looks for more."""
        try:
            batch = await self.next_batch(position)
            if batch is None:
                await asyncio.sleep(conf.POLL_INTERVAL)
            elif batch.frames and self.is_following(position):
                self._write_older(position, batch)
            self._let_others_first(position)
        except Exception as error:
            self.failed(error)

    def _caught_up(self, task: asyncio.Task[None]) -> None:
        self._reading = None
        if not task.cancelled():
            self.notify()

    @abstractmethod
    def _write_older(self, position: Position, batch: Batch) -> None:
        """Writes what was read from the log."""

    async def next_batch(self, position: Position) -> Batch | None:
        """The next batch for a position, from the log if need be; None if the log cannot be read right now."""
        try:
            return position.stream.batch(position) or await position.stream.older_batch(position)
        except LogUnavailable:
            return None

    # Ending

    def _pause(self) -> None:
        """Is not visited any more, until further notice."""
        self._is_waiting = True

    def failed(self, error: Exception) -> None:
        """Closes the connection, which could not be served."""
        self._end(self.fail(error))

    def _end(self, closing: Coroutine[Any, Any, None]) -> None:
        """Closes the connection in a task of its own: whoever finds that it must be cannot wait for it."""
        self._pause()
        if self._ending is None:
            self._ending = asyncio.create_task(closing)
        else:
            closing.close()

    async def fail(self, error: Exception) -> None:
        """Closes a connection that could not be served, and tells why."""
        say(logging.ERROR, "A connection could not be written to and is closed", error=error)
        await self.give_up(INTERNAL_ERROR)

    async def give_up(self, code: int) -> None:
        """Closes a connection from below, so that the client comes back and misses nothing."""
        with suppress(Exception):  # it is gone already
            await self.disconnect(code)
