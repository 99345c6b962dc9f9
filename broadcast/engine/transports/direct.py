"""Direct writes: bytes go to the kernel in one call per connection, joined for all, where a server lets us."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from ...conf import conf
from ..frames import STALLED, Dialect
from ..hub.crowd import Crowd
from ..hub.position import Batch, Position
from ..hub.scheduling import WriteScheduler
from .transport import Send, Transport


class Socket(Protocol):
    """A connection below its server's protocol.

    ``has_news`` says that something may wait there, or that it may have begun to close; ``on_news`` is called before.
    """

    has_news: bool
    on_news: Callable[[], None] | None

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
        """Lets the server drop what the client still sends."""


class DirectTransport(Transport):
    """Writes to a server's socket in the hub's rounds; needs no task while the client keeps up.

    Who has got everything and whose socket is clear is in the crowd of each of its groups, and is not visited.
    When the socket takes no more, the rest of the frame in progress is left to the server, and the
    position waits behind that frame until the socket has drained: a slow client costs a number.
    """

    __slots__ = ("_ending", "_socket", "_stall")

    def __init__(self, send: Send, dialect: Dialect, socket: Socket, scheduler: WriteScheduler) -> None:
        super().__init__(send, dialect, scheduler)
        self._socket = socket
        self._stall: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None
        socket.on_news = self._leave_crowds

    async def close(self) -> None:
        self.unfollow_all()
        self._socket.on_news = None
        self._socket.mute()
        if self._stall is not None:
            self._stall.cancel()
        await super().close()

    def _tasks(self) -> list[asyncio.Task[Any]]:
        return [*super()._tasks(), *([] if self._ending is None else [self._ending])]

    def write_ready(self) -> bool:
        """Writes a batch of each group's frames that no crowd writes: the visit of a round. Never raises."""
        try:
            for position in () if self._is_waiting else self.positions.values():
                if position.crowd is None and not self._enter_crowd(position) and not self._write_next(position):
                    self._let_others_first(position)
                    break
        except Exception as error:
            self.failed(error)
        return False

    def _write_next(self, position: Position) -> bool:
        """Writes what follows, if it is in the ring. Returns False if the socket did not take everything."""
        batch = position.stream.batch(position)
        if batch is None:
            self._read_older(position)
        elif not batch.frames:
            self._enter_crowd(position)
        else:
            return self._write_batch(position, batch)
        return True

    # Crowds

    def _enter_crowd(self, position: Position) -> bool:
        """Enters the crowd of a group, if the connection is clear and stands where the crowd does."""
        stream, place, socket = position.stream, position.place, self._socket
        if self._reading is not None or (socket.has_news and not socket.is_ready()):
            return False
        crowd = stream.crowds.get(self.dialect)
        if crowd is None:
            is_at_end = place.index == stream.ring.end and place.epoch == stream.epoch
            if not is_at_end or len(stream.positions) < 2:  # who is alone in a group needs no crowd
                return False
            crowd = Crowd(stream, self.dialect, self._scheduler)
        return crowd.enter(position, socket.send_now)

    def _leave_crowds(self) -> None:
        """Leaves all crowds, before anything is written that may wait: nothing else may get into the midst of it."""
        for position in self.positions.values():
            if position.crowd is not None:
                position.crowd.leave(position)
                self.notify()

    def _pause(self) -> None:
        """Is not visited any more, until further notice."""
        self._is_waiting = True
        self._leave_crowds()

    def took(self, position: Position, batch: Batch, size: int) -> None:
        """Leaves the rest of the frame in progress to the server, and waits behind it."""
        data, ends = batch.data(self.dialect)
        self._pause()
        if whole := self._socket.hand_over(data, size, ends):
            position.passed(batch, batch.pieces(self.dialect)[whole - 1][1])
        self._wait()

    def failed(self, error: Exception) -> None:
        self._end(self.fail(error))

    # Alone

    def _write_batch(self, position: Position, batch: Batch) -> bool:
        """Writes what the socket takes. Returns True if it took everything."""
        socket = self._socket
        if socket.has_news and not socket.is_ready():
            self._wait()
            return False
        data, _ = batch.data(self.dialect)
        try:
            taken = socket.send_now(data) if data else 0
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

    def _end(self, closing: Coroutine[Any, Any, None]) -> None:
        """Closes the connection in a task of its own: whoever finds that it must be cannot wait for it."""
        self._pause()
        if self._ending is None:
            self._ending = asyncio.create_task(closing)
        else:
            closing.close()
