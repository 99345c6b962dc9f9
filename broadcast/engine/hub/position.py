"""Positions: how far the connections that follow a stream have got."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..frames import Batch

if TYPE_CHECKING:
    from .crowd import Crowd
    from .stream import GroupStream


class Follower(Protocol):
    """A reader with a position in a stream; notified when there may be something to read."""

    def notify(self) -> None: ...


class Place:
    """A place in a stream: by offset in the log of an epoch, by index in the ring. A crowd's members share one."""

    __slots__ = ("epoch", "index", "offset")

    def __init__(self, epoch: str, index: int, offset: int) -> None:
        self.epoch = epoch
        self.index = index
        self.offset = offset

    def copy(self) -> Place:
        return Place(self.epoch, self.index, self.offset)


class Position:
    """The position of one connection in a group. In a crowd, its place is the crowd's."""

    __slots__ = ("crowd", "ephemeral_from", "follower", "joined_at", "place", "slot", "stream")

    def __init__(self, stream: GroupStream, follower: Follower, place: Place) -> None:
        self.stream = stream
        self.follower = follower
        self.place = place
        self.joined_at = place.offset
        self.ephemeral_from = stream.ring.end  # ephemeral frames from before are not for this position
        self.crowd: Crowd | None = None
        self.slot = 0

    @property
    def epoch(self) -> str:
        return self.place.epoch

    @property
    def offset(self) -> int:
        return self.place.offset

    def passed(self, batch: Batch, count: int) -> None:
        """Moves behind the first ``count`` frames of a batch."""
        place = self.place
        place.index, place.offset = batch.marks[count - 1]
        if place.epoch != batch.epoch:
            place.epoch, self.joined_at = batch.epoch, place.offset

    def leave(self) -> None:
        """Ends the position; the stream forgets it."""
        if self.crowd is not None:
            self.crowd.leave(self)
        self.stream.forget(self)
