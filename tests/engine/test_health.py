"""Outages are told once when they begin and once when they end, from whatever threads."""

import logging
import threading

import pytest

from broadcast.engine.health import Health


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "broadcast")
    return caplog


def lines(said: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in said.records]


def test_one_line_at_the_beginning_and_one_at_the_end(said: pytest.LogCaptureFixture) -> None:
    outage = Health("It is broken", "It is well")
    outage.recover()
    for error in ("first", "second"):
        outage.fail(error)
    outage.recover()
    outage.recover()
    assert lines(said) == [("ERROR", "It is broken: first"), ("WARNING", "It is well")]


def test_a_second_outage_is_told_again(said: pytest.LogCaptureFixture) -> None:
    outage = Health("It is broken", "It is well")
    for error in (ValueError("one"), ValueError("two")):
        outage.fail(error)
        outage.recover()
    assert [text for _, text in lines(said)] == ["It is broken: one", "It is well", "It is broken: two", "It is well"]


def test_percent_signs_in_an_error_do_no_harm(said: pytest.LogCaptureFixture) -> None:
    Health("It is broken", "").fail("100%s of %d")
    assert lines(said) == [("ERROR", "It is broken: 100%s of %d")]


def test_many_threads_say_it_once(said: pytest.LogCaptureFixture) -> None:
    outage = Health("It is broken", "It is well")
    for act in (lambda: outage.fail("x"), outage.recover):
        start = threading.Barrier(8)

        def run(act=act, start=start) -> None:  # type: ignore[no-untyped-def]
            start.wait()
            act()

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(lines(said)) == 2


def test_two_who_end_it_at_the_same_moment_say_it_once(said: pytest.LogCaptureFixture) -> None:
    outage = Health("It is broken", "It is well")
    outage.fail("x")

    class EndedMeanwhile:
        def __enter__(self) -> None:
            outage._places.clear()

        def __exit__(self, *details: object) -> None:
            pass

    outage._lock = EndedMeanwhile()  # type: ignore[assignment]
    outage.recover()
    assert lines(said) == [("ERROR", "It is broken: x")]
