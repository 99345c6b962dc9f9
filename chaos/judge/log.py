"""The log itself: what publishers were told is what it ever held, in the order in which they sent it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import inf

from chaos import GROUPS, key_of, text_of
from chaos.judge.archive import Archive, Change, Now, Row, identity
from chaos.judge.timeline import VOID
from chaos.judge.verdict import Verdict
from chaos.ledger import EPHEMERAL, NOT_SENT, SENT, Ledger


def check_offsets(verdict: Verdict, now: Mapping[str, Now], offsets: Mapping[str, Sequence[int | None]]) -> None:
    """Offsets follow each other from the floor to the head, and nothing waits."""
    for name, group in now.items():
        found = list(offsets.get(name, ()))
        if found != list(range(group.floor + 1, group.head + 1)):
            verdict.add("offsets", f"{name} has {len(found)} messages and is {group}: {found[:5]} …")


def check_messages(verdict: Verdict, ledger: Ledger, archive: Archive) -> None:
    """What was sent was there, with its text; what was not sent was not, nor what is only for whoever is live."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in archive.written().values():
        found[key_of(row.body)].append(row)
    for key, entry in ledger.entries.items():
        there = found.pop(key, [])
        what = f"{key} ({entry.act} in {entry.group}; {entry.reason}): {len(there)} in the log"
        if entry.act in EPHEMERAL:
            if there:
                verdict.add("ephemeral and in the log", what)
            continue
        if entry.outcome == SENT and not there:
            verdict.add("sent and not in the log", what)
        if entry.outcome == NOT_SENT and there:
            verdict.add("not sent and in the log", what)
        # One ref is there once at a time, says the database: twice only where an erasure or a backup took the first.
        if len({row.ref for row in there}) > 1:
            verdict.add("more than once in the log", what)
        if any((row.body, row.group) != (text_of(key), entry.group) for row in there):
            verdict.add("changed on its way into the log", what)
    for key in found:
        verdict.add("from nobody", key)


def check_sequence(verdict: Verdict, archive: Archive) -> None:
    """Between two times that a group's log was set back by hand its offsets go up by one; all that was kept got one."""
    logged: dict[str, list[Row]] = defaultdict(list)
    for row in archive.logged():
        logged[row.group].append(row)
    for name, rows in logged.items():
        for change, part in parts(rows, setbacks(archive, name)):
            first = 0 if change is None else change.head
            got = sorted(row.offset or 0 for row in part)
            if got != list(range(first + 1, first + 1 + len(got))):
                verdict.add("offsets", f"{name} got {len(got)} of them after {first}: {got[:5]} …")
    check_waiting(verdict, archive)


def check_waiting(verdict: Verdict, archive: Archive) -> None:
    """What was written got an offset, unless its log was erased or set back after that."""
    sequenced = {identity(row) for row in archive.logged()}
    last: dict[str, int] = {}
    for change in archive.changes:
        last[change.group] = change.number
    for key, row in archive.written().items():
        if key not in sequenced and row.number > last.get(row.group, 0):
            verdict.add("without an offset", f"{key_of(row.body)} in {row.group}")


def check_order(verdict: Verdict, ledger: Ledger, archive: Archive) -> None:
    """What was sent after another message was settled comes after it in the log."""
    written = archive.written()
    first: dict[str, Row] = {}
    for row in archive.logged():
        first.setdefault(key_of(row.body), row)
    for name in GROUPS:
        rows = [row for row in archive.logged() if row.group == name]
        for change, part in parts(rows, setbacks(archive, name)):
            begun = 0 if change is None else change.number
            # What comes a second time, when the first was erased or taken back, was sent again at another time.
            own = [row for row in part if written[identity(row)].number > begun and first[key_of(row.body)] is row]
            check_part(verdict, ledger, sorted(own, key=lambda row: row.offset or 0))


def check_part(verdict: Verdict, ledger: Ledger, rows: list[Row]) -> None:
    latest = (-inf, "")
    for row in rows:
        key = key_of(row.body)
        entry = ledger.entries.get(key)
        if entry is None or entry.outcome != SENT:
            continue
        tried_at, earlier = latest
        if entry.settled_at < tried_at:
            verdict.add("order in the log", f"{earlier} comes before {key} and was sent after it in {row.group}")
        latest = max(latest, (entry.tried_at, key))


def setbacks(archive: Archive, group: str) -> list[Change]:
    """When a backup took a group back, or somebody deleted its row."""
    return [each for each in archive.changes if each.group == group and (each.is_restored or each.epoch == VOID)]


def parts(rows: list[Row], setbacks: list[Change]) -> list[tuple[Change | None, list[Row]]]:
    """Rows in the parts that setbacks make of them, each with the one that begins it."""
    begins: list[Change | None] = [None, *setbacks]
    found: list[tuple[Change | None, list[Row]]] = [(begin, []) for begin in begins]
    number = 0
    for row in sorted(rows, key=lambda row: row.number):
        while number < len(setbacks) and setbacks[number].number < row.number:
            number += 1
        found[number][1].append(row)
    return found
