"""The timeline of a group: its epochs in their order, what each holds, and which steps from one to another are true."""

from collections import defaultdict
from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from chaos.judge.archive import Change, Row

VOID = "void"  # the epoch of a group in which nothing was said


class Place(NamedTuple):
    """A position: an epoch, and an offset in it."""

    epoch: str
    offset: int


class Step(NamedTuple):
    """A server's word that moved a client from one place to another, and whether it spoke of a loss."""

    group: str
    frame: str  # welcome or reset
    before: Place
    after: Place
    is_lost: bool
    client: str = ""


class Timeline:
    """One group's, from the archive."""

    def __init__(self, changes: Iterable[Change], logged: Iterable[Row]) -> None:
        self.changes = list(changes)
        self._first: dict[str, int] = {VOID: -1}
        self._last: dict[str, int] = {VOID: -1}
        self._begins: dict[str, int] = {VOID: 0}
        self._floors: dict[str, int] = defaultdict(int)
        self._gone: dict[str, float] = defaultdict(int)  # up to where messages of an epoch could be gone in the end
        self._went_back: dict[str, list[int]] = defaultdict(list)  # the heads at which backups found an epoch again
        self._parents: dict[str, str] = {}
        self._refs: dict[Place, set[str]] = defaultdict(set)
        self._heads: dict[str, int] = defaultdict(int)
        previous: Change | None = None
        for change in self.changes:
            self._add(change, previous)
            previous = change
        for row in logged:
            assert row.offset is not None
            self._refs[Place(row.epoch, row.offset)].add(row.ref)
            self._heads[row.epoch] = max(self._heads[row.epoch], row.offset)

    def _add(self, change: Change, previous: Change | None) -> None:
        epoch = change.epoch
        if epoch not in self._first:
            self._first[epoch] = change.number
            self._begins[epoch] = change.begin
            if previous is not None and change.floor < change.begin:  # renewed: what was there is still there
                self._parents[epoch] = previous.epoch
        self._last[epoch] = change.number
        self._floors[epoch] = max(self._floors[epoch], change.floor)
        # Who reads an epoch that has just ended finds that its messages are gone, before anybody says why.
        gone = inf if change.is_restored or epoch == VOID else change.floor
        for which in {epoch, previous.epoch if previous else epoch}:
            self._gone[which] = max(self._gone[which], gone)
        self._heads[epoch] = max(self._heads[epoch], change.head)
        if change.is_restored:
            self._went_back[epoch].append(change.head)

    def holds(self, place: Place, ref: str) -> bool:
        """True if the message with this ref ever stood at that place of the log."""
        epoch: str | None = place.epoch
        while epoch is not None:
            if ref in self._refs.get(Place(epoch, place.offset), ()):
                return True
            epoch = self._parents.get(epoch) if place.offset <= self._begins.get(epoch, 0) else None
        return False

    def complaint(self, step: Step) -> str:
        """What is wrong with a step; empty if it is true."""
        before, after = step.before, step.after
        if after.epoch not in self._first:
            return "an epoch that never was"
        if not step.is_lost:
            return self._complaint_about_a_quiet_one(before, after)
        if before.epoch == after.epoch:
            return self._complaint_within(before, after)
        if before.epoch in self._first and self._last[after.epoch] < self._first[before.epoch]:
            return "an epoch that was over"
        if after.offset < self._begins[after.epoch] or after.offset > self._heads[after.epoch]:
            return f"a place outside of the epoch ({self._begins[after.epoch]} to {self._heads[after.epoch]})"
        if step.frame == "reset" and after.offset > max(self._begins[after.epoch], self._floors[after.epoch]):
            return "a reset that skips what was kept"
        if before == Place(VOID, 0) and not max(self._floors[after.epoch], self._begins[after.epoch]):
            return "a loss where nothing was lost"
        return ""

    def _complaint_about_a_quiet_one(self, before: Place, after: Place) -> str:
        if before == after or (before == Place(VOID, 0) and after.offset == 0):
            return ""
        return "moved without a word of loss"

    def _complaint_within(self, before: Place, after: Place) -> str:
        """A loss within an epoch: it was pruned up to there, or a backup took it back."""
        if after.offset > before.offset:
            return "" if after.offset <= self._gone[after.epoch] else "a loss of what was kept"
        is_true = any(head < before.offset for head in self._went_back[after.epoch])
        return "" if is_true else "a loss where nothing was lost"
