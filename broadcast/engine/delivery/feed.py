"""One group as a hub sees it: the newest frames, and how far each connection has got."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import accumulate
from typing import Protocol

from ..hinting.layer import Hint
from ..wire import Dialect, Frame, reset_fields
from .pages import Page, Pages
from .ring import Ring

MAX_EARLY = 1000  # frames that came before one that is missing
MAX_CHUNKS = 8  # kept for those who are at the same place
CHUNK_FRAMES = 256
CHUNK_CHARACTERS = 64 * 1024

Mark = tuple[int, int]
"""Where a position stands: an index in the ring (before its start for "not in there") and an offset."""


def place_for(after: int | None, is_current: bool, head: int, floor: int) -> tuple[int, bool]:
    """The offset from which on most of what ``after`` asks for can be had, and whether that is all of it.

    ``is_current`` says whether ``after`` counts in the epoch of the log.
    """
    if after is None or not is_current or after > head:
        return head, False
    return max(after, floor), after >= floor


class Follower(Protocol):
    """Whoever has a position in a feed; told when there may be something to read."""

    def notify(self) -> None: ...


class Position:
    """How far one connection has got in a group: by offset in the log, by index in the ring."""

    __slots__ = ("epoch", "feed", "follower", "index", "offset", "since")

    def __init__(self, feed: Feed, follower: Follower, offset: int, index: int) -> None:
        self.feed = feed
        self.follower = follower
        self.epoch = feed.epoch
        self.offset = offset
        self.index = index
        self.since = feed.ring.end  # ephemeral frames from before are not for this position

    def passed(self, chunk: Chunk, count: int) -> None:
        """Moves behind the first ``count`` frames of a chunk."""
        self.index, self.offset = chunk.marks[count - 1]
        self.epoch = chunk.epoch

    def leave(self) -> None:
        """Ends the position; the feed forgets it."""
        self.feed.forget(self)


class Chunk:
    """Frames that follow each other, and where a position stands after each of them.

    ``was_all`` says whether there was nothing behind them when it was made. What comes later is notified.
    """

    __slots__ = ("_data", "epoch", "frames", "marks", "was_all")

    def __init__(self, epoch: str, frames: list[Frame], marks: list[Mark], was_all: bool = False) -> None:
        self.epoch = epoch
        self.frames = frames
        self.marks = marks
        self.was_all = was_all
        self._data: dict[Dialect, tuple[bytes, list[int]]] = {}

    def data(self, dialect: Dialect) -> tuple[bytes, list[int]]:
        """The frames as they go to a socket, joined once for all, and where in there each one ends."""
        data = self._data.get(dialect)
        if data is None:
            parts = [frame.data(dialect) for frame in self.frames]
            data = self._data[dialect] = (b"".join(parts), list(accumulate(map(len, parts))))
        return data


class Feed:
    """The newest frames of a group and the positions of those who listen to it.

    It belongs to one event loop. ``read_page`` reads a page of the log.
    """

    def __init__(self, name: str, read_page: Callable[[str, int], Awaitable[Page]]) -> None:
        self.name = name
        self.epoch = ""
        self.begin = 0
        self.floor = 0
        self.ring = Ring()
        self.positions: dict[Position, None] = {}
        self.idle_since: float | None = None
        self.joining = 0  # who are about to follow
        self.early: dict[int, Frame] = {}
        self._pages = Pages(name, read_page)
        self._chunks: dict[int, Chunk] = {}

    @property
    def is_logged(self) -> bool:
        """Whether there is a log behind this feed; otherwise it is live only."""
        return bool(self.epoch)

    @property
    def head(self) -> int:
        """The offset of the newest message delivered here."""
        return self.ring.last

    def restart(self, epoch: str, begin: int, floor: int) -> None:
        """Goes over to another epoch: whatever positions meant before, they go on from where it begins."""
        self.epoch, self.begin, self.floor = epoch, max(begin, floor), floor
        self.ring.clear(self.begin)
        self.early.clear()
        self._pages.clear()
        self.notify()

    def notify(self) -> None:
        """Tells every follower that the feed has grown."""
        self._chunks.clear()
        for position in self.positions:
            position.follower.notify()

    # Hints

    def take(self, hint: Hint) -> bool:
        """Appends what follows; whether something is missing, so that the log must be asked."""
        if hint.head is None:
            for frame in hint.frames:
                self.ring.append(frame)
            self.notify()
            return False
        if hint.epoch != self.epoch:
            return True
        for frame in hint.frames:
            self.put(frame)
        self.notify()
        return hint.head > self.head

    def put(self, frame: Frame) -> None:
        """Appends a frame of the log if it is the next one; keeps it if it is early, drops it if late."""
        offset = frame.offset or 0
        if offset > self.head + 1 and len(self.early) < MAX_EARLY:
            self.early[offset] = frame
        elif offset == self.head + 1:
            self.ring.append(frame)
            while following := self.early.pop(self.head + 1, None):
                self.ring.append(following)

    def absorb(self, frames: list[Frame], asked: int, head: int) -> None:
        """Takes what the log has after ``asked``, up to ``head``; what it should have and has not is gone."""
        first = (frames[0].offset or 0) if frames else head + 1
        if self.head == asked and first > asked + 1:
            self.skip_to(first - 1)
        for frame in frames:
            self.put(frame)
        self.early = {key: frame for key, frame in self.early.items() if key > self.head}

    def skip_to(self, offset: int) -> None:
        """Goes on after ``offset``: what lies between is left to readers to fetch, or is gone."""
        self.ring.clear(offset)

    # Positions

    def follow(self, follower: Follower, after: int | None, epoch: str) -> tuple[Position, bool]:
        """A position for a newcomer, and whether it gets everything after what it asked for."""
        is_current = self.is_logged and epoch == self.epoch
        offset, recovered = place_for(after, is_current, self.head, self.floor)
        index = self.ring.index_after(offset)
        position = Position(self, follower, offset, -1 if index is None else index)
        self.positions[position] = None
        self.idle_since = None
        return position, recovered

    def forget(self, position: Position) -> None:
        self.positions.pop(position, None)
        if not self.positions:
            self.idle_since = asyncio.get_running_loop().time()

    # Reading

    def chunk(self, position: Position) -> Chunk | None:
        """What a position gets next, with no frames at the end; None if only the log has it.

        A frame is in it only if it directly follows the position; otherwise a ``reset`` says so first.
        """
        chunk = self._chunks.get(position.index)
        if chunk is not None and position.index >= position.since:
            return chunk
        if position.epoch != self.epoch:
            return self.reset(max(self.begin, self.floor), "The message log starts anew.")
        oldest = max(self.ring.start, position.since)
        if position.index < oldest:
            index = self.index_in_ring(position) if self.is_logged else oldest
            if index is None:
                return None
            position.index = index
            if index < position.since:
                return self.recent(index, position.since)
        if len(self._chunks) >= MAX_CHUNKS:
            self._chunks.clear()
        chunk = self._chunks[position.index] = self.recent(position.index, 0)
        return chunk

    def index_in_ring(self, position: Position) -> int | None:
        """From where on a position misses nothing that the ring still has; None if it has to ask the log first."""
        index = self.ring.index_after(position.offset)
        return index if index is None or position.index < 0 else max(position.index, self.ring.start)

    def recent(self, index: int, since: int) -> Chunk:
        """What the ring has from ``index`` on, without the ephemeral frames before ``since``."""
        frames: list[Frame] = []
        marks: list[Mark] = []
        room = CHUNK_CHARACTERS
        for number, frame in enumerate(self.ring.since(index, CHUNK_FRAMES), index):
            if frame.offset is None and number < since:
                continue
            room -= frame.size
            if room < 0 and frames:
                break
            frames.append(frame)
            marks.append((number + 1, self.ring.mark(number)))
        was_all = bool(marks) and marks[-1][0] == self.ring.end
        return Chunk(self.epoch, frames, marks, was_all)

    async def older_chunk(self, position: Position) -> Chunk:
        """What the log has for a position that is not in the ring. Raises LogUnavailable or NoLog."""
        epoch, offset, after = self.epoch, position.offset, max(position.offset, self.floor)
        frames = await self._pages.after(after, self.head)
        if epoch != self.epoch or offset != position.offset or position.index >= self.ring.start:
            return Chunk(self.epoch, [], [])  # it got on without the log meanwhile
        following = (frames[0].offset or 0) - 1 if frames else min(self._pages.end_after(after), self.head)
        if following != position.offset:
            return self.reset(following, "Messages you missed are no longer kept.")
        contiguous = [frame for number, frame in enumerate(frames, after + 1) if frame.offset == number]
        return Chunk(self.epoch, contiguous, [(-1, frame.offset or 0) for frame in contiguous])

    def reset(self, offset: int, reason: str) -> Chunk:
        told = offset if self.is_logged else None
        index = self.ring.index_after(offset)
        mark = (-1 if index is None else index, offset)
        return Chunk(self.epoch, [Frame(reset_fields(self.name, self.epoch, told, reason))], [mark])
