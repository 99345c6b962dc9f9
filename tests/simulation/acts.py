"""What people do on a simulated site: they send, come, go, and read slowly. Each act of a plan is a method."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from django.db import Error, transaction

from broadcast import send, send_many
from broadcast.exceptions import LogUnavailable, OutcomeUnknown
from tests.simulation.clients import SimulatedClient
from tests.simulation.judge import Sent
from tests.simulation.process import SimulatedProcess
from tests.simulation.scheduler import Interrupted, current_thread

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")


def pick(things: list[T], number: int) -> T | None:
    return things[number % len(things)] if things else None


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
        thread = current_thread()
        sent = [Sent(body, group, self.now, by=thread and thread.owner) for body in bodies]
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
            for number, each in enumerate(sent):
                each.turn = (int(sent[0].body[1:]), number)
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
