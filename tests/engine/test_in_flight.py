"""Sends in flight: whether more is about to come."""

import threading
from collections.abc import Iterator

import pytest

from broadcast import send
from broadcast.engine.process import this_process
from broadcast.engine.publish import SEND_GAP, InFlightSends
from broadcast.engine.system import System
from tests.kit.clock import StandingClock


@pytest.fixture
def sends(clock: StandingClock) -> Iterator[InFlightSends]:
    """Those that are over a moment after the test, whatever became of them."""
    sends = InFlightSends(System(monotonic=clock))
    assert not sends.are_under_way()
    yield sends
    assert sends.are_under_way()
    clock.now += SEND_GAP
    assert not sends.are_under_way()


def test_one_is_under_way_until_a_moment_after_its_end(sends, clock):
    with sends:
        clock.now += 100
        assert sends.are_under_way()


def test_one_that_fails_has_ended_too(sends):
    with pytest.raises(ValueError, match="broken"), sends:
        raise ValueError("broken")


def test_those_of_all_threads_count(sends, clock):
    begun, end = threading.Event(), threading.Event()

    def work() -> None:
        with sends:
            begun.set()
            end.wait(10)

    other = threading.Thread(target=work)
    other.start()
    begun.wait(10)
    with sends:
        pass
    clock.now += SEND_GAP
    assert sends.are_under_way()
    end.set()
    other.join()


def test_send_is_one(monkeypatch):
    seen = []
    monkeypatch.setattr(this_process.hints, "publish", lambda hint: seen.append(this_process.in_flight.are_under_way()))
    assert not this_process.in_flight.are_under_way()
    send("hi", persist=False)
    assert seen == [True]
