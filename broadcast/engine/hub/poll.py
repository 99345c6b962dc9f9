"""The choice of a poll: the streams that it compares with the log. All of a few; of many, those with news."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from ...conf import conf
from ..storage.changes import Mark
from ..storage.log import Log
from ..storage.records import VOID, Head
from ..storage.threads import NodeDatabase

if TYPE_CHECKING:
    from .stream import GroupStream

FEW = 100  # groups, whose heads cost no more than to ask what has changed
SWEEP_SECONDS = 30.0  # in which each of many is compared once: nothing tells of rows that were deleted by hand


class Poll:
    """Chooses among the streams of one hub, and keeps the mark by which the log tells what is new."""

    def __init__(self, log: Log, database: NodeDatabase) -> None:
        self._log = log
        self._database = database
        self._mark: Mark | None = None
        self._again: set[str] = set()  # of groups of which it is not known yet how far they are
        self._line: list[str] = []  # of those that are compared in turn

    async def due(self, streams: Mapping[str, GroupStream], opening: Collection[str]) -> list[GroupStream]:
        """The streams to compare now. Raises as the log does, and then all of this is due again.

        Who is about to open a group may have read its head before what is news here, and is compared next time.
        """
        if len(streams) <= FEW:
            self._mark, self._again = None, set()
            return list(streams.values())
        found = await self._database.read(self._log.changes, self._mark)
        if found is None:
            self._again = set()
            return list(streams.values())
        if found.names is None:
            self._mark, self._again = found.mark, {*opening}
            return list(streams.values())
        in_turn = self._next_in_line(streams)
        news = found.names | self._again | await self._differing(in_turn, streams)
        del self._line[-len(in_turn) :]
        self._mark, self._again = found.mark, {name for name in news if name in opening}
        return [streams[name] for name in news if name in streams]

    def again(self, streams: Iterable[GroupStream]) -> None:
        """Has streams that could not be compared be due at the next poll, too."""
        self._again.update(stream.name for stream in streams)

    def _next_in_line(self, streams: Mapping[str, GroupStream]) -> list[str]:
        if not self._line:
            self._line = list(streams)
        count = 1 + int(len(streams) * conf.POLL_INTERVAL / SWEEP_SECONDS)
        return self._line[-count:]

    async def _differing(self, names: list[str], streams: Mapping[str, GroupStream]) -> set[str]:
        """The groups that are not in the log as their streams have them."""
        heads = await self._database.read(self._log.heads_in_log, names)
        return {name for name in names if name in streams and is_other(streams[name], heads.get(name))}


def is_other(stream: GroupStream, head: Head | None) -> bool:
    if head is None:
        return stream.epoch != VOID
    return head.has_waiting or (stream.epoch, stream.head, stream.floor) != (head.epoch, head.offset, head.floor)
