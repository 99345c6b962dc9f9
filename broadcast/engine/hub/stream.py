"""One group as a hub sees it: the newest frames, and how far each connection has got."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from ..frames import Batch, Dialect, Frame, Mark, reset_fields
from ..hints.hint import Hint
from ..storage.records import VOID
from .pages import Page, Pages
from .position import Follower, Place, Position
from .ring import Ring

if TYPE_CHECKING:
    from .crowd import Crowd

MAX_OUT_OF_ORDER = 1000  # frames that came before one that is missing
MAX_BATCHES = 8  # kept for those who are at the same place
BATCH_FRAMES = 256
BATCH_CHARACTERS = 64 * 1024


def resume_point(after: int | None, epoch: str, current: str, head: int, floor: int) -> tuple[int, bool]:
    """The offset to resume from in the ``current`` epoch, and whether nothing after ``after`` of ``epoch`` is lost.

    Nothing was ever sent before offset 0 of the void epoch, so it stands at 0 of any other.
    """
    is_void = epoch == VOID and after == 0
    if after is None or after > head or not current or not (is_void or epoch == current):
        return head, False
    return max(after, floor), after >= floor


class GroupStream:
    """The newest frames of a group and the positions of those who listen to it.

    It belongs to one event loop. ``read_page`` reads the page of the log that follows an offset. There are as many as
    readers where each has a group of their own, so what is seldom needed is made when it is.
    """

    __slots__ = (
        *("name", "epoch", "begin", "floor", "ring", "positions", "crowds", "idle_since", "joining", "out_of_order"),
        *("_batches", "_pages_read", "_read_page", "_told_epoch", "_told_end"),
    )

    def __init__(self, name: str, read_page: Callable[[GroupStream, int], Awaitable[Page]]) -> None:
        self.name = name
        self.epoch = ""
        self.begin = 0
        self.floor = 0
        self.ring = Ring()
        self.positions: dict[Position, None] = {}  # of those who are in no crowd, and one of each crowd
        self.crowds: dict[Dialect, Crowd] = {}
        self.idle_since: float | None = None
        self.joining = 0  # who are about to follow
        self.out_of_order: dict[int, Frame] = {}
        self._read_page = read_page
        self._pages_read: Pages | None = None
        self._batches: dict[int, Batch] = {}
        self._told_epoch, self._told_end = "", 0

    @property
    def _pages(self) -> Pages:
        if self._pages_read is None:
            self._pages_read = Pages(partial(self._read_page, self))
        return self._pages_read

    @property
    def is_logged(self) -> bool:
        """True if there is a log behind this stream; otherwise it is live only."""
        return bool(self.epoch)

    @property
    def head(self) -> int:
        """The offset of the newest message delivered here."""
        return self.ring.last

    def restart(self, epoch: str, begin: int, floor: int) -> None:
        """Goes over to another epoch: whatever positions meant before, they go on from where it begins."""
        is_first = self.epoch == VOID and max(begin, floor) == 0
        self.epoch, self.begin, self.floor = epoch, max(begin, floor), floor
        if not is_first:  # otherwise ephemeral frames are all there is, and they are still to be delivered
            self.ring.clear(self.begin)
        self.out_of_order.clear()
        self._pages_read = None
        self.notify()

    def notify(self) -> None:
        """Notifies every follower that the stream has grown, if it has."""
        if self._told_end == self.ring.end and self._told_epoch == self.epoch:
            return
        self._told_epoch, self._told_end = self.epoch, self.ring.end
        self._batches.clear()
        for position in self.positions:
            position.follower.notify()

    # Hints

    def apply_hint(self, hint: Hint) -> bool:
        """Appends what follows. Returns True if something is missing, so that the log must be asked."""
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
        return self.is_behind(hint)

    def is_behind(self, hint: Hint) -> bool:
        """True if the log has what a hint tells of and this stream has not."""
        return hint.epoch != self.epoch or (hint.head or 0) > self.head

    def put(self, frame: Frame) -> None:
        """Appends a frame of the log if it is the next one; keeps it if it is early, drops it if late."""
        offset = frame.offset or 0
        ring = self.ring
        if offset > ring.last + 1 and len(self.out_of_order) < MAX_OUT_OF_ORDER:
            self.out_of_order[offset] = frame
        elif offset == ring.last + 1:
            ring.append(frame)
            while self.out_of_order and (following := self.out_of_order.pop(ring.last + 1, None)):
                ring.append(following)

    def apply_page(self, frames: list[Frame], asked: int, head: int) -> None:
        """Adds a page of the log, read after ``asked``; offsets up to ``head`` that it lacks are gone and skipped."""
        first = (frames[0].offset or 0) if frames else head + 1
        if self.head == asked and first > asked + 1:
            self.skip_to(first - 1)
        for frame in frames:
            self.put(frame)
        self.out_of_order = {key: frame for key, frame in self.out_of_order.items() if key > self.head}

    def skip_to(self, offset: int) -> None:
        """Goes on after ``offset``: what lies between is left to readers to fetch, or is gone."""
        self.ring.clear(offset)

    # Positions

    def knows(self, after: int, epoch: str) -> bool:
        """False for a place that the log may have got to already, and this stream has not."""
        return after <= self.head and epoch in (self.epoch, VOID)

    def follow(self, follower: Follower, after: int | None, epoch: str) -> tuple[Position, bool]:
        """A position for a newcomer, and whether it gets everything after what it asked for."""
        offset, recovered = resume_point(after, epoch, self.epoch, self.head, self.floor)
        index = self.ring.index_after(offset)
        position = Position(self, follower, Place(self.epoch, -1 if index is None else index, offset))
        self.positions[position] = None
        self.idle_since = None
        return position, recovered

    def forget(self, position: Position) -> None:
        self.positions.pop(position, None)
        if not self.positions:
            self.idle_since = asyncio.get_running_loop().time()

    # Reading

    def batch(self, position: Position) -> Batch | None:
        """The next batch for a position, without frames at the end of the stream; None if only the log has it.

        A frame is in it only if it directly follows the position; otherwise a ``reset`` says so first.
        """
        place = position.place
        if place.epoch != self.epoch:
            return self.begin_anew(position)
        batch = self._batches.get(place.index)
        if batch is not None and place.index >= position.ephemeral_from:
            return batch
        oldest = max(self.ring.start, position.ephemeral_from)
        if place.index < oldest:
            index = self.index_in_ring(position) if self.is_logged else oldest
            if index is None:
                return None
            place.index = index
            if index < position.ephemeral_from:
                return self.recent(index, position.ephemeral_from)
        if len(self._batches) >= MAX_BATCHES:
            self._batches.clear()
        batch = self._batches[place.index] = self.recent(place.index, 0)
        return batch

    def index_in_ring(self, position: Position) -> int | None:
        """From where on a position misses nothing that the ring still has; None if it has to ask the log first."""
        index = self.ring.index_after(position.offset)
        if index is None or position.place.index < 0:
            return index
        return max(position.place.index, self.ring.start, min(index, position.ephemeral_from))

    def recent(self, index: int, ephemeral_from: int) -> Batch:
        """The ring's frames from ``index`` on, without the ephemeral ones before ``ephemeral_from``."""
        frames: list[Frame] = []
        marks: list[Mark] = []
        room = BATCH_CHARACTERS
        for number, (frame, last) in enumerate(self.ring.after(index, BATCH_FRAMES), index):
            if frame.offset is None and number < ephemeral_from:
                continue
            room -= frame.size
            if room < 0 and frames:
                break
            frames.append(frame)
            marks.append((number + 1, last))
        is_last = bool(marks) and marks[-1][0] == self.ring.start + len(self.ring.frames)
        return Batch(self.epoch, frames, marks, is_last)

    async def older_batch(self, position: Position) -> Batch:
        """The next batch, from the log, for a position that is not in the ring. Raises LogUnavailable."""
        epoch, offset, head, after = self.epoch, position.offset, self.head, max(position.offset, self.floor)
        frames = await self._pages.after(after, head)
        if epoch != self.epoch or offset != position.offset or position.place.index >= self.ring.start:
            return Batch(self.epoch, [], [])  # it got on without the log meanwhile
        following = (frames[0].offset or 0) - 1 if frames else max(after, min(self._pages.end_after(after), head))
        if following != position.offset:
            return self.reset(following, "Messages you missed are no longer kept.")
        contiguous = [frame for number, frame in enumerate(frames, after + 1) if frame.offset == number]
        return Batch(self.epoch, contiguous, [(-1, frame.offset or 0) for frame in contiguous])

    def begin_anew(self, position: Position) -> Batch:
        """Moves a position of another epoch to where this one begins; from the void one nothing is lost by that."""
        start = max(self.begin, self.floor)
        if position.epoch == VOID and start == 0:
            fields = reset_fields(self.name, self.epoch, start, "The message log begins.", is_lost=False)
            return Batch(self.epoch, [Frame(fields)], [(position.place.index, start)])
        return self.reset(start, "The message log starts anew.")

    def reset(self, offset: int, reason: str) -> Batch:
        told = offset if self.is_logged else None
        index = self.ring.index_after(offset)
        mark = (-1 if index is None else index, offset)
        return Batch(self.epoch, [Frame(reset_fields(self.name, self.epoch, told, reason))], [mark])
