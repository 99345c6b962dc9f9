"""The report of a run: a table of what was tried, what became of honest clients and of the server, and the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import median, quantiles
from typing import Any

from abuse.attacks import ATTACKS
from abuse.attacks.attack import CONNECTION
from abuse.house import Rows, made_by_reading, new_rows
from abuse.orders import Tallies
from abuse.run import Run, Wave
from bench.table import aligned

MIB = 1024 * 1024
ENDS_TOLD = 6
NOTHING = "-"


def tell(run: Run, after: Rows) -> bool:
    """Prints what came of a run. True if nobody has anything to complain about."""
    print(attacks_table(run), honest_table(run), *server_lines(run, after), sep="\n\n")
    complaints = verdict(run, after)
    print(f"\nComplaints: {len(complaints)}", *complaints, sep="\n  ")
    return not complaints


def verdict(run: Run, after: Rows) -> list[str]:
    """What must not be: honest clients hurt, failures of the server, and rows that were made by reading."""
    watch = run.crowd.watch
    found = [f"honest: {count} {kind}" for kind, count in watch.counts.items()]
    found += [f"  {mistake}" for mistake in watch.mistakes]
    found += [failure for wave in run.waves for failure in failures(wave.tallies, ())]
    found += [f"without a database: {failure}" for failure in failures(run.told_in_outage, ("503",))]
    found += [f"the log says: {line[:300]}" for line in run.log.failures[:10]]
    found += [f"made by reading: the group {name}" for name in sorted(made_by_reading(run.before, after))[:10]]
    if not run.waves or not all(any(tally["sent"] for tally in wave.tallies.values()) for wave in run.waves):
        found.append("a wave sent nothing")
    if not watch.latencies:
        found.append("no honest message was heard")
    return found


def failures(tallies: Tallies, excused: Sequence[str]) -> Iterator[str]:
    """What strangers were told and must not be told, and with which status they must not be answered."""
    for name, tally in tallies.items():
        yield from (f"{name} was told: {text!r}" for text in tally["found"])
        statuses = (end for end in tally["ends"] if len(end) == 3 and end.startswith("5"))
        yield from (f"{name} was answered {status}" for status in statuses if status not in excused)


# The tables


def attacks_table(run: Run) -> str:
    """What was tried, how it ended, and the honest clients' longest wait in the waves in which it was."""
    head = ["attack", "connections", "at once", "frames or requests", "MiB told", "how it ended", "longest wait (ms)"]
    rows = [head]
    for name in sorted({name for wave in run.waves for name in wave.tallies}):
        waves = [wave for wave in run.waves if name in wave.tallies]
        tallies = [wave.tallies[name] for wave in waves]
        longest = max((wait for wave in waves for wait in waits(run, wave.begin, wave.end)), default=0.0)
        rows.append(
            [
                name,
                f"{total(tallies, 'connections'):,}",
                f"{max(tally['most_open'] for tally in tallies):,}",
                f"{total(tallies, 'sent'):,}",
                f"{total(tallies, 'received') / MIB:,.1f}",
                ends(tallies),
                f"{longest * 1000:,.0f}",
            ]
        )
    return aligned(rows)


def total(tallies: Iterable[dict[str, Any]], key: str) -> int:
    return sum(int(tally[key]) for tally in tallies)


def ends(tallies: Iterable[dict[str, Any]], most: int = ENDS_TOLD) -> str:
    """How connections ended, and with which status requests were answered; what was the most first."""
    counts: Counter[str] = Counter()
    for tally in tallies:
        counts.update(tally["ends"])
    told = [f"{how} ({count:,})" for how, count in counts.most_common(most)]
    return ", ".join(told) or NOTHING


def waits(run: Run, begin: float, end: float) -> list[float]:
    return [wait for moment, wait in run.crowd.watch.latencies if begin <= moment < end]


