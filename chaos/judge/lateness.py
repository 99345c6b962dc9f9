"""Lateness: from the commit of a message to the last client that was there for it, in faults and outside of them.

A client is there from its welcome on, while its socket is open, it reads, and its server is neither paused nor cut off.
What counts is the wait while the database was well and nobody held the group's row: it is judged. The rest is told.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import NamedTuple

from chaos import GROUPS, key_of
from chaos.book import Book
from chaos.judge.archive import Archive, Row, frame_key, identity
from chaos.judge.log import setbacks
from chaos.judge.pages import heard_live
from chaos.judge.watch import Conditions
from chaos.pages import Page
from chaos.stays import Stay

PROMISED = 3.0  # seconds: docs/guarantees.md has a look into the log each second
GRACE = 2.0  # more of them: two cores are shared by the fleet, all of its clients and this judge
LIMIT = PROMISED + GRACE
RECOVERY = 1.0  # seconds after its end that a fault still counts as one
NO_FAULT = "no fault"
WORTH_A_LOOK = 0.5  # seconds of waiting that need an excuse, if there is one


class Trouble(NamedTuple):
    """A fault that was injected: of which kind, from when to when."""

    kind: str
    begin: float
    end: float


class Wait(NamedTuple):
    """A wait for a message: from when to when, how long of that counts, and whose message it was."""

    begin: float
    end: float
    counted: float
    what: str

    @property
    def seconds(self) -> float:
        return self.end - self.begin


class Waits:
    """Makes waits, on the clock of the clients. Commits are on the wall clock, which is ``ahead`` of it."""

    def __init__(self, archive: Archive, conditions: Conditions, ahead: float) -> None:
        self._archive = archive
        self._conditions = conditions
        self._ahead = ahead
        self._written = archive.written()
        self._setbacks = {name: setbacks(archive, name) for name in GROUPS}

    def of_frames(self, book: Book) -> Iterator[Wait]:
        """The longest waits for each message that somebody heard."""
        logged = self._archive.by_frame()
        for frame in book.frames.values():
            if frame.offset is not None and (row := logged.get(frame_key(frame.fields))):
                for begin, end in frame.arrivals.waits(self._committed_at(row)):
                    yield self._wait(begin, end, row)

    def of_page(self, page: Page) -> Iterator[Wait]:
        """The waits of a page that was live, until its script was told."""
        logged = {(row.group, row.ref, row.offset): row for row in self._archive.logged()}
        for event, since in heard_live(page):
            row = logged.get((event.group, event.ref, event.offset))
            if row is not None:
                end = event.at - self._ahead
                begin = page.excuses.due(max(self._committed_at(row), since - self._ahead), end, row.group)
                yield self._wait(min(begin, end), end, row, f"{page.name} heard ")

    def in_vain(self, stays: Iterable[Stay]) -> Iterator[Wait]:
        """The waits, up to the end of each stay, for the message that would have been the next."""
        following: dict[tuple[str, str, int | None], list[Row]] = defaultdict(list)
        for row in self._archive.logged():
            following[row.group, row.epoch, row.offset].append(row)
        for stay in stays:
            for row in following.get((GROUPS[stay.group], stay.place.epoch, stay.place.offset + 1), ()):
                begin, end = max(stay.since, self._committed_at(row)), min(stay.until, self._lost_at(row))
                if begin < end:
                    yield self._wait(begin, end, row, f"{stay.client} left without ")

    def _committed_at(self, row: Row) -> float:
        """When it could first be had: what a backup brought back waiting, not before that."""
        came_back = (each.at for each in self._setbacks[row.group] if each.number < row.number)
        return max(self._written[identity(row)].at, *came_back, 0.0) - self._ahead

    def _lost_at(self, row: Row) -> float:
        """When a backup took it out of the log."""
        offset = row.offset or 0
        lost = (each.at for each in self._setbacks[row.group] if each.number > row.number and each.head < offset)
        return next(lost, inf) - self._ahead

    def _wait(self, begin: float, end: float, row: Row, what: str = "") -> Wait:
        counted = end - begin
        if counted > WORTH_A_LOOK:
            counted = end - self._conditions.due(begin, end, row.group)
        return Wait(begin, end, counted, f"{what}{key_of(row.body)}, {row.offset} of {row.group}")


class Line(NamedTuple):
    """A line of the table: messages that were waited for during one kind of fault."""

    waits: int = 0
    longest: float = 0.0
    counted: float = 0.0

    def after(self, wait: Wait) -> "Line":
        return Line(self.waits + 1, max(self.longest, wait.seconds), max(self.counted, wait.counted))


class Table:
    """The waits by kind of fault; a wait during several counts for each."""

    def __init__(self, troubles: Iterable[Trouble]) -> None:
        self.lines: dict[str, Line] = defaultdict(Line)
        self._kinds: Mapping[int, set[str]] = kinds_by_second(troubles)

    def add(self, wait: Wait) -> None:
        seconds = range(int(wait.begin), int(wait.end) + 1)
        kinds = set().union(*(self._kinds.get(second, ()) for second in seconds))
        for kind in kinds or (NO_FAULT,):
            self.lines[kind] = self.lines[kind].after(wait)

    def __str__(self) -> str:
        head = f"  {'longest':>8} {'counted':>8} {'waits':>8}  during"
        order = sorted(self.lines.items(), key=lambda item: (item[0] != NO_FAULT, -item[1].counted))
        lines = [f"  {each.longest:>8.2f} {each.counted:>8.2f} {each.waits:>8,}  {kind}" for kind, each in order]
        return "\n".join([head, *lines])


def kinds_by_second(troubles: Iterable[Trouble]) -> dict[int, set[str]]:
    kinds: dict[int, set[str]] = defaultdict(set)
    for trouble in troubles:
        for second in range(int(trouble.begin), int(trouble.end + RECOVERY) + 1):
            kinds[second].add(trouble.kind)
    return kinds
