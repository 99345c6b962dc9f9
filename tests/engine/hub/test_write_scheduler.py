"""Rounds: at once when idle, together when busy, and no connection at another's cost."""

import asyncio
import logging
import time
from collections.abc import Callable

import pytest

from broadcast.engine.hub import write_scheduler as rounds_module
from broadcast.engine.hub.write_scheduler import MAX_PAUSE, MAX_TURN, PATIENCE, SEND_GAP, WriteScheduler
from tests.kit.waiting import until


class Writer:
    """A connection; it notes when it was visited."""

    def __init__(self, takes: float = 0.0) -> None:
        self.takes = takes
        self.visits: list[float] = []
        self.error: Exception | None = None

    def write_ready(self) -> None:
        if self.takes:
            time.sleep(self.takes)
        self.visits.append(time.monotonic())
        if self.error is not None:
            raise self.error


@pytest.fixture
async def scheduler() -> WriteScheduler:
    return WriteScheduler(asyncio.get_running_loop())


async def test_an_idle_one_begins_at_once(scheduler: WriteScheduler) -> None:
    writer = Writer()
    scheduler.add(writer)
    assert writer.visits == []  # not inside of whatever the news came from
    await asyncio.sleep(0)
    assert len(writer.visits) == 1


async def test_each_is_visited_once_a_round_in_the_order_of_asking(scheduler: WriteScheduler) -> None:
    visited: list[int] = []

    class Numbered(Writer):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def write_ready(self) -> None:
            visited.append(self.number)

    writers = [Numbered(number) for number in range(5)]
    for _ in range(3):
        for writer in writers:
            scheduler.add(writer)
    await asyncio.sleep(0)
    assert visited == [0, 1, 2, 3, 4]
    await asyncio.sleep(0)
    assert visited == [0, 1, 2, 3, 4]


