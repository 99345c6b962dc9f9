"""The newest frames of one group, kept in memory, so that most readers never ask the log."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from ..frames import Frame

MAX_FRAMES = 1000
MAX_CHARACTERS = 1024 * 1024
BURST_FACTOR = 8  # times as much while it is new, so that a burst of ephemeral frames reaches whoever reads as it comes


class Ring:
    """Frames in the order of their arrival, each with an index that only ever grows.

    Among them are ephemeral frames, which have no offset. The offsets of the others follow each
    other without a gap: a frame that would leave one empties the ring first. So a reader that is
    anywhere inside the ring misses nothing by reading on.
    """

    __slots__ = ("_old", "frames", "last", "marks", "size", "start")

    def __init__(self) -> None:
        self.start = 0
        self.frames: list[Frame] = []
        self.marks: list[int] = []
        self.size = 0
        self.last = 0
        self._old = 0

    @property
    def end(self) -> int:
        """The index that the next frame will get."""
        return self.start + len(self.frames)

    def clear(self, last: int) -> None:
        """Forgets every frame; the next one with an offset is expected to follow ``last``.

        Every index given out so far lies before the new start: who was at the end may have missed something too.
        """
        self.start = self.end + 1
        self.frames.clear()
        self.marks.clear()
        self.size = 0
        self.last = last

    def append(self, frame: Frame) -> None:
        if frame.offset is not None:
            if frame.offset != self.last + 1:
                self.clear(frame.offset - 1)
            self.last = frame.offset
        self.frames.append(frame)
        self.marks.append(self.last)
        self.size += frame.size
        if len(self.frames) > MAX_FRAMES * BURST_FACTOR or self.size > MAX_CHARACTERS * BURST_FACTOR:
            self._evict(BURST_FACTOR, self.end)

    def trim(self) -> None:
        """Called now and then: what was there at the last call already is no longer new."""
        self._evict(1, self._old)
        self._old = self.end

    def _evict(self, times: int, end: int) -> None:
        """Drops the oldest frames before ``end``, a tenth at a time, beyond so many times what is kept."""
        frames, characters = MAX_FRAMES * times, MAX_CHARACTERS * times
        while self.start < end and (len(self.frames) > frames or (self.size > characters and len(self.frames) > 1)):
            count = min(max(1, len(self.frames) // 10), end - self.start)
            self.size -= sum(frame.size for frame in self.frames[:count])
            del self.frames[:count], self.marks[:count]
            self.start += count

    def index_after(self, offset: int) -> int | None:
        """The index from which on a reader at ``offset`` misses nothing; None if that is no longer here."""
        first = next((frame.offset for frame in self.frames if frame.offset is not None), None)
        oldest = self.last if first is None else first - 1
        if not oldest <= offset <= self.last:
            return None
        return self.start + bisect_right(self.marks, offset)

    def after(self, index: int, limit: int) -> Iterator[tuple[Frame, int]]:
        """Up to ``limit`` frames from ``index`` on, which must not lie before the start; each with the last offset."""
        first = index - self.start
        return zip(self.frames[first : first + limit], self.marks[first : first + limit], strict=True)
