"""Lines of the log: whatever strangers do, there are few of them, each is one line, and no row is in any."""

import logging

import pytest
from django.db import DataError, IntegrityError

from broadcast.engine.log_lines import MAX_CAUSES, MAX_LINES, MAX_VALUE, MINUTE, say
from broadcast.engine.process import Process
from broadcast.engine.system import System
from tests.kit.waiting import until


@pytest.fixture
def process(clock):
    with Process(System(monotonic=clock)).active() as process:
        yield process


def refuse(cause: str, times: int) -> None:
    for _ in range(times):
        say(logging.WARNING, "Refused: %s", cause, cause=cause)


def test_of_one_cause_there_are_so_many_lines_a_minute_and_then_their_number(process, clock, caplog):
    refuse("a", 1000)
    refuse("b", 1)
    assert caplog.messages == ["Refused: a"] * MAX_LINES + ["Refused: b"]
    caplog.clear()
    clock.now += MINUTE
    refuse("b", 1)
    assert caplog.messages == [f"… and {1000 - MAX_LINES} more within a minute: a", "Refused: b"]
    refuse("a", 1)
    assert caplog.messages[2:] == ["Refused: a"]


def test_causes_without_end_are_one_cause(process, clock, caplog):
    for number in range(10_000):
        refuse(f"cause {number}", 1)
    assert len(caplog.messages) == MAX_CAUSES + MAX_LINES
    clock.now += MINUTE
    process.log_throttle.log_left_out()
    assert caplog.messages[-1] == f"… and {10_000 - MAX_CAUSES - MAX_LINES} more within a minute: other causes"


def test_a_level_that_is_off_costs_nothing(process, caplog):
    caplog.set_level(logging.ERROR, "broadcast")
    refuse("a", 100)
    caplog.set_level(logging.INFO, "broadcast")
    refuse("a", 1)
    assert caplog.messages == ["Refused: a"]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("a\r\nb\x1b[2J\u2028\u202e\ud800", "a\\r\\nb\\x1b[2J\\u2028\\u202e\\ud800"),
        ("x" * 100_000, "x" * MAX_VALUE + "…"),
        ("\n" * 100_000, "\\n" * (MAX_VALUE // 2) + "…"),
        (ValueError("away\nLINE 1: INSERT INTO … VALUES ('secret')"), "away"),
        ("Grüße 😀 100%s", "Grüße 😀 100%s"),
        (7, "7"),
    ],
)
def test_a_value_cannot_break_its_line(process, caplog, value, line):
    say(logging.WARNING, "Refused: %s", value)
    assert caplog.messages == [f"Refused: {line}"]


@pytest.mark.parametrize("kind", [IntegrityError, DataError])
def test_a_traceback_has_no_row(process, caplog, kind):
    """PostgreSQL's errors quote what was written, in their detail or, for data that does not fit, at once."""
    row = "secret" if kind is DataError else "violates a constraint\nDETAIL: Failing row contains (secret)."
    try:
        try:
            raise kind(row)
        except kind as error:
            raise RuntimeError("It failed") from error
    except RuntimeError as error:
        say(logging.ERROR, "A poll failed", error=error)
    assert "secret" not in caplog.text
    for seen in ("RuntimeError: It failed", kind.__name__, "test_a_traceback_has_no_row"):
        assert seen in caplog.text
    assert ("violates a constraint" in caplog.text) is (kind is IntegrityError)


async def test_a_node_tells_what_was_left_out_though_nothing_more_is_said(process, clock, caplog, settings):
    settings.BROADCAST = {"POLL_INTERVAL": 0.01}
    refuse("a", MAX_LINES + 3)
    clock.now += MINUTE
    with process.node():
        await until(lambda: "… and 3 more within a minute: a" in caplog.messages)
