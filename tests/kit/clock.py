"""The clock of an event loop, put forward by a test, so that nobody waits for what is due much later."""

import asyncio

import pytest


class Clock:
    """What is due by then happens in the next turns of the loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        real, self._ahead = loop.time, 0.0
        monkeypatch.setattr(loop, "time", lambda: real() + self._ahead)

    def advance(self, seconds: float) -> None:
        self._ahead += seconds
