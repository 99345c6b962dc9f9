"""What is done to the world: each act of a plan is a method."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import Error, transaction

from broadcast import send, send_many
from broadcast.engine.process import current_process
from broadcast.exceptions import LogUnavailable, OutcomeUnknown
from broadcast.models import Group, Message
from tests.simulation.clients import SimulatedClient
from tests.simulation.judge import Sent
from tests.simulation.process import SimulatedProcess
from tests.simulation.scheduler import Interrupted, current_thread

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")

RETRY = 0.1  # seconds until what cannot be done now is tried again


def pick(things: list[T], number: int) -> T | None:
    return things[number % len(things)] if things else None


def void(_: object) -> None:
    pass


class RolledBack(Exception):
    """The transaction was not to be."""


class Acts:
    """The acts on one world. ``who`` is a number that chooses among whoever there is."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._said = 0

    @property
    def now(self) -> float:
        return self.world.scheduler.now

    @property
    def is_being_restored(self) -> bool:
        """Whoever restores a backup lets the hubs look at it before anybody sends; nothing keeps them from that."""
        return self.now < self.world.database.appends_from

    def body(self) -> str:
        self._said += 1
        return f"m{self._said}"

    def job(self, who: int, work: Callable[[SimulatedProcess], None]) -> None:
        """Has a sender's thread of some process do something."""
        process = pick(self.world.processes, who)
        if process is not None:
            thread = self.world.sender(process, who)
            thread.submit(process.process.context().run, work, process)

    # Sending

    def send(self, who: int, group: str, count: int, way: str) -> None:
        bodies = [self.body() for _ in range(count)]

        def work(process: SimulatedProcess) -> None:
            if way == "many":
                self.sending(bodies, group, partial(send_many, bodies, group=group))
                return
            for body in bodies:
                if way == "typing":
                    self.notices(process, group, 5)
                message = self.sending([body], group, partial(send, body, group=group))
                if way == "again" and message is not None:
                    self.sending([], group, partial(send, body, group=group, ref=message.ref))

        self.job(who, work)

    def sending(self, bodies: list[str], group: str, work: Callable[[], T]) -> T | None:
        """Sends, and notes what the sender is told became of it."""
        sent = [Sent(body, group, self.now) for body in bodies]
        self.world.judge.sent.update((each.body, each) for each in sent)
        outcome = "unknown"
        try:
            result = work()
            outcome = "sent"
            return result
        except OutcomeUnknown:
            return None
        except LogUnavailable:
            outcome = "not sent"
            return None
        finally:
            for each in sent:
                each.outcome, each.returned_at = outcome, self.now
            self.world.note("send of", *bodies, outcome)

    def ephemeral(self, who: int, group: str, count: int) -> None:
        self.job(who, lambda process: self.notices(process, group, count))

    def notices(self, process: SimulatedProcess, group: str, count: int) -> None:
        bodies = [self.body() for _ in range(count)]
        for body in bodies:
            self.world.judge.sent[body] = Sent(body, group, self.now, False, outcome="sent")
            self.world.judge.sent[body].arrivals[process] = self.now
        send_many(bodies, group=group, persist=False)

    def transaction(self, who: int, groups: list[str], commits: bool, seconds: float) -> None:
        bodies = {group: [self.body(), self.body()] for group in groups}

        def work(process: SimulatedProcess) -> None:
            sent = [Sent(body, group, self.now) for group in bodies for body in bodies[group]]
            self.world.judge.sent.update((each.body, each) for each in sent)
            outcome = "unknown"
            try:
                with transaction.atomic():
                    for each in sent:
                        send(each.body, group=each.group)
                        self.pause(seconds / len(sent))
                    if not commits:
                        outcome = "not sent"
                        raise RolledBack
                outcome = "sent"
            except (RolledBack, LogUnavailable, Error):
                pass
            finally:
                for each in sent:
                    each.outcome, each.returned_at = outcome, self.now
                self.world.note("transaction of", *[each.body for each in sent], outcome)

        self.job(who, work)

    def pause(self, seconds: float) -> None:
        thread = current_thread()
        assert thread is not None
        thread.pause(seconds)

    def interrupt(self, who: int) -> None:
        """A time limit strikes a sender that is at work."""
        thread = pick([each for each in self.world.at_work() if not each.owner.is_dead], who)  # type: ignore[union-attr]
        if thread is not None:
            thread.interrupt(Interrupted)

    # Clients

    def client(self, who: int) -> SimulatedClient | None:
        return pick([each for each in self.world.clients if not each.is_gone], who)

    def say(self, who: int, count: int) -> None:
        if (client := self.client(who)) is not None:
            for _ in range(count):
                client.say(next(iter(client.places)), self.body())

    def connect(self, groups: list[str]) -> None:
        self.world.add_client(groups)

    def subscribe_again(self, who: int) -> None:
        if (client := self.client(who)) is not None:
            client.subscribe_again()

    def say_and_go(self, who: int, count: int) -> None:
        """Somebody's connection ends while what they said is on its way."""
        if (client := self.client(who)) is not None:
            self.say(who, count)
            self.world.scheduler.call_at(self.now + 0.001 * (who % 20), client.drop)

    def arrive(self, who: int, group: str, count: int) -> None:
        """Somebody comes while something is said."""
        self.send(who, group, count, "single")
        self.connect([group])

    def part(self, who: int, group: str, seconds: float) -> None:
        """Of two in a group one does not read and the other is away, while something is typed and said."""
        there = [client for client in self.world.clients if not client.is_gone and group in client.places]
        if (first := pick(there, who)) is not None:
            self.shut_for(first, seconds)
        if len(there) > 1 and (other := pick(there, who + 1)) is not None:
            other.drop(seconds)
        self.send(who, group, 1, "typing")

    def drop(self, who: int, seconds: float) -> None:
        if (client := self.client(who)) is not None:
            client.drop(seconds)

    def hurry(self, who: int, times: int) -> None:
        if (client := self.client(who)) is not None:
            client.hurry(times)

    def shut(self, who: int, seconds: float) -> None:
        if (client := self.client(who)) is not None:
            self.shut_for(client, seconds)

    def shut_for(self, client: SimulatedClient, seconds: float) -> None:
        if (connection := client.connection) is not None:
            connection.shut()
            self.world.scheduler.call_at(self.now + seconds, connection.open)

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
            self.quietly(lambda: void(Group.objects.filter(name=group).update(head=0)))

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

    def quietly(self, work: Callable[[], None]) -> None:
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
