"""When to write: frames that arrive together leave together."""

from __future__ import annotations

import asyncio
from typing import Protocol

MAX_PAUSE = 0.1  # seconds
MAX_TURN = 0.02  # seconds that a round may hold the event loop


class Writer(Protocol):
    """A connection with something to write."""

    def write_ready(self) -> None: ...


class Rounds:
    """Visits the connections of one event loop that have something to write, each once a round.

    Idle, a round begins at once. After one that took a time T, the next begins no sooner than T
    later, so that under load messages join in one write while other work has its share of the time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[Writer, None] = {}
        self._next: asyncio.Handle | None = None
        self._not_before = 0.0
        self._took = 0.0

    def add(self, writer: Writer) -> None:
        self._waiting[writer] = None
        if self._next is None:
            delay = self._not_before - self._loop.time()
            self._next = self._loop.call_later(delay, self._run) if delay > 0 else self._loop.call_soon(self._run)

    def remove(self, writer: Writer) -> None:
        self._waiting.pop(writer, None)

    def _run(self) -> None:
        begun, self._took = self._loop.time(), 0.0
        waiting, self._waiting = self._waiting, {}
        self._visit(waiting, begun)

    def _visit(self, waiting: dict[Writer, None], begun: float) -> None:
        """Visits for a while, and goes on in another turn of the event loop if that is not enough."""
        while waiting:
            writer = next(iter(waiting))
            del waiting[writer]
            writer.write_ready()
            now = self._loop.time()
            if now - begun > MAX_TURN and waiting:
                self._took += now - begun
                self._next = self._loop.call_soon(self._go_on, waiting)
                return
        now = self._loop.time()
        self._not_before = now + min(self._took + now - begun, MAX_PAUSE)
        self._next = None
        if self._waiting:
            self.add(next(iter(self._waiting)))

    def _go_on(self, waiting: dict[Writer, None]) -> None:
        self._visit(waiting, self._loop.time())
