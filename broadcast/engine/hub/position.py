"""Positions: how far the connections that follow a stream have got, and the frames that follow."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from ..frames import Dialect, Frame, text_frame

if TYPE_CHECKING:
    from .crowd import Crowd
    from .stream import GroupStream

ARRAY_CHARACTERS = 16 * 1024

Mark = tuple[int, int]
"""A place in one epoch: an index in the ring (before its start for "not in there") and an offset in the log."""

Piece = tuple[str, int]
"""A text frame as it is sent, empty if its dialect has no such frame, and how many frames of a batch end with it."""


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


class Batch:
    """Frames that follow each other, and where a position stands after each of them.

    ``is_last`` says whether there was nothing behind them when it was made. What comes later is notified.
    """

    __slots__ = ("_data", "_pieces", "epoch", "frames", "is_last", "marks")

    def __init__(self, epoch: str, frames: list[Frame], marks: list[Mark], is_last: bool = False) -> None:
        self.epoch = epoch
        self.frames = frames
        self.marks = marks
        self.is_last = is_last
        self._data: dict[Dialect, tuple[bytes, list[int]]] = {}
        self._pieces: dict[Dialect, list[Piece]] = {}

    def pieces(self, dialect: Dialect) -> list[Piece]:
        """What a client is sent, one text frame after another; an array of frames where it takes batches."""
        pieces = self._pieces.get(dialect)
        if pieces is None:
            pieces = self._pieces[dialect] = (
                arrays(self.frames)
                if dialect is Dialect.BATCH
                else [(frame.text(dialect), count) for count, frame in enumerate(self.frames, 1)]
            )
        return pieces

    def data(self, dialect: Dialect) -> tuple[bytes, list[int]]:
        """The pieces as they go to a socket, joined once for all, and where in there each one ends."""
        data = self._data.get(dialect)
        if data is None:
            if dialect is Dialect.BATCH:
                parts = [text_frame(text) for text, _ in self.pieces(dialect)]
            else:
                parts = [frame.data(dialect) for frame in self.frames]
            data = self._data[dialect] = (b"".join(parts), list(accumulate(map(len, parts))))
        return data


def arrays(frames: list[Frame]) -> list[Piece]:
    """Frames as JSON arrays, none much longer than ARRAY_CHARACTERS: one that was begun has to be finished."""
    pieces: list[Piece] = []
    texts: list[str] = []
    size = 0
    for count, frame in enumerate(frames, 1):
        texts.append(frame.text(Dialect.V1))
        size += frame.size
        if size >= ARRAY_CHARACTERS or count == len(frames):
            pieces.append((texts[0] if len(texts) == 1 else f"[{','.join(texts)}]", count))
            texts, size = [], 0
    return pieces
