"""The report: what a run found out, and the logs that it leaves."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from chaos.clients import Client
from chaos.judge.archive import Archive
from chaos.judge.court import Case, judge
from chaos.judge.lateness import GRACE, LIMIT, Table
from chaos.judge.losses import losses
from chaos.ledger import Ledger
from chaos.run import Run
from chaos.tally import counted
from chaos.tutorial_readers import TutorialReader

OWN_FAULTS = {
    "dies": "publisher killed before its COMMIT",
    "dies_committed": "publisher killed after its COMMIT",
    "frozen": "publisher frozen in its transaction",
    "frozen_at_commit": "publisher frozen with the group's row",
    "interrupted": "publisher's threads interrupted",
    "ctrl_c": "publisher interrupted by Ctrl-C",
    "cancelled": "publisher's task cancelled",
}


def tell(run: Run) -> bool:
    """Prints what came of a run. True if nobody has anything to complain about."""
    tell_faults(run)
    return tell_losses(run) if run.world.is_tutorial else tell_verdict(run)


def tell_faults(run: Run) -> None:
    injected, inside = run.faults.injected, counted(run.fleet.tally)
    own = Counter({kind: run.ledger.acts[act] for act, kind in OWN_FAULTS.items() if run.ledger.acts[act]})
    print(f"Faults injected: {injected.total()}, {inside.total()} inside of processes, {own.total()} by publishers")
    for kind, count in (*sorted(injected.items()), *sorted(inside.items()), *sorted(own.items())):
        print(f"  {count:>6} {kind}")


def tell_verdict(run: Run) -> bool:
    case = run.case()
    verdict, table = judge(case)
    write_archive(run.fleet.directory, case.archive)
    tell_messages(case, run)
    tell_pages(run)
    delays = ", ".join(f"{delay * 1000:.0f}" for delay in run.hint_delays.values())
    print(f"Healed: a message reaches the servers after {delays} ms (median each, by hint)")
    tell_lateness(table)
    counts = verdict.counts
    print(
        f"Missing {counts['missing']}, doubled or out of order {counts['doubled'] + counts['ephemeral twice']}, "
        f"violations {counts.total()}"
    )
    for line in verdict.lines():
        print(f"  {line}")
    return not counts


def tell_messages(case: Case, run: Run) -> None:
    logged, frames = case.archive.logged(), case.book.frames.values()
    ephemeral = [frame for frame in frames if frame.offset is None]
    steps = [step for reader in case.readers for step in reader.steps]
    print(
        f"In the log over time: {len(logged):,} messages in {len(case.now)} groups and "
        f"{len({change.epoch for change in case.archive.changes})} epochs. {outcomes(case.ledger)}"
    )
    print(
        f"Checked: {case.book.received:,} deliveries to {len(case.readers)} clients over "
        f"{sum(reader.visits for reader in case.readers):,} connections, "
        f"{sum(frame.heard_by.bit_count() for frame in ephemeral):,} of them of {len(ephemeral):,} ephemeral messages "
        f"({sum(reader.heard_again for reader in case.readers):,} again on another connection); "
        f"{len(steps):,} moves to another place, {sum(step.is_lost for step in steps):,} of them told as a loss. "
        f"Everybody was at the head {run.settled_after:.1f} s after the last message"
    )


def tell_pages(run: Run) -> None:
    heard = sum(event.kind == "message" for page in run.pages for event in page.events)
    print(f"Pages in Chromium: {len(run.pages)}, which heard {heard:,} messages")


def tell_lateness(table: Table) -> None:
    print(
        "Lateness, in seconds from a commit to the last client that was there: the longest, and what of it counts, "
        f"with the database well and nobody holding the group (at most {LIMIT:g}, of which {GRACE:g} are the machine's)"
    )
    print(table)


def tell_losses(run: Run) -> bool:
    lost = losses(run.ledger, [client for client in run.clients if isinstance(client, TutorialReader)])
    print(f"The tutorial's consumer, its hints left alone. {outcomes(run.ledger)}")
    print(
        f"Expected: {lost.expected:,} deliveries. Missing {lost.missing:,} "
        f"({lost.missing / max(1, lost.expected):.1%}), {lost.missing_connected:,} of them to clients that were "
        f"connected all the while; doubled {lost.doubled:,}, out of order {lost.disordered:,}. "
        f"{lost.losers} of {len(run.clients)} clients missed something"
    )
    return True


def outcomes(ledger: Ledger) -> str:
    return "Publishers know of " + ", ".join(f"{n:,} {outcome}" for outcome, n in ledger.counts().items())


def write_archive(directory: Path, archive: Archive) -> None:
    with (directory / "archive.log").open("w") as file:
        print(*archive.changes, *archive.rows, sep="\n", file=file)


def write_logs(directory: Path, clients: Iterable[Client], ledger: Ledger) -> None:
    with (directory / "clients.log").open("w") as file:
        for client in clients:
            print(f"--- {client.name} {dict(client.mistakes)}", *client.events, sep="\n", file=file)
    with (directory / "messages.log").open("w") as file:
        for key, entry in ledger.entries.items():
            print(f"{key} {entry}", file=file)