class Loop:
    """An event loop whose clock stands still unless somebody is busy."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, function: Callable[[], None]) -> object:
        return self.call_later(0, function)

    def call_later(self, delay: float, function: Callable[[], None]) -> object:
        self.calls.append((delay, function))
        return object()

    def run_next(self) -> float:
        """Runs what was to be called; after which delay."""
        delay, function = self.calls.pop(0)
        self.now += delay
        function()
        return delay


class Busy(Writer):
    def __init__(self, loop: Loop, takes: float) -> None:
        super().__init__()
        self.loop = loop
        self.busy = takes

    def write_ready(self) -> None:
        super().write_ready()
        self.loop.now += self.busy


@pytest.mark.parametrize(("takes", "pause"), [(0.015, 0.015), (0.05, 0.05), (10, MAX_PAUSE)])
def test_after_a_round_that_took_long_the_next_waits_as_long_and_joins_what_comes(takes: float, pause: float) -> None:
    loop = Loop()
    scheduler = WriteScheduler(loop)  # type: ignore[arg-type]
    busy, other = Busy(loop, takes), Writer()
    scheduler.add(busy)
    assert loop.run_next() == 0
    for _ in range(5):
        scheduler.add(other)
    assert len(loop.calls) == 1
    assert loop.run_next() == pytest.approx(pause)
    assert len(other.visits) == 1
    assert loop.calls == []


def test_while_more_is_coming_a_round_waits_for_it_up_to_some_times_as_long() -> None:
    loop = Loop()
    scheduler = WriteScheduler(loop, more_is_coming=lambda: True)  # type: ignore[arg-type]
    scheduler.add(Busy(loop, 0.01))
    assert loop.run_next() == 0
    ended = loop.now
    scheduler.add(other := Writer())
    while not other.visits:
        loop.run_next()
    assert PATIENCE * 0.01 <= loop.now - ended <= PATIENCE * 0.01 + SEND_GAP


def test_when_no_more_is_coming_it_waits_no_longer() -> None:
    loop = Loop()
    coming = [False, True, True]
    scheduler = WriteScheduler(loop, more_is_coming=lambda: coming.pop())  # type: ignore[arg-type]
    scheduler.add(Busy(loop, 0.015))
    loop.run_next()
    scheduler.add(other := Writer())
    assert [loop.run_next(), loop.run_next(), loop.run_next()] == pytest.approx([0.015, SEND_GAP, SEND_GAP])
    assert len(other.visits) == 1


def test_after_a_while_it_begins_at_once_again() -> None:
    loop = Loop()
    scheduler = WriteScheduler(loop)  # type: ignore[arg-type]
    scheduler.add(Busy(loop, 0.05))
    loop.run_next()
    loop.now += 0.06
    scheduler.add(Writer())
    assert loop.run_next() == 0


def test_a_round_of_several_turns_counts_as_a_whole() -> None:
    loop = Loop()
    scheduler = WriteScheduler(loop)  # type: ignore[arg-type]
    for _ in range(4):
        scheduler.add(Busy(loop, 0.5 * MAX_TURN + 0.001))
    assert [loop.run_next(), loop.run_next()] == [0, 0]
    scheduler.add(Writer())
    assert loop.run_next() == pytest.approx(2 * MAX_TURN + 0.004)


async def test_who_asks_during_a_round_is_visited_in_the_next(scheduler: WriteScheduler) -> None:
    class Again(Writer):
        def write_ready(self) -> None:
            super().write_ready()
            if len(self.visits) < 4:
                scheduler.add(self)

    writer = Again()
    scheduler.add(writer)
    await until(lambda: len(writer.visits) == 4)
    await asyncio.sleep(0.01)
    assert len(writer.visits) == 4
    assert scheduler._next is None


async def test_one_that_fails_never_ends_a_round(scheduler: WriteScheduler, caplog: pytest.LogCaptureFixture) -> None:
    writers = [Writer() for _ in range(3)]
    writers[1].error = ValueError("broken")
    with caplog.at_level(logging.ERROR, "broadcast"):
        for _ in range(2):
            for writer in writers:
                scheduler.add(writer)
            await until(lambda: scheduler._next is None)
    assert [len(writer.visits) for writer in writers] == [2, 2, 2]
    assert "broken" in caplog.text


async def test_a_long_round_lets_other_work_have_its_turn(scheduler: WriteScheduler) -> None:
    writers = [Writer(takes=MAX_TURN / 4) for _ in range(20)]
    for writer in writers:
        scheduler.add(writer)
    turns = 0
    while not writers[-1].visits:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 4
    assert [len(writer.visits) for writer in writers] == [1] * 20


async def test_who_asks_while_a_long_round_rests_waits_for_the_next(
    scheduler: WriteScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds_module, "MAX_TURN", 0.0)
    writers = [Writer(takes=0.001) for _ in range(3)]
    for writer in writers:
        scheduler.add(writer)
    await asyncio.sleep(0)
    assert [len(writer.visits) for writer in writers] == [1, 0, 0]
    scheduler.add(writers[0])
    await until(lambda: len(writers[0].visits) == 2)
    assert writers[0].visits[1] > writers[2].visits[0]


async def test_who_was_removed_is_not_visited(scheduler: WriteScheduler) -> None:
    gone, there = Writer(), Writer()
    scheduler.add(gone)
    scheduler.add(there)
    scheduler.remove(gone)
    scheduler.remove(gone)
    await until(lambda: there.visits)
    assert gone.visits == []


async def test_who_is_removed_during_a_round_is_not_visited_any_more(
    scheduler: WriteScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds_module, "MAX_TURN", 0.0)
    writers = [Writer(takes=0.001) for _ in range(3)]
    for writer in writers:
        scheduler.add(writer)
    await asyncio.sleep(0)
    assert [len(writer.visits) for writer in writers] == [1, 0, 0]
    scheduler.remove(writers[2])
    await until(lambda: scheduler._next is None)
    assert writers[1].visits
    assert writers[2].visits == []
