"""Direct writes: on daphne, bytes go to the kernel in one call per connection, joined for all."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from ...conf import conf
from ..frames import STALLED, Dialect
from ..hub.stream import Batch, Position
from ..log_lines import say
from .asgi import Send, Transport
from .daphne.internals import DaphneSocket

MAX_PAUSE = 0.1  # seconds
PATIENCE = 8  # times as long as the last round took
WAIT_FOR_MORE = 0.002  # seconds
MAX_TURN = 0.02  # seconds that a round may hold the event loop


class Writer(Protocol):
    """A connection with something to write."""

    def write_ready(self) -> None: ...


class WriteScheduler:
    """Visits the connections of one event loop that have something to write, each once a round.

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

    def add(self, writer: Writer) -> None:
        self._waiting[writer] = None
        if self._next is None:
            self._schedule()

    def remove(self, writer: Writer) -> None:
        self._waiting.pop(writer, None)
        self._visiting.pop(writer, None)

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
                writer.write_ready()
            except Exception as error:
                say(logging.ERROR, "A connection could not be written to", error=error)
            now = self._loop.time()
        self._took += now - begun
        if self._visiting:
            self._next = self._loop.call_soon(self._visit)
            return
        self._not_before = now + min(self._took, MAX_PAUSE)
        self._at_last = now + min(self._took * PATIENCE, MAX_PAUSE)
        self._next = None
        if self._waiting:
            self._schedule()


class DirectTransport(Transport):
    """Writes to daphne's socket in the hub's rounds; needs no task while the client keeps up.

    When the socket takes no more, the rest of the frame in progress is left to the server, and the
    position waits behind that frame until the socket has drained: a slow client costs a number.
    """

    __slots__ = ("_ending", "_is_waiting", "_reading", "_scheduler", "_socket", "_stall")

    def __init__(self, send: Send, dialect: Dialect, socket: DaphneSocket, scheduler: WriteScheduler) -> None:
        super().__init__(send, dialect)
        self._socket = socket
        self._scheduler = scheduler
        self._is_waiting = False
        self._stall: asyncio.TimerHandle | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    def notify(self) -> None:
        if not self._is_waiting:
            self._scheduler.add(self)

    async def close(self) -> None:
        await super().close()
        self._socket.mute()
        self._scheduler.remove(self)
        self._is_waiting = True
        if self._stall is not None:
            self._stall.cancel()
        if tasks := [task for task in (self._reading, self._ending) if task is not None]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def write_ready(self) -> None:
        """Writes a batch of each group's frames: the visit of a round. Never raises."""
        try:
            for position in self.positions.values():
                batch = position.stream.batch(position)
                if batch is None:
                    self._read_older(position)
                elif batch.frames and not self._write_batch(position, batch):
                    self._let_others_first(position)
                    return
        except Exception as error:
            self._end(self.fail(error))

    def _let_others_first(self, position: Position) -> None:
        """Puts a group last, so that one that is always behind does not keep the others waiting."""
        if self.is_following(position):
            group = position.stream.name
            self.positions[group] = self.positions.pop(group)

    def _write_batch(self, position: Position, batch: Batch) -> bool:
        """Writes what the socket takes. Returns True if it took everything."""
        socket = self._socket
        if socket.has_news and not socket.is_ready():
            self._wait()
            return False
        data, ends = batch.data(self.dialect)
        try:
            taken = socket.send_now(data) if data else 0
        except OSError:
            taken = 0  # nothing for now, or nothing ever again: the server tries once more, and acts on it
        if taken == len(data):
            position.passed(batch, len(batch.frames))
            if not batch.is_last:
                self.notify()
            return True
        whole = bisect_right(ends, taken)
        socket.write_buffered(data[taken : ends[whole]])
        position.passed(batch, whole + 1)
        self._wait()
        return False

    def _wait(self) -> None:
        """Writes nothing until the socket has drained; a client that takes nothing for long has to go.

        So does one that has closed, if the server's answer to that waits behind what it does not take.
        """
        self._is_waiting = True
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

    def _end(self, closing: Coroutine[Any, Any, None]) -> None:
        """Closes the connection in a task of its own: whoever finds that it must be cannot wait for it."""
        self._is_waiting = True
        if self._ending is None:
            self._ending = asyncio.create_task(closing)
        else:
            closing.close()

    # Behind the ring

    def _read_older(self, position: Position) -> None:
        if self._reading is None:
            self._reading = asyncio.create_task(self._catch_up(position))
            self._reading.add_done_callback(self._caught_up)

    async def _catch_up(self, position: Position) -> None:
        """Reads one chunk of the log and writes it; the next round looks for more."""
        try:
            batch = await self.next_batch(position)
            if batch is None:
                await asyncio.sleep(conf.POLL_INTERVAL)
            elif batch.frames and self.is_following(position):
                self._write_batch(position, batch)
            self._let_others_first(position)
        except Exception as error:
            self._end(self.fail(error))

    def _caught_up(self, task: asyncio.Task[None]) -> None:
        self._reading = None
        if not task.cancelled():
            self.notify()
