"""Sends: whether more is about to come."""

import threading

import pytest

from broadcast import send
from broadcast.engine import publish as publishing
from broadcast.engine.hub import write_scheduler as sends_module
from broadcast.engine.hub.write_scheduler import SEND_GAP, InFlightSends, sends


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [1000.0]
    monkeypatch.setattr(sends_module.time, "monotonic", lambda: now[0])
    return now


def test_nothing_is_under_way_at_first(clock):
    assert not InFlightSends().are_under_way()


def test_one_is_under_way_until_a_moment_after_its_end(clock):
    sends = InFlightSends()
    with sends:
        clock[0] += 100
        assert sends.are_under_way()
    assert sends.are_under_way()
    clock[0] += SEND_GAP
    assert not sends.are_under_way()


def test_one_that_fails_has_ended_too(clock):
    sends = InFlightSends()
    with pytest.raises(ValueError, match="broken"), sends:
        raise ValueError("broken")
    clock[0] += SEND_GAP
    assert not sends.are_under_way()


def test_those_of_all_threads_count(clock):
    sends = InFlightSends()
    with sends:
        other = threading.Thread(target=lambda: sends.__enter__())
        other.start()
        other.join()
    clock[0] += SEND_GAP
    assert sends.are_under_way()


def test_send_is_one(monkeypatch):
    seen = []
    monkeypatch.setattr(publishing, "tell", lambda hint: seen.append(sends._count))
    send("hi", persist=False)
    assert seen == [1]
    assert sends._count == 0
