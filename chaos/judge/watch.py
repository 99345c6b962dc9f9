"""The watch: asks the database again and again whether it is well, and whose rows are held."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import psycopg

LOOK_EVERY = 0.2  # seconds
SLOW = 0.5  # seconds for an answer, from which on the database is not well
HELD = 0.6  # seconds from which on a row counts as held: each send has it for a moment
LAG = 0.5  # seconds that this process may be late itself

FREE = "SELECT name FROM broadcast_group FOR SHARE SKIP LOCKED"
ALL = "SELECT name FROM broadcast_group"


class Span(NamedTuple):
    """A time in which something was so."""

    begin: float
    end: float


class Conditions:
    """When the database was not well, for all; and when a group's row was held, for that group."""

    def __init__(self) -> None:
        self._spans: dict[str, list[Span]] = defaultdict(list)

    def add(self, begin: float, end: float, group: str = "") -> None:
        """Enters a time that excuses waiting, in one group or in all."""
        self._spans[group].append(Span(begin, end))

    def due(self, begin: float, end: float, group: str) -> float:
        """When the wait from ``begin`` to ``end`` begins to count: after the last of what excuses it."""
        due = begin
        for span in (*self._spans[""], *self._spans[group]):
            if span.begin < end and span.end > due:
                due = min(span.end, end)
        return due


class Watch:
    """Looks for as long as it runs. Times are those of ``clock``."""

    def __init__(self, url: str, clock: Callable[[], float]) -> None:
        self.conditions = Conditions()
        self._url = url
        self._clock = clock
        self._connection: psycopg.AsyncConnection | None = None
        self._held_since: dict[str, float] = {}

    async def run(self) -> None:
        try:
            looked_at = self._clock()
            while True:
                await asyncio.sleep(LOOK_EVERY)
                begun = self._clock()
                held = await self._look()
                ended = self._clock()
                if held is None or ended - begun > SLOW or begun - looked_at > LOOK_EVERY + LAG:
                    self.conditions.add(looked_at, ended)
                else:
                    self._note(held, looked_at, ended)
                looked_at = ended
        finally:
            await self._close()

    def _note(self, held: set[str], before: float, now: float) -> None:
        for group in held:
            self._held_since.setdefault(group, before)
        for group in self._held_since.keys() - held:
            since = self._held_since.pop(group)
            if now - since >= HELD:
                self.conditions.add(since, now, group)

    async def _look(self) -> set[str] | None:
        """The groups whose rows are held; None if the database does not answer."""
        try:
            async with asyncio.timeout(SLOW * 4):
                if self._connection is None:
                    self._connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
                names = {name for (name,) in await (await self._connection.execute(ALL)).fetchall()}
                return names - {name for (name,) in await (await self._connection.execute(FREE)).fetchall()}
        except (psycopg.Error, OSError, TimeoutError):
            await self._close()
            return None

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def clock_offset(clock: Callable[[], float]) -> float:
    """What the wall clock, which is PostgreSQL's, is ahead of ``clock``."""
    return time.time() - clock()
