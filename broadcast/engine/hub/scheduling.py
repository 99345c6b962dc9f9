"""Write scheduling: the rounds in which what there is to write leaves, together under load and at once otherwise."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from ..log_lines import say

MAX_PAUSE = 0.1  # seconds
PATIENCE = 8  # times as long as the last round took
WAIT_FOR_MORE = 0.002  # seconds
MAX_TURN = 0.02  # seconds that a round may hold the event loop


class Writer(Protocol):
    """A connection, or a crowd of them, with something to write."""

    def write_ready(self) -> bool:
        """Writes some of it. Returns True if it has to be visited again in this round."""


class WriteScheduler:
    """Visits the connections and crowds of one event loop that have something to write, each once a round.

    Idle, a round begins at once. After one that took a time T, the next begins no sooner than T
    later, and up to eight T later while ``more_is_coming``, so that under load messages join in one
    write while other work has its share of the time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, more_is_coming: Callable[[], bool]) -> None:
        self._loop = loop
        self._more_is_coming = more_is_coming
        self._waiting: dict[Writer, None] = {}
        self._visiting: dict[Writer, None] = {}
        self._next: asyncio.Handle | None = None
        self._not_before = 0.0
        self._at_last = 0.0
        self._took = 0.0
        self._has_tasks = False

    def add(self, writer: Writer) -> None:
        self._waiting[writer] = None
        if self._next is None:
            self._schedule()

    def remove(self, writer: Writer) -> None:
        self._waiting.pop(writer, None)
        self._visiting.pop(writer, None)

    def note_task(self) -> None:
        """Says that a visit has started a task: what that does at first belongs to the round."""
        self._has_tasks = True

    def _schedule(self) -> None:
        delay = self._not_before - self._loop.time()
        self._next = self._loop.call_later(delay, self._run) if delay > 0 else self._loop.call_soon(self._run)

    def _run(self) -> None:
        if self._loop.time() < self._at_last and self._more_is_coming():
            self._next = self._loop.call_later(WAIT_FOR_MORE, self._run)
            return
        self._took = 0.0
        # Reversed, because popitem() takes the last item: connections are visited in the order in which they came.
        self._visiting, self._waiting = dict.fromkeys(reversed(self._waiting)), {}
        self._visit()

    def _visit(self) -> None:
        """Visits for a while, and goes on in another turn of the event loop if that is not enough."""
        begun = now = self._loop.time()
        while self._visiting and now - begun <= MAX_TURN:
            writer, _ = self._visiting.popitem()
            try:
                if writer.write_ready():
                    self._visiting[writer] = None
            except Exception as error:
                say(logging.ERROR, "A connection could not be written to", error=error)
            now = self._loop.time()
        self._took += now - begun
        if self._visiting:
            self._next = self._loop.call_soon(self._visit)
        elif self._has_tasks:
            self._has_tasks = False
            self._next = self._loop.call_soon(self._finish, now)
        else:
            self._finish(now)

    def _finish(self, visited: float) -> None:
        """Ends a round, and with it what tasks have done since its last visit."""
        now = self._loop.time()
        self._took += now - visited
        self._not_before = now + min(self._took, MAX_PAUSE)
        self._at_last = now + min(self._took * PATIENCE, MAX_PAUSE)
        self._next = None
        if self._waiting:
            self._schedule()
