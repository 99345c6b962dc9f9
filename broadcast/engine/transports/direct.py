"""Write scheduling, and direct writes: bytes go to the kernel in one call per connection, joined for all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from ...conf import conf
from ..frames import STALLED, Batch, Dialect, text_frame
from ..hub.crowd import Crowd
from ..hub.position import Position
from ..log_lines import say
from .transport import Send, Transport

MAX_PAUSE = 0.1  # seconds
PATIENCE = 8  # times as long as the last round took
WAIT_FOR_MORE = 0.002  # seconds
MAX_TURN = 0.02  # seconds that a round may hold the event loop


class Writer(Protocol):
    """A connection, or a crowd of them, with something to write."""

    def write_ready(self) -> bool:
        """Writes some of it. Returns True if it has to be visited again in this round."""


class WriteScheduler:
    """Visits the connections and crowds of one event loop that have something to write, each once a round.

    Idle, a round begins at once. After one that took a time T, the next begins no sooner than T
    later, and up to eight T later while ``more_is_coming``, so that under load messages join in one
    write while other work has its share of the time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, more_is_coming: Callable[[], bool]) -> None:
        self._loop = loop
        self._more_is_coming = more_is_coming
        self._waiting: dict[Writer, None] = {}
        self._visiting: dict[Writer, None] = {}
        self._next: asyncio.Handle | None = None
        self._not_before = 0.0
        self._at_last = 0.0
        self._took = 0.0
        self._has_tasks = False

    def add(self, writer: Writer) -> None:
        self._waiting[writer] = None
        if self._next is None:
            self._schedule()

    def remove(self, writer: Writer) -> None:
        self._waiting.pop(writer, None)
        self._visiting.pop(writer, None)

    def note_task(self) -> None:
        """Says that a visit has started a task: what that does at first belongs to the round."""
        self._has_tasks = True

    def _schedule(self) -> None:
        delay = self._not_before - self._loop.time()
        self._next = self._loop.call_later(delay, self._run) if delay > 0 else self._loop.call_soon(self._run)

    def _run(self) -> None:
        if self._loop.time() < self._at_last and self._more_is_coming():
            self._next = self._loop.call_later(WAIT_FOR_MORE, self._run)
            return
        self._took = 0.0
        # Reversed, because popitem() takes the last item: connections are visited in the order in which they came.
        self._visiting, self._waiting = dict.fromkeys(reversed(self._waiting)), {}
        self._visit()

    def _visit(self) -> None:
        """Visits for a while, and goes on in another turn of the event loop if that is not enough."""
        begun = now = self._loop.time()
        while self._visiting and now - begun <= MAX_TURN:
            writer, _ = self._visiting.popitem()
            try:
                if writer.write_ready():
                    self._visiting[writer] = None
            except Exception as error:
                say(logging.ERROR, "A connection could not be written to", error=error)
            now = self._loop.time()
        self._took += now - begun
        if self._visiting:
            self._next = self._loop.call_soon(self._visit)
        elif self._has_tasks:
            self._has_tasks = False
            self._next = self._loop.call_soon(self._finish, now)
        else:
            self._finish(now)

    def _finish(self, visited: float) -> None:
        """Ends a round, and with it what tasks have done since its last visit."""
        now = self._loop.time()
        self._took += now - visited
        self._not_before = now + min(self._took, MAX_PAUSE)
        self._at_last = now + min(self._took * PATIENCE, MAX_PAUSE)
        self._next = None
        if self._waiting:
            self._schedule()


