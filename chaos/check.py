"""The verdict: what publishers were told and what clients saw, held against the log."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from math import inf
from typing import Any, NamedTuple

import psycopg

from chaos import GROUPS, key_of, text_of
from chaos.ledger import NOT_SENT, SENT, Ledger
from chaos.readers import Book, Reader
from chaos.tutorial_readers import TutorialReader

SHOWN = 10  # violations of a kind


class Row(NamedTuple):
    """A message as the log has it."""

    group: str
    offset: int | None
    source: str
    author: str
    body: str
    data: Any
    ref: str
    sent_at: datetime


def read_log(url: str) -> tuple[dict[str, int], list[Row]]:
    """The head of each group, and every message in order."""
    columns = 'group_name, "offset", source, author, body, data, ref::text, sent_at'
    with psycopg.connect(url) as connection:
        heads: dict[str, int] = dict(connection.execute("SELECT name, head FROM broadcast_group").fetchall())
        rows = connection.execute(f'SELECT {columns} FROM broadcast_message ORDER BY group_name, "offset", id')
        return heads, [Row(*row) for row in rows]


class Verdict:
    """Violations by kind, each with what is known of it."""

    def __init__(self) -> None:
        self.violations: dict[str, list[str]] = defaultdict(list)
        self.counts: Counter[str] = Counter()

    def add(self, kind: str, details: str, count: int = 1) -> None:
        self.violations[kind].append(details)
        self.counts[kind] += count

    def lines(self) -> list[str]:
        lines = []
        for kind, details in self.violations.items():
            lines.append(f"{kind}: {self.counts[kind]}")
            lines += [f"    {text}" for text in details[:SHOWN]]
        return lines


def judge(ledger: Ledger, readers: Iterable[Reader], book: Book, heads: Mapping[str, int], rows: list[Row]) -> Verdict:
    verdict = Verdict()
    check_offsets(verdict, heads, rows)
    check_messages(verdict, ledger, rows)
    check_order(verdict, ledger, rows)
    check_frames(verdict, book, rows)
    for reader in readers:
        check_reader(verdict, reader, heads)
    for surprise in ledger.surprises:
        verdict.add("publisher surprised", surprise)
    return verdict


def check_offsets(verdict: Verdict, heads: Mapping[str, int], rows: list[Row]) -> None:
    """Offsets are 1, 2, 3 … up to the head, and nothing waits."""
    for name, head in heads.items():
        offsets = [row.offset for row in rows if row.group == name]
        if offsets != list(range(1, head + 1)):
            verdict.add("offsets", f"{name} has {len(offsets)} messages and the head {head}: {offsets[:5]} …")


def check_messages(verdict: Verdict, ledger: Ledger, rows: list[Row]) -> None:
    """What was sent is there once, with its text; what was not sent is not; of the rest, once at most."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[key_of(row.body)].append(row)
    for key, entry in ledger.entries.items():
        there = found.pop(key, [])
        what = f"{key} ({entry.act} in {entry.group}; {entry.reason}): {len(there)} in the log"
        if entry.outcome == SENT and not there:
            verdict.add("sent and not in the log", what)
        if entry.outcome == NOT_SENT and there:
            verdict.add("not sent and in the log", what)
        if len(there) > 1:
            verdict.add("more than once in the log", what)
        if any((row.body, row.group) != (text_of(key), entry.group) for row in there):
            verdict.add("changed on its way into the log", what)
    for key in found:
        verdict.add("from nobody", key)


def check_order(verdict: Verdict, ledger: Ledger, rows: list[Row]) -> None:
    """What was sent after another message was settled comes after it in the log."""
    latest: dict[str, tuple[float, str]] = dict.fromkeys(GROUPS, (-inf, ""))
    for row in rows:
        key = key_of(row.body)
        entry = ledger.entries.get(key)
        if entry is None or entry.outcome != SENT:
            continue
        tried_at, earlier = latest[row.group]
        if entry.settled_at < tried_at:
            verdict.add("order in the log", f"{earlier} comes before {key} and was sent after it in {row.group}")
        latest[row.group] = max(latest[row.group], (entry.tried_at, key))


def check_frames(verdict: Verdict, book: Book, rows: list[Row]) -> None:
    """Every frame that any client got says what the log says."""
    logged = {(row.group, row.offset): row for row in rows}
    for frame in book.frames.values():
        fields = frame.fields
        row = logged.get((fields["group"], fields["offset"]))
        sent_at = datetime.fromisoformat(fields["sent_at"])
        told = (*(fields[name] for name in ("source", "author", "body")), fields.get("data"), fields["ref"], sent_at)
        if row is None or told != row[2:]:
            verdict.add("frame not as in the log", f"{fields} for {row}")


def check_reader(verdict: Verdict, reader: Reader, heads: Mapping[str, int]) -> None:
    """It saw what lies between its first welcome and the head, each once and in order."""
    for kind, count in reader.mistakes.items():
        example = next((event for event in reader.events if f"MISTAKE {kind}" in event), "")
        verdict.add(kind, f"{reader.name}: {count}, such as {example}", count)
    for group in reader.groups:
        name = GROUPS[group]
        if reader.positions[group] != heads.get(name):
            verdict.add("did not reach the head", f"{reader.name} is at {reader.positions[group]} of {name}: {heads}")


def delivered(readers: Iterable[Reader]) -> int:
    """How many messages, each for each client, were seen in their order."""
    return sum(reader.positions[group] - first for reader in readers for group, first in reader.first.items())


class Losses(NamedTuple):
    """What the tutorial's clients should have got, and what they got."""

    expected: int
    missing: int
    missing_connected: int
    doubled: int
    disordered: int
    losers: int


def losses(ledger: Ledger, readers: Iterable[TutorialReader]) -> Losses:
    """Counts only messages whose publisher was told that they were sent, after a client had first joined."""
    sent = {key: entry for key, entry in ledger.entries.items() if entry.outcome == SENT}
    total = Losses(0, 0, 0, 0, 0, 0)
    for reader in readers:
        joined_at = reader.stays[0][0] if reader.stays else inf
        expected = [key for key, entry in sent.items() if entry.tried_at > joined_at]
        missing = [key for key in expected if key not in reader.seen]
        connected = sum(reader.was_there(sent[key].tried_at, sent[key].settled_at) for key in missing)
        doubled = sum(count - 1 for count in reader.seen.values())
        own = Losses(len(expected), len(missing), connected, doubled, reader.disorder, int(bool(missing)))
        total = Losses(*(a + b for a, b in zip(total, own, strict=True)))
    return total
