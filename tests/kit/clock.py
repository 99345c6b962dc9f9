"""Clocks that a test puts forward, so that nobody waits for what is due much later."""

import asyncio

import pytest


class StandingClock:
    """Seconds that pass when a test says so, as ``monotonic`` gives them."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Clock:
    """That of the event loop: what is due by then happens in the next turns of the loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        real, self._ahead = loop.time, 0.0
        monkeypatch.setattr(loop, "time", lambda: real() + self._ahead)

    def advance(self, seconds: float) -> None:
        self._ahead += seconds
