"""A run: which servers, how large, and in which order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.crowd import Late, Wrong
from bench.figures import counted
from bench.link import Lost
from bench.readers import KINDS, Kind
from bench.results import Results
from bench.rows import Row
from bench.scenarios.base import Note
from bench.servers import CannotStart, Server, Workshop

Measurement = Callable[[Server, Note], None]
"""Does something to a fresh server and notes figures."""

FAILURES = (CannotStart, Late, Lost, Wrong, AssertionError, OSError)


@dataclass(frozen=True)
class Plan:
    """How large a run is. ``size`` is the number of connections where only one is measured."""

    rows: Sequence[Row]
    scenarios: Sequence[str]
    sizes: Sequence[int] = (100, 1000, 5000)
    size: int = 1000
    rounds: int = 5
    budget: float = 60.0
    relayed: int = 10_000
    idle_seconds: float = 22.0  # daphne pings every 20 seconds and looks every 2: each client is pinged once
    megabytes: float = 100.0
    readers: Sequence[Kind] = tuple(KINDS.values())
    idle_sizes: Sequence[int] = (1000, 5000, 10_000)
    storm_size: int = 5000
    readers_seconds: float = 44.0  # twice as long as above


@dataclass(frozen=True)
class Round:
    plan: Plan
    workshop: Workshop
    results: Results
    is_first: bool
    is_turned: bool = False

    def rows(self, *wanted: Callable[[Row], bool]) -> list[Row]:
        """The rows of which all this is true, in the plan's order or, every other round, the other way round."""
        rows = [row for row in self.plan.rows if all(want(row) for want in wanted)]
        return rows[::-1] if self.is_turned else rows

    def measure(
        self, row: Row, size: int, what: str, measurement: Measurement, counts: str = "connection", **options: Any
    ) -> None:
        """Does something to a fresh server. If it fails, that is said, and the run goes on."""
        say(f"  {what}: {row.title}, {counted(size, counts)}")
        server = Server(row, self.workshop, **options)
        try:
            with server:
                measurement(server, partial(self.results.add, row, size))
        except FAILURES as failure:
            text = f"{what} with {counted(size, counts)}: {failure}{server.complaint()}"
            self.results.remark(row, text)
            say(f"    {text}")

    def leave_out(self, row: Row, why: str) -> None:
        """Keeps why a figure is missing. Later rounds need not say it: the first has measured it or said why not."""
        if self.is_first:
            self.results.remark(row, why)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
