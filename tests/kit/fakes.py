"""Fakes of the sockets of daphne's that direct transports write to."""

from bisect import bisect_right
from collections.abc import Callable

from broadcast.engine.transports.direct import unheard

ENDLESS = 10**9


class OfDaphne:
    """A fake of a socket of daphne's: what it does with the rest of a frame."""

    on_news: Callable[[], None] = staticmethod(unheard)

    def write_buffered(self, rest: bytes) -> None:
        raise NotImplementedError

    def hand_over(self, data: bytes, taken: int, ends: list[int]) -> int:
        whole = bisect_right(ends, taken)
        self.write_buffered(data[taken : ends[whole]])
        return whole + 1


class FakeSocket(OfDaphne):
    """A socket of daphne's whose kernel takes as many bytes as there is ``room`` for; the rest is in ``buffer``."""

    def __init__(self) -> None:
        self.is_open = True
        self.is_lost = False
        self.is_muted = False
        self.is_dropped = False
        self.room = ENDLESS
        self.taken = b""
        self.buffer = b""
        self.writes: list[bytes] = []
        self.error: Exception | None = None  # of the next write
        self._on_drained: Callable[[], None] | None = None

    def is_ready(self) -> bool:
        return self.is_open and not self.buffer

    def send_now(self, data: bytes) -> int:
        assert self.is_open, "written to after the close"
        assert not self.buffer, "written into the middle of a frame"
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        if self.is_lost:
            raise ConnectionResetError
        self.writes.append(data)
        count = min(len(data), self.room)
        self._take(data[:count])
        return count

    def write(self, data: bytes) -> None:
        """What the server writes of its own accord: at once, if nothing waits."""
        if self.buffer or len(data) > self.room:
            self.on_news()
        self.buffer += data
        self.drain(self.room)

    def close(self) -> None:
        self.on_news()
        self.is_open = False

    def write_buffered(self, rest: bytes) -> None:
        assert rest
        self.on_news()
        self.buffer += rest
        self.drain(self.room)

    def when_drained(self, callback: Callable[[], None]) -> None:
        self._on_drained = callback

    def abort_if_closing(self) -> None:
        self.is_dropped = not self.is_open

    def mute(self) -> None:
        self.is_muted = True

    def drain(self, room: int) -> None:
        self.room = room
        data, self.buffer = self.buffer[:room], self.buffer[room:]
        self._take(data)
        if not self.buffer and self._on_drained is not None:
            callback, self._on_drained = self._on_drained, None
            callback()

    def _take(self, data: bytes) -> None:
        self.taken += data
        self.room -= len(data)
