"""Direct writes: on daphne, bytes go to the kernel in one call per connection, joined for all."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Coroutine
from typing import Any

from ...conf import conf
from ..frames import STALLED, Dialect
from ..hub.stream import Batch, Position
from ..hub.write_scheduler import WriteScheduler
from .asgi import Send, Transport
from .daphne.internals import DaphneSocket


class DirectTransport(Transport):
    """Writes to daphne's socket in the hub's rounds; needs no task while the client keeps up.

    When the socket takes no more, the rest of the frame in progress is left to the server, and the
    position waits behind that frame until the socket has drained: a slow client costs a number.
    """

    __slots__ = ("_ending", "_is_waiting", "_reading", "_rounds", "_socket", "_stall")

    def __init__(self, send: Send, dialect: Dialect, socket: DaphneSocket, scheduler: WriteScheduler) -> None:
        super().__init__(send, dialect)
        self._socket = socket
        self._rounds = scheduler
        self._is_waiting = False
        self._stall: asyncio.TimerHandle | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    def notify(self) -> None:
        if not self._is_waiting:
            self._rounds.add(self)

    async def close(self) -> None:
        await super().close()
        self._socket.mute()
        self._rounds.remove(self)
        self._is_waiting = True
        if self._stall is not None:
            self._stall.cancel()
        if tasks := [task for task in (self._reading, self._ending) if task is not None]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def write_ready(self) -> None:
        """Writes a chunk of each group's frames: the visit of a round. Never raises."""
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
        """Writes what the socket takes; whether it took everything."""
        socket = self._socket
        if not socket.is_ready:
            self._wait()
            return False
        data, recover = batch.data(self.dialect)
        taken = socket.write_some(data) if data else 0
        if taken == len(data):
            position.passed(batch, len(batch.frames))
            if not batch.is_last:
                self.notify()
            return True
        whole = bisect_right(recover, taken)
        socket.hand_over(data[taken : recover[whole]])
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
