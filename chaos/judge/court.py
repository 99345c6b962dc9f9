"""The court: all that is known of a run, and every check of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from chaos.book import Book
from chaos.judge.archive import Archive, Now
from chaos.judge.clients import check_frames, check_reader, timelines
from chaos.judge.lateness import LIMIT, Table, Trouble, Waits
from chaos.judge.log import check_messages, check_offsets, check_order, check_sequence
from chaos.judge.pages import check_page
from chaos.judge.verdict import Verdict
from chaos.judge.watch import Conditions
from chaos.ledger import Ledger
from chaos.pages import Page
from chaos.readers import Reader


@dataclass(slots=True)
class Case:
    """What is known of a run when it is over."""

    ledger: Ledger
    readers: Sequence[Reader]
    book: Book
    archive: Archive
    now: Mapping[str, Now]
    offsets: Mapping[str, Sequence[int | None]]
    conditions: Conditions
    ahead: float
    """How much the wall clock, by which commits are dated, is ahead of the clients' clock."""
    troubles: Iterable[Trouble] = ()
    pages: Sequence[Page] = ()


def judge(case: Case) -> tuple[Verdict, Table]:
    """What is wrong, and how late messages were."""
    verdict = Verdict()
    lines = timelines(case.archive)
    check_offsets(verdict, case.now, case.offsets)
    check_messages(verdict, case.ledger, case.archive)
    check_sequence(verdict, case.archive)
    check_order(verdict, case.ledger, case.archive)
    check_frames(verdict, case.book, case.ledger, case.archive, lines)
    for reader in case.readers:
        check_reader(verdict, reader, case.now, lines)
    for page in case.pages:
        check_page(verdict, page, case.archive, case.now, lines)
    for surprise in case.ledger.surprises:
        verdict.add("publisher surprised", surprise)
    return verdict, check_lateness(verdict, case)


def check_lateness(verdict: Verdict, case: Case) -> Table:
    """Nobody who was there waited for long while the database was well and nobody held the group."""
    table = Table(case.troubles)
    waits = Waits(case.archive, case.conditions, case.ahead)
    stays = (stay for reader in case.readers for stay in reader.stays.over)
    of_pages = (wait for page in case.pages for wait in waits.of_page(page))
    for wait in chain(waits.of_frames(case.book), of_pages, waits.in_vain(stays)):
        table.add(wait)
        if wait.counted > LIMIT:
            verdict.add("late", f"{wait.what}: {wait.counted:.1f} s of {wait.seconds:.1f} s, until {wait.end:.3f}")
    return table
