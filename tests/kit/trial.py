"""A trial: one client of one group under chaos, what it is told, and a log that holds what it is given."""

import asyncio
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from chaos import GROUPS, text_of
from chaos.book import Book
from chaos.judge.archive import Archive, Change, Now, Row
from chaos.judge.court import Case, judge
from chaos.judge.watch import Conditions
from chaos.ledger import SENT, Ledger
from chaos.readers import Reader

GROUP = GROUPS[0]
SENT_AT = datetime(2026, 3, 1, tzinfo=UTC)


class Trial:
    """One client of one group, which hears what it is told, and a log that holds what it is given."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.book = Book(self.ledger)
        self.client = Reader(0, [0], "", self.book)
        self.client.groups = [0]
        self.clock = asyncio.get_running_loop().time
        self.archive = Archive([], [])
        self.conditions = Conditions()
        self.connects()

    def connects(self) -> None:
        self.client.connecting()
        self.client.socket = SimpleNamespace(heard_at=0.0, send=lambda text: None)  # type: ignore[assignment]

    def becomes(self, epoch: str, head: int = 0, begin: int = 0, floor: int = 0, is_restored: bool = False) -> None:
        """The log's row of the group."""
        number = len(self.archive.changes) + len(self.archive.rows)
        self.archive.changes.append(Change(number, self.clock(), GROUP, epoch, head, begin, floor, is_restored))

    def logs(self, *offsets: int, key: str = "m", at: float = 0.0) -> None:
        """Messages sent at that many seconds from now."""
        for offset in offsets:
            text, now = f"{key}-{offset}", self.clock() + at
            self.ledger.begin([text], GROUP, "alone", now)
            self.ledger.settle({text: SENT}, "", now)
            epoch = self.archive.changes[-1].epoch
            number = len(self.archive.changes) + len(self.archive.rows)
            fields = ("server", "Server", text_of(text), None, text, SENT_AT)
            self.archive.rows.append(Row(number, now, epoch, number, GROUP, offset, *fields))

    def welcomed(self, epoch: str, offset: int, recovered: bool = True) -> None:
        self.told("welcome", epoch=epoch, offset=offset, recovered=recovered, ping_ms=1000)

    def passes(self, seconds: float) -> None:
        """Has begun to count on what is sent so much earlier."""
        since = self.client.stays.since
        since.update({group: then - seconds for group, then in since.items()})

    def hears(self, *offsets: int | None, key: str = "m", at: float = 0.0) -> None:
        self.client.socket.heard_at = self.clock() + at  # type: ignore[union-attr]
        for offset in offsets:
            name = f"{key}-{offset}"
            said = {"author": "Server", "body": text_of(name), "source": "server", "ref": name}
            self.told("message", offset=offset, sent_at=SENT_AT.isoformat(), **said)

    def told(self, kind: str, **fields: Any) -> None:
        self.client.received(json.dumps({"type": kind, "group": GROUP, **fields}).encode())

    def violations(self) -> set[str]:
        last = self.archive.changes[-1]
        head = max([last.head, *(row.offset or 0 for row in self.archive.rows if row.epoch == last.epoch)])
        now = {GROUP: Now(last.epoch, head, last.floor)}
        kept = {GROUP: list(range(last.floor + 1, head + 1))}
        self.client.closed()
        case = Case(self.ledger, [self.client], self.book, self.archive, now, kept, self.conditions, 0.0)
        return set(judge(case)[0].counts)
