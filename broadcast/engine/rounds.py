"""When to write: frames that arrive together leave together."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import Protocol

logger = logging.getLogger("broadcast")

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
        # Ordered ones, for a plain dict takes ever longer to find the first of those that are left.
        self._waiting: OrderedDict[Writer, None] = OrderedDict()
        self._visiting: OrderedDict[Writer, None] = OrderedDict()
        self._next: asyncio.Handle | None = None
        self._not_before = 0.0
        self._took = 0.0

    def add(self, writer: Writer) -> None:
        self._waiting[writer] = None
        if self._next is None:
            self._schedule()

    def remove(self, writer: Writer) -> None:
        self._waiting.pop(writer, None)
        self._visiting.pop(writer, None)

    def _schedule(self) -> None:
        delay = self._not_before - self._loop.time()
        self._next = self._loop.call_later(delay, self._run) if delay > 0 else self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._took = 0.0
        self._visiting, self._waiting = self._waiting, self._visiting
        self._visit()

    def _visit(self) -> None:
        """Visits for a while, and goes on in another turn of the event loop if that is not enough."""
        begun = now = self._loop.time()
        while self._visiting and now - begun <= MAX_TURN:
            writer, _ = self._visiting.popitem(last=False)
            try:
                writer.write_ready()
            except Exception:
                logger.exception("A connection could not be written to")
            now = self._loop.time()
        self._took += now - begun
        if self._visiting:
            self._next = self._loop.call_soon(self._visit)
            return
        self._not_before = now + min(self._took, MAX_PAUSE)
        self._next = None
        if self._waiting:
            self._schedule()
