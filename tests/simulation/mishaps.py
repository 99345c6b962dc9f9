"""Mishaps: what befalls the processes, the layer, the database and the log of a simulated site; each is an act too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import Error, transaction

from broadcast import send
from broadcast.engine.process import current_process
from broadcast.exceptions import LogUnavailable
from broadcast.models import Group, Message
from tests.simulation.acts import Acts, pick
from tests.simulation.process import SimulatedProcess

RETRY = 0.1  # seconds until what cannot be done now is tried again


class Mishaps(Acts):
    """All acts of a plan."""

    # Processes

    def freeze(self, who: int, seconds: float) -> None:
        process = pick(self.world.processes, who)
        if process is not None and not self.is_being_restored:
            process.freeze(seconds)

    def freeze_in_transaction(self, who: int, seconds: float) -> None:
        """The next process that has written and not committed yet stops there."""
        if not self.is_being_restored:
            self.world.database.freeze_next_for = seconds

    def kill(self, who: int) -> None:
        process = pick(self.world.processes, who)
        if process is not None and not self.is_being_restored:
            self.world.kill(process)

    def set_clock(self, who: int, seconds: float) -> None:
        if (process := pick(self.world.processes, who)) is not None:
            process.clock_ahead += seconds

    # The layer and the database

    def slow(self, seconds: float) -> None:
        if not self.is_being_restored:
            self.world.database.slow_down(seconds)

    def away(self, seconds: float) -> None:
        if not self.is_being_restored:
            self.world.database.go_away(seconds)

    def lose_commit(self, when: str, seconds: float) -> None:
        """The next COMMIT loses its connection, and then the database is away. SQLite has no connection to lose."""
        self.world.database.lose_next = when, seconds

    def away_after_commit(self, seconds: float) -> None:
        """The database is away from the next COMMIT on."""
        if not self.is_being_restored:
            self.world.database.away_next_for = seconds

    def layer_away(self, seconds: float, hangs: bool, forgets: bool) -> None:
        self.world.layer.go_away(seconds, hangs, forgets)
        self.world.is_prompt = False

    def hold(self, who: int, group: str, seconds: float) -> None:
        """Somebody else's transaction holds a group's row."""

        def work(process: SimulatedProcess) -> None:
            with transaction.atomic():
                Group.objects.filter(name=group).update(begin=Group.objects.get(name=group).begin)
                self.pause(seconds)

        self.alone(who, work)

    def besiege(self, who: int, group: str, seconds: float) -> None:
        """A group's row is held while messages of it come to wait, and others are sent to."""
        self.hold(who, group, seconds)
        later = self.world.scheduler.call_at
        later(self.now + 0.1, self.transaction, who + 1, [group], True, 0.0)
        for number, other in enumerate(sorted(self.world.plan.history)):
            later(self.now + 0.3 + number / 10, self.send, who + 2 + number, other, 1, "single")

    def alone(self, who: int, work: Callable[[SimulatedProcess], Any]) -> None:
        def guarded(process: SimulatedProcess) -> None:
            try:
                work(process)
            except (LogUnavailable, Error, Group.DoesNotExist) as error:
                self.world.note("could not:", repr(error))

        self.job(who, guarded)

    # The log

    def prune(self, who: int, group: str, keep: int) -> None:
        self.alone(who, lambda process: process.process.pruning.prune(group, keep, None))

    def renew(self, who: int, group: str, count: int, prunes: bool) -> None:
        def work(process: SimulatedProcess) -> None:
            process.process.log.renew(group)
            self.say_more(group, count, prunes)

        self.alone(who, work)

    def erase(self, who: int, group: str, count: int, prunes: bool) -> None:
        def work(process: SimulatedProcess) -> None:
            erased = self.world.judge.erased_at.setdefault(group, [])
            erased.append(self.now)
            process.process.pruning.erase(group)
            erased.append(self.now)
            self.say_more(group, count, prunes)

        self.alone(who, work)

    def say_more(self, group: str, count: int, prunes: bool = False) -> None:
        """Goes on at once in a new epoch, of which the hubs do not know yet."""
        for body in [self.body() for _ in range(count)]:
            self.sending([body], group, partial(send, body, group=group))
        if prunes:
            current_process().pruning.prune(group, 1, None)

    def delete(self, who: int, group: str) -> None:
        """Somebody deletes a group with all its messages by hand."""
        self.quietly(lambda: self._delete(group))

    def spoil(self, who: int, group: str) -> None:
        """One table is put back without the other: nothing can be appended to this group, and to others as ever."""
        if self.world.judge.truth.spoilt is None:
            self.world.judge.truth.spoilt = group
            self.quietly(lambda: Group.objects.filter(name=group).update(head=0))

    def _delete(self, group: str) -> None:
        self.world.judge.erased_at.setdefault(group, []).append(self.now)
        with transaction.atomic():
            Message.objects.filter(group_id=group).delete()
            Group.objects.filter(name=group).delete()

    def restore(self, who: int, group: str, back: float, is_told: bool, count: int) -> None:
        """An older backup is restored. Where no look would notice it, or it is told anyway, epochs are renewed.

        After that it is sent on at once; where it is to be noticed, not before that.
        """

        def work() -> None:
            self.world.backups.restore(self.now - back, is_told)
            if is_told:
                self.job(who, lambda process: self.say_more(group, count))

        self.quietly(work)

    def quietly(self, work: Callable[[], object]) -> None:
        """Does something by hand, when nobody has a transaction open."""
        database, processes = self.world.database, self.world.processes
        is_well = self.now > max(database.unwell_until, *(process.frozen_until for process in processes))
        if database.open or not is_well:
            self.world.scheduler.call_at(self.now + RETRY, self.quietly, work)
            return
        truth = self.world.judge.truth
        truth.went_back = True
        try:
            work()
            truth.refresh(self.now, None)
        finally:
            truth.went_back = False
