"""One group as a hub sees it: the newest frames, and how far each connection has got."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Protocol

from .layer import Hint
from .ring import Ring
from .wire import Frame, reset_fields

PAGE = 100  # offsets in a page of the log
PAGES = 8  # kept in memory for readers who want the same
MAX_EARLY = 1000  # frames that came before one that is missing


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

    def leave(self) -> None:
        """Ends the position; the feed forgets it."""
        self.feed.forget(self)


class Feed:
    """The newest frames of a group and the positions of those who listen to it.

    It belongs to one event loop. ``page`` reads messages of the log: a page of ``PAGE`` offsets.
    """

    def __init__(self, name: str, page: Callable[[str, int], Awaitable[list[Frame]]]) -> None:
        self.name = name
        self.epoch = ""
        self.begin = 0
        self.floor = 0
        self.ring = Ring()
        self.positions: set[Position] = set()
        self.idle_since: float | None = None
        self.joining = 0  # who are about to follow
        self.early: dict[int, Frame] = {}
        self._read_page = page
        self._pages: OrderedDict[int, asyncio.Future[list[Frame]]] = OrderedDict()

    @property
    def is_logged(self) -> bool:
        """Whether there is a log behind this feed; otherwise it is live only."""
        return bool(self.epoch)

    @property
    def head(self) -> int:
        """The offset of the newest message delivered here."""
        return self.ring.last

    def restart(self, epoch: str, head: int, floor: int) -> None:
        """Begins a new epoch at ``head``: whatever positions meant before, they go on from there."""
        self.epoch, self.begin, self.floor = epoch, head, floor
        self.ring.clear(head)
        self.early.clear()
        self._pages.clear()
        self.notify()

    def notify(self) -> None:
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
        recovered = after is not None and self.is_logged and epoch == self.epoch and self.floor <= after <= self.head
        if recovered and after is not None:
            offset = after
        elif after is not None and self.is_logged and epoch == self.epoch and after < self.floor:
            offset = self.floor
        else:
            offset = self.head
        index = self.ring.index_after(offset)
        position = Position(self, follower, offset, self.ring.start - 1 if index is None else index)
        self.positions.add(position)
        self.idle_since = None
        return position, recovered

    def forget(self, position: Position) -> None:
        self.positions.discard(position)
        if not self.positions:
            self.idle_since = asyncio.get_running_loop().time()

    def is_at_end(self, position: Position) -> bool:
        return position.index == self.ring.end and position.epoch == self.epoch

    async def next_frames(self, position: Position, limit: int) -> list[Frame]:
        """The next frames for a position, which moves behind them; empty at the end.

        A frame is only ever taken if it directly follows the position; otherwise a ``reset`` says so
        first. Raises LogUnavailable or NoLog when older messages cannot be read.
        """
        if position.epoch != self.epoch:
            return [self.reset(position, self.begin, "The message log starts anew.")]
        if position.index < self.ring.start and not self.rejoin(position):
            return await self.older_frames(position)
        frames = self.ring.since(position.index, limit)
        wanted = [
            frame
            for index, frame in enumerate(frames, position.index)
            if frame.offset is not None or index >= position.since
        ]
        position.index += len(frames)
        position.offset = next(
            (frame.offset for frame in reversed(wanted) if frame.offset is not None),
            position.offset,
        )
        return wanted

    def rejoin(self, position: Position) -> bool:
        """Moves a position that fell out of the ring back into it, if it misses nothing there."""
        index = self.ring.index_after(position.offset) if self.is_logged else self.ring.start
        if index is None:
            return False
        position.index = index
        return True

    async def older_frames(self, position: Position) -> list[Frame]:
        after = max(position.offset, self.floor)
        page = await self.page(after)
        if position.epoch != self.epoch:
            return []
        # The log may be ahead of the feed; a position never is.
        frames = [frame for frame in page if after < (frame.offset or 0) <= self.head]
        following = min((after // PAGE + 1) * PAGE, self.head) if not frames else (frames[0].offset or 0) - 1
        if following != position.offset:
            gone = "Messages you missed are no longer kept."
            return [self.reset(position, following, gone)]
        contiguous = [frame for number, frame in enumerate(frames, after + 1) if frame.offset == number]
        position.offset = contiguous[-1].offset or 0
        return contiguous

    def reset(self, position: Position, offset: int, reason: str) -> Frame:
        position.epoch, position.offset = self.epoch, offset
        index = self.ring.index_after(offset)
        position.index = self.ring.start - 1 if index is None else index
        told = offset if self.is_logged else None
        return Frame(reset_fields(self.name, self.epoch, told, reason))

    async def page(self, after: int) -> list[Frame]:
        """The page of the log that holds the offset after ``after``; one read for all who want it."""
        number = after // PAGE
        pending = self._pages.get(number)
        if pending is None or (pending.done() and not holds(pending, after + 1)):
            pending = asyncio.ensure_future(self._read_page(self.name, number * PAGE))
            pending.add_done_callback(lambda page: page.cancelled() or page.exception())
            self._pages[number] = pending
            while len(self._pages) > PAGES:
                self._pages.popitem(last=False)
        return await asyncio.shield(pending)


def holds(pending: asyncio.Future[list[Frame]], offset: int) -> bool:
    """Whether a page that was read has something at or after ``offset``."""
    if pending.cancelled() or pending.exception() is not None:
        return False
    page = pending.result()
    return bool(page) and (page[-1].offset or 0) >= offset
