"""A page with the announcements tag, beside the same page without it."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from bench import process
from bench.readers import SHARED, Kind
from bench.scenarios.base import Note
from bench.scenarios.readers import queries
from bench.scenarios.storm import PAGE, Page
from bench.servers import Server

BARE = "/bench/bare"
READER = 1
TOGETHER = 50  # pages of one sort, before those of the other
TURNS = 6
ANNOUNCED = 3  # messages in each group


def pages(server: Server, note: Note, kind: Kind) -> None:
    """Notes the processor's time for the page without, and how much more one with takes: quiet, and with messages."""
    bare, whole = (Page(server.port, kind.cookie(READER), path) for path in (BARE, PAGE))
    without = Turns(server, bare)
    alone: list[float] = []
    for key in in_both_states(server, kind):
        having = Turns(server, whole)
        pairs = [(without.take(), having.take()) for _ in range(TURNS)]
        alone += [one for one, _ in pairs]
        note(f"page_{key}", median(other - one for one, other in pairs) * 1e3)
    note("page", median(alone) * 1e3)


def count_pages(server: Server, note: Note, kind: Kind) -> None:
    """Notes the queries of both pages."""
    bare, whole = (Page(server.port, kind.cookie(READER), path) for path in (BARE, PAGE))
    note("page_queries", queries_of(server, bare))
    for key in in_both_states(server, kind):
        note(f"page_{key}_queries", queries_of(server, whole))


def in_both_states(server: Server, kind: Kind) -> Iterator[str]:
    """Yields while nothing has been said, and again when something has been in each group that the page shows."""
    yield "quiet"
    groups = [SHARED, *([kind.own_group(READER)] if kind.has_own else [])]
    server.control.ask("tell", first=0, count=ANNOUNCED, groups=groups)
    yield "full"


class Turns:
    """Pages of one sort, some at a time."""

    def __init__(self, server: Server, page: Page) -> None:
        self._server = server
        self._page = page
        self.take()  # what a server does once is no page's cost

    def take(self) -> float:
        """Opens some, one after another: the processor's seconds for each."""
        used = process.processor_seconds(self._server.pid)
        for _ in range(TOGETHER):
            self._page.open()
        return (process.processor_seconds(self._server.pid) - used) / TOGETHER


def queries_of(server: Server, page: Page) -> float:
    """The queries of one page, of the app and of sessions and users, once the server has done what it does once."""
    page.open()
    before = queries(server)
    for _ in range(TOGETHER):
        page.open()
    return (queries(server) - before) / TOGETHER
