"""Reading along: a group's frames one after another, for whoever is not a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from ...conf import conf
from ...exceptions import LogUnavailable
from ..frames import Frame, reset_fields
from ..node import Node
from ..process import current_process
from .position import Position


class Reader:
    """Follows one stream at the pace of whoever asks for the next frames."""

    def __init__(self, node: Node) -> None:
        self._hub = node.hub
        self._news = asyncio.Event()

    def notify(self) -> None:
        self._news.set()

    async def join(self, group: str, after: int | None, epoch: str | None) -> tuple[Position, bool]:
        """A position, and whether it is the one asked for; while the log is away, it waits."""
        while True:
            try:
                stream = await self._hub.open(group)
                return await self._hub.join(self, group, after, stream.epoch if epoch is None else epoch)
            except LogUnavailable:
                await asyncio.sleep(conf.POLL_INTERVAL)

    async def next_frames(self, position: Position) -> list[Frame]:
        """The frames after the position, as soon as there are any; while the log is away, it waits."""
        while True:
            self._news.clear()
            try:
                batch = position.stream.batch(position) or await position.stream.older_batch(position)
            except LogUnavailable:
                await asyncio.sleep(conf.POLL_INTERVAL)
                continue
            if batch.frames:
                position.passed(batch, len(batch.frames))
                return batch.frames
            await self._news.wait()


async def messages(group: str, after: int | None = None, epoch: str | None = None) -> AsyncGenerator[Frame, None]:
    """Yields the frames of ``group`` after the offset ``after``, then each new one as it comes, without end.

    Without ``after`` it begins with what is sent from the first step on. ``epoch`` is the one that
    ``after`` belongs to; None stands for the current one. What can no longer be had is told by a
    ``reset`` frame, after which it goes on. A log that is away is waited for.

    Close the iterator to leave (``contextlib.aclosing``).
    """
    with current_process().node() as node:
        reader = Reader(node)
        position, recovered = await reader.join(group, after, epoch)
        try:
            if after is not None and not recovered:
                offset = position.offset if position.stream.is_logged else None
                reason = f"Not everything after {after} can be had."
                yield Frame(reset_fields(group, position.epoch, offset, reason))
            while True:
                for frame in await reader.next_frames(position):
                    yield frame
        finally:
            position.leave()
