"""The truth: what was committed, as a connection of its own sees it after each COMMIT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db import connections

from broadcast.engine.storage.records import VOID

NEVER = float("inf")


@dataclass
class Entry:
    """A message at its offset."""

    body: str
    visible_at: float
    by: Any  # the process whose commit gave it the offset
    is_gone: bool = False  # an older backup of the same epoch was restored


@dataclass
class Era:
    """The time of one epoch in one group."""

    epoch: str
    begin: int
    started_at: float
    went_back: bool = False  # noticed by a look of the hubs alone: a backup was restored, the row deleted by hand
    ended_at: float = NEVER
    head: int = 0
    floors: list[tuple[float, int]] = field(default_factory=list)
    entries: dict[int, Entry] = field(default_factory=dict)

    @property
    def floor(self) -> int:
        return self.floors[-1][1] if self.floors else 0

    def floor_at(self, time: float) -> int:
        return max((floor for at, floor in self.floors if at <= time), default=0)

    def is_current(self, since: float) -> bool:
        """True if it has been, all the time since."""
        return self.started_at <= since and self.ended_at == NEVER


@dataclass
class GroupTruth:
    """A group's eras, the last of which is now, and what waits for an offset, since when."""

    eras: list[Era]
    waiting: dict[int, tuple[str, float]] = field(default_factory=dict)

    @property
    def era(self) -> Era:
        return self.eras[-1]

    @property
    def went_back(self) -> bool:
        """True if it ever did: then some hubs may know it later than others."""
        return any(era.went_back for era in self.eras)

    def kept(self) -> dict[str, tuple[int, int]]:
        """The era and offset at which each message first stood and from where no backup has taken it back since."""
        found: dict[str, tuple[int, int]] = {}
        for number, era in enumerate(self.eras):
            for offset, entry in era.entries.items():
                if not entry.is_gone:
                    found.setdefault(entry.body, (number, offset))
        return found

    def find(self, epoch: str) -> Era | None:
        return next((era for era in reversed(self.eras) if era.epoch == epoch), None)


class Truth:
    """All groups. ``complain`` is told of what must never be."""

    def __init__(self, complain: Callable[[str], None]) -> None:
        self.groups: dict[str, GroupTruth] = {}
        self.spoilt: str | None = None  # the group that is beyond help
        self.went_back = False  # set while somebody restores a backup or deletes rows
        self._complain = complain
        self._database = connections["default"]
        self._database.inc_thread_sharing()

    def of(self, group: str) -> GroupTruth:
        if group not in self.groups:
            self.groups[group] = GroupTruth([Era(VOID, 0, 0.0)])
        return self.groups[group]

    def refresh(self, now: float, by: Any) -> None:
        """Sees what a COMMIT of a process, or of nobody's, has changed."""
        rows = {row[0]: row[1:] for row in self._ask("SELECT name, epoch, head, begin, floor FROM broadcast_group")}
        for name, group in self.groups.items():
            if name not in rows and group.era.epoch != VOID:
                if not self.went_back:
                    self._complain(f"the row of {name} is gone, and nobody deleted it by hand")
                self._begin(name, group, VOID, 0, now)
        for name, (epoch, head, begin, floor) in sorted(rows.items()):
            group = self.of(name)
            if group.era.epoch != epoch:
                if any(era.epoch == epoch for era in group.eras) and not self.went_back:
                    self._complain(f"the epoch {epoch} of {name} has come back")
                self._begin(name, group, epoch, begin, now)
            self._follow(name, group.era, head, floor, now, by)
        self._see_waiting(now)

    def _begin(self, name: str, group: GroupTruth, epoch: str, begin: int, now: float) -> None:
        group.era.ended_at = now
        era = Era(epoch, begin, now, self.went_back, head=begin)
        group.eras.append(era)
        if epoch != VOID:  # what is kept from before belongs to it too
            kept = self._read(name, 0)
            era.entries.update((offset, Entry(body, now, None)) for offset, body in kept if offset <= begin)

    def _follow(self, name: str, era: Era, head: int, floor: int, now: float, by: Any) -> None:
        if floor != era.floor:
            era.floors.append((now, floor))
        if head > era.head:
            found = self._read(name, era.head)
            if name != self.spoilt and [offset for offset, _ in found] != list(
                range(max(era.head, floor) + 1, head + 1)
            ):
                self._complain(f"{name}: after {era.head}, with the head at {head}, the log has {found}")
            era.entries.update((offset, Entry(body, now, by)) for offset, body in found)
        elif head < era.head:
            if not self.went_back and name != self.spoilt:
                self._complain(f"{name}: the head went back from {era.head} to {head}")
            era.went_back = True
            for offset, entry in era.entries.items():
                entry.is_gone |= offset > head
        era.head = head

    def _read(self, group: str, after: int) -> list[Any]:
        return self._ask(
            f"SELECT {self._offset}, body FROM broadcast_message"
            f" WHERE group_name = %s AND {self._offset} > %s ORDER BY {self._offset}",
            [group, after],
        )

    def _see_waiting(self, now: float) -> None:
        rows = self._ask(f"SELECT group_name, id, body FROM broadcast_message WHERE {self._offset} IS NULL")
        for name in {row[0] for row in rows} | set(self.groups):
            group = self.of(name)
            group.waiting = {key: group.waiting.get(key, (body, now)) for each, key, body in rows if each == name}

    @property
    def _offset(self) -> str:
        return str(self._database.ops.quote_name("offset"))

    def _ask(self, sql: str, params: list[Any] | None = None) -> list[Any]:
        with self._database.cursor() as cursor:
            cursor.execute(sql, params)
            return list(cursor.fetchall())