def honest_table(run: Run) -> str:
    """The honest clients beside those of the quiet time."""
    begin, end = run.waves[0].begin, run.waves[-1].end
    pages, arrivals = run.crowd.watch.page_times, run.crowd.watch.arrivals
    rows = [["honest clients", "median (ms)", "99 % (ms)", "longest (ms)", "times"]]
    for title, times in (
        ("messages, quiet", waits(run, *run.quiet)),
        ("messages, abuse", waits(run, begin, end)),
        ("pages, quiet", [wait for moment, wait in pages if moment < run.quiet[1]]),
        ("pages, abuse", [wait for moment, wait in pages if begin <= moment < end]),
        ("arrivals, quiet", [wait for moment, wait in arrivals if moment < run.quiet[1]]),
        ("arrivals, abuse", [wait for moment, wait in arrivals if begin <= moment < end]),
    ):
        rows.append([title, *figures(times), f"{len(times):,}"])
    return aligned(rows)


def figures(times: list[float]) -> list[str]:
    if not times:
        return [NOTHING] * 3
    most = quantiles(times, n=100, method="inclusive")[98] if len(times) > 1 else times[0]
    return [f"{value * 1000:,.1f}" for value in (median(times), most, max(times))]


# The server


def server_lines(run: Run, after: Rows) -> list[str]:
    counts, watch, log = run.counts, run.crowd.watch, run.log
    sent = sum(total(wave.tallies.values(), "sent") for wave in run.waves)
    hostile = sum(counts.values()) - watch.frames
    largest = max(tally["largest"] for wave in run.waves for tally in wave.tallies.values())
    rows = ", ".join(f"{table} {count:+,}" for table, count in new_rows(run.before, after).items()) or "none"
    lost, doubled = watch.counts["lost"], watch.counts["doubled"]
    outage = ends(run.told_in_outage.values(), 20)
    return [
        f"Honest: {len(run.crowd.clients)} clients sent {watch.sent:,} messages, of which {lost} were lost and "
        f"{doubled} doubled; {watch.counts['connections lost']} connections and {watch.counts['pages not had']} pages "
        "were lost.",
        f"Hostile: {sent:,} frames and requests sent; {hostile:,} reached the server ({counts['frames']:,} frames with "
        f"{watch.frames:,} honest ones, {counts['websocket']:,} handshakes, {counts['http']:,} requests), what it "
        f"refused before it read it not counted. Largest answer: {largest:,} bytes.",
        memory_line(run),
        f"Without a database: {total(run.told_in_outage.values(), 'connections'):,} connections, {outage}.",
        f"Rows created: {rows}; by reading: {len(made_by_reading(run.before, after))}.",
        f"Log: {log.requests:,} lines of requests (longest {log.longest_request:,} bytes), {log.others:,} others "
        f"(longest {log.longest_other:,} bytes), {len(log.failures)} failures.",
        f"The server had {run.processor:.0%} of a core during the abuse. The machine's load was {run.load:.1f} when it "
        "began.",
    ]


def memory_line(run: Run) -> str:
    worst = max(run.waves, key=lambda wave: wave.memory)
    most = max(map(may_hold, run.waves[: run.waves.index(worst) + 1]))  # what was freed is not given back at once
    names = ", ".join(worst.tallies)
    return (
        f"Memory: {run.quiet_memory / MIB:.0f} MiB when quiet, {worst.memory / MIB:.0f} MiB at the worst ({names}); "
        f"bound: quiet + connections at once * ({CONNECTION // 1024} KiB + what one may hold), worst wave so far: "
        f"{run.quiet_memory / MIB:.0f} + {most / MIB:.0f} = {(run.quiet_memory + most) / MIB:.0f} MiB."
    )


def may_hold(wave: Wave) -> int:
    """The bytes that the attacks of a wave may make the server hold."""
    return sum(tally["most_open"] * (CONNECTION + ATTACKS[name].holds) for name, tally in wave.tallies.items())
