"""What this project is meant to reach, held against a run's medians."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.results import Results
from bench.rows import LAYERS
from bench.scenarios.latency import SIZE as FEW
from bench.scenarios.rates import LISTENERS
from bench.scenarios.readers import QUIET_CONNECTIONS as QUIET
from bench.table import aligned

SIZE = 1000
LARGE = 5000
HUGE = 10_000
USERS, GUESTS = "-users-own", "-guests"

UNREAD = 3 * 64
"""KiB that a client which does not read may cost: what the kernel has not sent, one write, and a frame in progress."""


@dataclass(frozen=True)
class Target:
    """One promise: a value made of two figures, and its limit, on one layer.

    Less is better unless it is ``at_least``.
    """

    text: str
    limit: float
    value: Callable[[Results, str], float | None]
    at_least: bool = False
    layer: str = "memory"
    digits: int = 2

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def line(self, value: float) -> list[str]:
        """Its cells in the table, but for the first."""
        return [f"{value:,.{self.digits}f}", f"{self.limit:,.{self.digits}f}", "yes" if self.is_met(value) else "NO"]


Pick = tuple[Callable[[str], str], int, str]
"""A row's key, made of that of the measured row; a number of connections, a figure's key."""


def ratio(over: Pick, under: Pick) -> Callable[[Results, str], float | None]:
    return combined(over, under, lambda one, other: one / other)


def difference(over: Pick, under: Pick) -> Callable[[Results, str], float | None]:
    return combined(over, under, lambda one, other: one - other)


def combined(
    first: Pick, second: Pick, combine: Callable[[float, float], float]
) -> Callable[[Results, str], float | None]:
    def value(results: Results, ours: str) -> float | None:
        one, other = (results.of(row(ours), size, figure) for row, size, figure in (first, second))
        return None if one is None or other is None else combine(one, other)

    return value


def plainly(size: int, figure: str, kind: str = "") -> Callable[[Results, str], float | None]:
    return lambda results, ours: results.of(ours + kind, size, figure)


def ours(figure: str, size: int = SIZE) -> Pick:
    return lambda ours: ours, size, figure


def of_kind(kind: str, figure: str, size: int = SIZE) -> Pick:
    return lambda ours: ours + kind, size, figure


def other(row: str, figure: str, size: int = SIZE) -> Pick:
    return lambda ours: row, size, figure


def beyond_guests(
    figure: str, size: int = SIZE, how: Callable[[Pick, Pick], Callable[[Results, str], float | None]] = ratio
) -> Callable[[Results, str], float | None]:
    """What a signed-in reader with a group of their own costs, held against a guest in one group."""
    return how(of_kind(USERS, figure, size), of_kind(GUESTS, figure, size))


def hint_by(layer: str) -> Pick:
    return lambda ours: f"{ours.rpartition('-')[0]}-{layer}", FEW, "hint"


def latency_target(layer: str) -> Target:
    value = ratio(ours("latency", FEW), other(f"tutorial-{layer}", "latency", FEW))
    return Target(f"median latency through Redis ({layer}) / the tutorial's", 1, value, layer=layer)


TARGETS = (
    Target("one ephemeral message / the tutorial's", 1 / 20, ratio(ours("one"), other("tutorial-memory", "one"))),
    Target("one ephemeral message / C, one send() each", 1.6, ratio(ours("one"), other("c", "one"))),
    Target("one durable message - ephemeral (ms)", 10, difference(ours("one_durable"), ours("one"))),
    Target("50 ephemeral at once / one", 1.5, ratio(ours("burst"), ours("one"))),
    Target("50 durable at once / one", 2, ratio(ours("burst_durable"), ours("one_durable"))),
    Target("50 ephemeral in a loop / one", 3, ratio(ours("loop"), ours("one"))),
    Target("50 durable in a loop / one", 8, ratio(ours("loop_durable"), ours("one_durable"))),
    Target("processor per delivery at 5,000 / at 1,000", 1.25, ratio(ours("one_cpu", LARGE), ours("one_cpu"))),
    Target("durable messages relayed a second", 3000, plainly(LISTENERS, "relay"), at_least=True),
    Target("memory of a connection above accept only (KiB)", 6, difference(ours("memory"), other("accept", "memory"))),
    Target("all resume / all connect plain", 1.3, plainly(SIZE, "resume_ratio")),
    Target("queries per resuming client", 0.01, plainly(SIZE, "resume_queries"), digits=3),
    Target("idle above accept only (% of a core)", 1, difference(ours("idle"), other("accept", "idle"))),
    Target("99th percentile with one slow client / without", 1.5, ratio(ours("p99_with"), ours("p99_without"))),
    Target("growth with one slow client (MiB)", 10, plainly(SIZE, "growth_with")),
    Target("memory of a client that does not read (KiB)", UNREAD, plainly(SIZE, "all_slow")),
    Target("growth by a flood of messages (MiB)", 10, plainly(1, "flood_messages")),
    Target("growth by an endless message (MiB)", 10, plainly(1, "flood_fragments")),
    latency_target("pubsub"),
    latency_target("core"),
)


OF_READERS = (
    Target("signed in, own group / a guest: coming, processor", 2.2, beyond_guests("readers_cpu")),
    Target("the same through Redis", 2.7, beyond_guests("readers_cpu"), layer="pubsub"),
    Target("queries per returning reader", 0.1, plainly(SIZE, "readers_back_queries", USERS), digits=3),
    Target("idle above guests (% of a core)", 0.5, beyond_guests("readers_idle", SIZE, difference)),
    Target("idle above guests, 10,000 readers (% of a core)", 3, beyond_guests("readers_idle", HUGE, difference)),
    Target("idle, 10,000 quiet groups / 100", 1.5, ratio(ours("quiet_many", QUIET), ours("quiet_few", QUIET))),
    Target("memory above a guest's (KiB)", 5, beyond_guests("readers_memory", SIZE, difference)),
    Target("all back after a storm / guests", 2, beyond_guests("storm", LARGE)),
    Target("slowest page in a storm (ms)", 1000, plainly(LARGE, "storm_page", USERS), digits=0),
    Target("rights lost, the longest (s)", 5, plainly(LARGE, "rights", USERS)),
    Target(
        "queries of a page with messages beyond one without",
        2,
        difference(of_kind(USERS, "page_full_queries", 1), of_kind(USERS, "page_queries", 1)),
    ),
    Target("hints without a layer / through Redis, median", 1.5, ratio(ours("hint", FEW), hint_by("pubsub"))),
    Target("hints without a layer, 99th percentile (ms)", 50, plainly(FEW, "hint_p99")),
)
GROUPS = {"Targets": TARGETS, "Targets of readers": OF_READERS}


def verdict(results: Results) -> str:
    """For each group of targets, a table of those that were measured, for each checkout, and a line of the others.

    They are on the in-memory layer and SQLite unless they say another.
    """
    verdicts = (verdict_on(results, title, targets) for title, targets in GROUPS.items())
    return "\n\n".join(text for text in verdicts if text)


def verdict_on(results: Results, title: str, targets: Sequence[Target]) -> str:
    """The verdict on some targets; empty if nothing was measured of any."""
    values = list(judged(results, targets))
    lines = [[text, *target.line(value)] for text, target, value in values if value is not None]
    missing = [text for text, _, value in values if value is None]
    if not lines:
        return ""
    parts = [f"### {title}", aligned([["target", "value", "limit", "reached"], *lines])]
    if missing:
        parts.append(f"Not measured: {'; '.join(missing)}.")
    return "\n\n".join(parts)


def judged(results: Results, targets: Sequence[Target]) -> Iterator[tuple[str, Target, float | None]]:
    """Each target, how it is called there, and its value if there is one, for each checkout of this project."""
    names = list(dict.fromkeys(name for row in results.rows if (name := checkout_of(row))))
    for name in names:
        for target in targets:
            text = target.text if len(names) == 1 else f"{name}: {target.text}"
            yield text, target, target.value(results, f"{name}-{target.layer}")


def checkout_of(row: str) -> str:
    """The name of the checkout that a row is of; empty for what is not of this project."""
    found = re.match(rf"(.*?)-({'|'.join(LAYERS)})(?:-|$)", row)
    return found[1] if found and found[1] != "tutorial" else ""
