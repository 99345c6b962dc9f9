"""Health: a failure is told once when it begins and once when it ends, from whatever threads and sources."""

import logging

import pytest

from broadcast.engine.health import Dependency, Health
from tests.kit.processes import together


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said, level and text, as it comes."""
    caplog.set_level(logging.DEBUG, "broadcast")
    said: list[str] = []
    monkeypatch.setattr(caplog.handler, "emit", lambda each: said.append(f"{each.levelname} {each.getMessage()}"))
    return said


@pytest.fixture
def dependency() -> Dependency:
    return Dependency("It is broken", "It is well")


def test_one_line_at_the_beginning_and_one_at_the_end(lines, dependency):
    dependency.recover()
    for error in ("100%s of %d", ValueError("two")):
        dependency.fail(error)
        dependency.fail("again")
        dependency.recover()
        dependency.recover()
    assert lines == [
        "ERROR It is broken: 100%s of %d",
        "WARNING It is well",
        "ERROR It is broken: two",
        "WARNING It is well",
    ]


def test_it_lasts_until_all_who_reported_it_say_otherwise(lines, dependency):
    for source in ("sending", "listening"):
        dependency.fail("x", source)
    dependency.recover("nobody")
    dependency.recover("sending")
    assert dependency.is_failing
    assert (dependency.is_failing_for("sending"), dependency.is_failing_for("listening")) == (False, True)
    dependency.recover("listening")
    assert not dependency.is_failing
    assert lines == ["ERROR It is broken: x", "WARNING It is well"]


def test_many_threads_say_it_once(lines, dependency):
    for _ in range(20):
        together(*[lambda: dependency.fail("x")] * 8)
        together(*[dependency.recover] * 8)
    assert lines == ["ERROR It is broken: x", "WARNING It is well"] * 20


def test_a_process_knows_what_fails():
    health = Health()
    assert health.failing == set()
    for dependency in (health.no_log, health.log, health.layer):
        dependency.fail("x", "sending")
    health.log.fail("x")
    assert health.failing == {health.no_log, health.log, health.layer}
    health.no_log.recover("sending")
    health.no_log.fail("x")
    health.log_works()
    assert health.failing == {health.layer}