class Socket(Protocol):
    """A connection below its server's protocol."""

    on_news: Callable[[], None]
    """Called before something may wait there, and when the connection may have begun to close."""

    def is_ready(self) -> bool:
        """True if it is open and nothing waits, so that frames may be written; without news it stays so."""

    def send_now(self, data: bytes) -> int:
        """Writes frames, and returns how many bytes the kernel took at once. Raises OSError if it takes none."""

    def hand_over(self, data: bytes, taken: int, ends: list[int]) -> int:
        """Leaves the rest of the frame in progress to the server; how many frames will have gone with that."""

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Calls ``callback`` once, when nothing waits any more."""

    def abort_if_closing(self) -> None:
        """Ends a connection whose closing waits behind what the client does not take."""

    def mute(self) -> None:
        """Lets go of a connection to which nobody listens any more."""


def unheard() -> None:
    """What news of a socket are to nobody."""


class DirectTransport(Transport):
    """Writes to a server's socket in the hub's rounds; needs no task while the client keeps up.

    Who has got everything and whose socket is clear is in the crowd of each of its groups, and is not visited.
    When the socket takes no more, the rest of the frame in progress is left to the server, and the
    position waits behind that frame until the socket has drained: a slow client costs a number.
    """

    __slots__ = ("_has_news", "_socket", "_stall")

    def __init__(self, send: Send, dialect: Dialect, socket: Socket, scheduler: WriteScheduler) -> None:
        super().__init__(send, dialect, scheduler)
        self._socket = socket
        self._stall: asyncio.TimerHandle | None = None
        self._has_news = True  # something of the server's may wait, or the connection may have begun to close
        socket.on_news = self._note_news

    def notify(self) -> None:
        if not self._is_waiting:
            self._scheduler.add(self)

    async def send_text(self, text: str, send: Send | None = None) -> None:
        """Writes one text frame past the server, or has it written by ASGI where something waits before it."""
        if not (text and self._write_alone(text_frame(text))):
            await super().send_text(text, send)

    async def close(self) -> None:
        self._socket.on_news = unheard
        self._socket.mute()
        if self._stall is not None:
            self._stall.cancel()
        await super().close()

    def write_ready(self) -> bool:
        """Writes a batch of each group's frames that no crowd writes: the visit of a round. Never raises."""
        try:
            for position in () if self._is_waiting else self.positions.values():
                if position.crowd is not None or self._enter_crowd(position):
                    continue
                batch = position.stream.batch(position)
                if batch is None:
                    self._read_older(position)
                elif not batch.frames:
                    self._enter_crowd(position)
                elif not self._write_batch(position, batch):
                    self._let_others_first(position)
                    break
        except Exception as error:
            self.failed(error)
        return False

    def _is_ready(self) -> bool:
        """True if the socket is; then it is not looked at again before there is news."""
        self._has_news = not self._socket.is_ready()
        return not self._has_news

    def _note_news(self) -> None:
        self._has_news = True
        self._leave_crowds()

    # Crowds

    def _enter_crowd(self, position: Position) -> bool:
        """Enters the crowd of a group, if the connection is clear and stands where the crowd does."""
        stream, place = position.stream, position.place
        crowd = stream.crowds.get(self.dialect)
        if crowd is None and len(stream.positions) < 2:  # who is alone in a group needs none
            return False
        if self._reading is not None or (self._has_news and not self._is_ready()):
            return False
        if crowd is None:
            if place.index != stream.ring.end or place.epoch != stream.epoch:
                return False
            crowd = Crowd(stream, self.dialect, self._scheduler)
        return crowd.enter(position, self._socket.send_now)

    def _leave_crowds(self) -> None:
        """Leaves all crowds, before anything is written that may wait: nothing else may get into the midst of it."""
        for position in self.positions.values():
            if position.crowd is not None:
                position.crowd.leave(position)
                self.notify()

    def _pause(self) -> None:
        super()._pause()
        self._leave_crowds()

    def took(self, position: Position, batch: Batch, size: int) -> None:
        """Leaves the rest of the frame in progress to the server, and waits behind it."""
        data, ends = batch.data(self.dialect)
        self._pause()
        if whole := self._socket.hand_over(data, size, ends):
            position.passed(batch, batch.pieces(self.dialect)[whole - 1][1])
        self._wait()

    # Alone

    def _write_alone(self, data: bytes) -> bool:
        """Writes what is for this connection alone, its rest perhaps later. Returns False if nothing of it was."""
        if self._is_waiting or (self._has_news and not self._is_ready()):
            return False
        try:
            taken = self._socket.send_now(data)
        except OSError:
            return False
        return taken == len(data) or bool(self._socket.hand_over(data, taken, [len(data)]))

    def _write_batch(self, position: Position, batch: Batch) -> bool:
        """Writes what the socket takes. Returns True if it took everything."""
        if self._has_news and not self._is_ready():
            self._wait()
            return False
        data, _ = batch.data(self.dialect)
        try:
            taken = self._socket.send_now(data) if data else 0
        except OSError:
            taken = 0  # nothing for now, or nothing ever again: the server tries once more, and acts on it
        if taken < len(data):
            self.took(position, batch, taken)
            return False
        position.passed(batch, len(batch.frames))
        if not batch.is_last:
            self.notify()
        else:
            self._enter_crowd(position)
        return True

    def _write_older(self, position: Position, batch: Batch) -> None:
        self._write_batch(position, batch)

    def _wait(self) -> None:
        """Writes nothing until the socket has drained; a client that takes nothing for long has to go.

        So does one that has closed, if the server's answer to that waits behind what it does not take.
        """
        self._pause()
        if self._stall is None:
            self._stall = asyncio.get_running_loop().call_later(conf.STALLED_TIMEOUT, self._stalled)
        self._socket.when_drained(self._drained)

    def _drained(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        if self._ending is None:
            self._is_waiting = False
            self.notify()

    def _stalled(self) -> None:
        self._socket.abort_if_closing()
        self._end(self.give_up(STALLED))
