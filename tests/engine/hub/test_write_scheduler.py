"""Rounds of writing: at once when idle, together when busy, and no connection at another's cost.

On an event loop whose clock stands still unless somebody is busy.
"""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from broadcast.engine.transports.direct import MAX_PAUSE, MAX_TURN, PATIENCE, WAIT_FOR_MORE, WriteScheduler


class Loop:
    def __init__(self) -> None:
        self.now = 1000.0
        self.calls: list[tuple[float, Callable[[], None]]] = []
        self.visits: list[str] = []

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

    def run_all(self) -> None:
        while self.calls:
            self.run_next()


class Writer:
    """A connection; the loop notes who was visited."""

    def __init__(self, loop: Loop, name: str, takes: float = 0.0, then: Callable[[], Any] = lambda: None) -> None:
        self.loop = loop
        self.name = name
        self.takes = takes
        self.then = then

    def write_ready(self) -> bool:
        self.loop.now += self.takes
        self.loop.visits.append(self.name)
        return bool(self.then())


@pytest.fixture
def loop() -> Loop:
    return Loop()


def scheduler_of(loop: Loop, more_is_coming: Callable[[], bool] = lambda: False) -> WriteScheduler:
    return WriteScheduler(loop, more_is_coming)  # type: ignore[arg-type]


@pytest.fixture
def scheduler(loop: Loop) -> WriteScheduler:
    return scheduler_of(loop)


def test_each_is_visited_once_a_round_in_the_order_of_asking(loop, scheduler):
    writers = [Writer(loop, name) for name in "abcde"]
    for writer in writers * 3:
        scheduler.add(writer)
    assert loop.visits == []  # not inside of whatever the news came from
    assert loop.run_next() == 0
    assert loop.visits == list("abcde")
    assert loop.calls == []


@pytest.mark.parametrize(("takes", "pause"), [(0.015, 0.015), (0.05, 0.05), (10, MAX_PAUSE)])
def test_after_a_round_that_took_long_the_next_waits_as_long_and_joins_what_comes(takes, pause, loop, scheduler):
    scheduler.add(Writer(loop, "busy", takes))
    assert loop.run_next() == 0
    other = Writer(loop, "other")
    for _ in range(5):
        scheduler.add(other)
    assert len(loop.calls) == 1
    assert loop.run_next() == pytest.approx(pause)
    assert (loop.visits, loop.calls) == (["busy", "other"], [])


def test_while_more_is_coming_a_round_waits_for_it_up_to_some_times_as_long(loop):
    scheduler = scheduler_of(loop, lambda: True)
    scheduler.add(Writer(loop, "busy", 0.01))
    assert loop.run_next() == 0
    ended = loop.now
    scheduler.add(Writer(loop, "other"))
    loop.run_all()
    assert PATIENCE * 0.01 <= loop.now - ended <= PATIENCE * 0.01 + WAIT_FOR_MORE
    assert loop.visits == ["busy", "other"]


def test_when_no_more_is_coming_it_waits_no_longer(loop):
    coming = [False, True, True]
    scheduler = scheduler_of(loop, lambda: coming.pop())
    scheduler.add(Writer(loop, "busy", 0.015))
    loop.run_next()
    scheduler.add(Writer(loop, "other"))
    assert [loop.run_next() for _ in range(3)] == pytest.approx([0.015, WAIT_FOR_MORE, WAIT_FOR_MORE])
    assert loop.visits == ["busy", "other"]


def test_after_a_while_it_begins_at_once_again(loop, scheduler):
    scheduler.add(Writer(loop, "busy", 0.05))
    loop.run_next()
    loop.now += 0.06
    scheduler.add(Writer(loop, "other"))
    assert loop.run_next() == 0


def test_a_round_of_several_turns_lets_others_in_between_and_counts_as_a_whole(loop, scheduler):
    for name in "abcd":
        scheduler.add(Writer(loop, name, 0.5 * MAX_TURN + 0.001))
    assert loop.run_next() == 0
    assert loop.visits == ["a", "b"]
    assert loop.run_next() == 0
    assert loop.visits == ["a", "b", "c", "d"]
    scheduler.add(Writer(loop, "e"))
    assert loop.run_next() == pytest.approx(2 * MAX_TURN + 0.004)


def test_whoever_asks_during_a_round_is_visited_in_the_next(loop, scheduler):
    again = Writer(loop, "again", then=lambda: loop.visits.count("again") < 3 and scheduler.add(again))
    late = Writer(loop, "late", takes=2 * MAX_TURN)
    scheduler.add(Writer(loop, "long", takes=2 * MAX_TURN))
    scheduler.add(late)
    scheduler.add(again)
    loop.run_next()
    scheduler.add(late)  # it is yet to be visited in this round, too
    loop.run_all()
    assert loop.visits == ["long", "late", "again", "late", "again", "again"]


def test_one_that_fails_never_ends_a_round(loop, scheduler, caplog):
    writers = [Writer(loop, "a"), Writer(loop, "b", then=lambda: 1 / 0), Writer(loop, "c")]
    with caplog.at_level(logging.ERROR, "broadcast"):
        for _ in range(2):
            for writer in writers:
                scheduler.add(writer)
            loop.run_all()
    assert loop.visits == list("abcabc")
    assert "division by zero" in caplog.text


def test_whoever_was_removed_is_not_visited_even_if_the_round_has_begun(loop, scheduler):
    writers = [Writer(loop, name, takes=2 * MAX_TURN) for name in "abc"]
    for writer in writers:
        scheduler.add(writer)
    scheduler.remove(writers[0])
    scheduler.remove(writers[0])
    loop.run_next()
    scheduler.remove(writers[2])
    loop.run_all()
    assert loop.visits == ["b"]
