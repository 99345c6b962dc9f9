"""Housekeeping beside the polls of a hub: channel groups are renewed and left, and old messages pruned."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ...exceptions import LogUnavailable
from ..health import SENDING
from ..log_lines import say
from ..slices import slices
from ..storage.records import VOID

if TYPE_CHECKING:
    from ..node import Node
    from .hub import Hub

PRUNE_EVERY = 60.0  # seconds
AT_ONCE = 500  # groups in one look at what may be pruned


class Housekeeping:
    """What a hub has done now and then, however slow it is. What fails is told, and done the next time."""

    def __init__(self, node: Node, hub: Hub) -> None:
        self._node = node
        self._hub = hub
        self._left: set[str] = set()  # groups whose channel groups are to be left, unless somebody comes back
        self._next_prune = node.loop.time() + PRUNE_EVERY
        self._running: asyncio.Task[None] | None = None

    def leave(self, groups: Iterable[str]) -> None:
        """Has the channel groups of these be left, of whom nobody listens to any more."""
        self._left.update(groups)

    def begin(self) -> None:
        """Goes through the house, unless that is under way."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())

    def close(self) -> None:
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> None:
        try:
            await self._node.receiver.renew()
            while self._left:
                group = self._left.pop()
                if not self._hub.has(group):
                    await self._node.receiver.discard(group)
            if self._node.process.health.log.is_failing_for(SENDING):
                await self._try_to_write()
            if self._node.loop.time() >= self._next_prune:
                self._next_prune = self._node.loop.time() + PRUNE_EVERY
                await self._prune()
        except Exception as error:
            report(error)

    async def _try_to_write(self) -> None:
        """Writes, however little there is to delete: so it shows, before somebody sends, that messages can be sent."""
        for group in list(self._hub.streams)[:1]:
            await self._node.database.write(self._node.process.pruning.step, group)

    async def _prune(self) -> None:
        database, pruning = self._node.database, self._node.process.pruning
        begun = [name for name, stream in self._hub.streams.items() if stream.epoch != VOID]
        for some in slices(begun, AT_ONCE):
            for name in await database.read(pruning.due, some):
                while await database.write(pruning.step, name):
                    pass


def report(error: BaseException | None) -> None:
    """Logs a failure that the next poll makes up for; that the log is away has been logged."""
    if error is not None and not isinstance(error, LogUnavailable):
        say(logging.ERROR, "A poll of the message log failed; the next follows", error=error)
