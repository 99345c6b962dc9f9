"""The crowd: one place in a stream for all who have got everything and whose sockets are clear."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

from ..frames import Batch, Dialect
from .position import Follower, Place, Position

if TYPE_CHECKING:
    from ..transports.direct import WriteScheduler
    from .stream import GroupStream

SLICE = 64  # members written to between two looks at the clock

Send = Callable[[bytes], int]
"""A socket's ``send``: how many bytes the kernel took at once. Raises OSError."""


class Member(Follower, Protocol):
    """A connection that can be in crowds."""

    def took(self, position: Position, batch: Batch, size: int) -> None:
        """Goes on alone, from before a batch of which it took only so many bytes."""

    def failed(self, error: Exception) -> None:
        """Ends, because it could not be written to in a way that nobody foresaw."""


class Crowd:
    """The members of one group in one dialect who stand at one place, written to in one loop.

    While a loop is under way, the members before the cursor have its batch and the others have not: whoever
    leaves or enters meanwhile stands behind the batch or before it, by the side of the cursor.
    """

    __slots__ = ("_batch", "_cursor", "_dialect", "_members", "_position", "_scheduler", "_sends", "_stream")

    def __init__(self, stream: GroupStream, dialect: Dialect, scheduler: WriteScheduler) -> None:
        self._stream = stream
        self._dialect = dialect
        self._scheduler = scheduler
        self._position = Position(stream, self, Place(stream.epoch, stream.ring.end, stream.head))
        self._members: list[Position] = []
        self._sends: list[Send] = []
        self._batch: Batch | None = None
        self._cursor = 0
        stream.positions[self._position] = None
        stream.crowds[dialect] = self

    def notify(self) -> None:
        self._scheduler.add(self)

    # Coming and going

    def enter(self, position: Position, send: Send) -> bool:
        """Takes a position in, if it stands where the crowd does and nothing is due to it that the crowd has had."""
        place, here = position.place, self._position.place
        if place.epoch != here.epoch or place.index < position.ephemeral_from:
            return False
        is_behind = self._batch is not None and place.index == self._batch.marks[-1][0]
        if not is_behind and place.index != here.index:
            return False
        del self._stream.positions[position]
        position.crowd, position.place = self, here
        self._members.append(position)
        self._sends.append(send)
        position.slot = len(self._members) - 1
        if is_behind:
            self._swap(position.slot, self._cursor)
            self._cursor += 1
        return True

    def leave(self, position: Position) -> None:
        """Lets a member go on alone, from where it stands."""
        slot = position.slot
        position.place = self._place_at(slot)
        if slot < self._cursor:
            self._cursor -= 1
            self._swap(slot, self._cursor)
            slot = self._cursor
        self._swap(slot, len(self._members) - 1)
        self._members.pop()
        self._sends.pop()
        position.crowd = None
        self._stream.positions[position] = None
        if not self._members:
            self._end()

    def _place_at(self, slot: int) -> Place:
        place, batch = self._position.place, self._batch
        return Place(place.epoch, *batch.marks[-1]) if batch is not None and slot < self._cursor else place.copy()

    def _swap(self, one: int, other: int) -> None:
        members, sends = self._members, self._sends
        members[one], members[other] = members[other], members[one]
        sends[one], sends[other] = sends[other], sends[one]
        members[one].slot, members[other].slot = one, other

    def _dissolve(self) -> None:
        """Has every member go on alone: something has happened that each has to be told by itself."""
        for position in reversed(list(self._members)):
            self.leave(position)
            position.follower.notify()

    def _end(self) -> None:
        self._batch = None
        self._scheduler.remove(self)
        del self._stream.crowds[self._dialect]
        self._stream.forget(self._position)

    # Writing

    def write_ready(self) -> bool:
        """Writes a batch to some of those who have not got it: a visit of a round. True if others are left."""
        batch = self._batch or self._begin()
        if batch is None:
            return False
        data, _ = batch.data(self._dialect)
        if not data:  # nothing that this dialect has words for
            self._cursor = len(self._members)
        else:
            self._write_slice(batch, data)
        if self._batch is not None and self._cursor >= len(self._members):
            self._finish(batch)
        return self._batch is not None

    def _begin(self) -> Batch | None:
        """The batch to write now, if there is one; in another epoch, or where only the log has it, nobody is left."""
        try:
            is_same = self._position.epoch == self._stream.epoch
            batch = self._stream.batch(self._position) if is_same else None
            if batch is not None:
                batch.data(self._dialect)  # made here once, or not at all
        except Exception:
            batch = None  # each meets it again by itself, and tells
        if batch is None:
            self._dissolve()
        elif batch.frames:
            self._batch, self._cursor = batch, 0
        return self._batch

    def _write_slice(self, batch: Batch, data: bytes) -> None:
        size, start = len(data), self._cursor
        outcomes: list[tuple[int, int | Exception]] = []  # of those who did not take all
        for slot, send in enumerate(self._sends[start : start + SLICE], start):
            try:
                taken = send(data)
            except OSError:
                outcomes.append((slot, 0))  # nothing for now, or nothing ever again
            except Exception as error:
                outcomes.append((slot, error))
            else:
                if taken != size:
                    outcomes.append((slot, taken))
        self._cursor = min(start + SLICE, len(self._sends))
        for slot, outcome in reversed(outcomes):  # so that no slot that is yet to come has moved
            self._part_with(self._members[slot], batch, outcome)

    def _part_with(self, position: Position, batch: Batch, outcome: int | Exception) -> None:
        self.leave(position)
        position.place = self._position.place.copy()
        member = cast(Member, position.follower)
        if isinstance(outcome, Exception):
            member.failed(outcome)
        else:
            try:
                member.took(position, batch, outcome)
            except Exception as error:
                member.failed(error)

    def _finish(self, batch: Batch) -> None:
        self._batch, self._cursor = None, 0
        self._position.passed(batch, len(batch.frames))
        if not batch.is_last:
            self.notify()
