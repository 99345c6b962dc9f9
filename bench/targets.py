"""What this project is meant to reach, held against a run's medians."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.results import Results
from bench.rows import LAYERS
from bench.scenarios.latency import SIZE as FEW
from bench.scenarios.rates import LISTENERS
from bench.table import aligned

SIZE = 1000
LARGE = 5000

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


Pick = tuple[str | None, int, str]
"""A row's key (None: the measured one), a number of connections, a figure's key."""


def ratio(over: Pick, under: Pick) -> Callable[[Results, str], float | None]:
    return combined(over, under, lambda one, other: one / other)


def difference(over: Pick, under: Pick) -> Callable[[Results, str], float | None]:
    return combined(over, under, lambda one, other: one - other)


def combined(
    first: Pick, second: Pick, combine: Callable[[float, float], float]
) -> Callable[[Results, str], float | None]:
    def value(results: Results, ours: str) -> float | None:
        one, other = (results.of(row or ours, size, figure) for row, size, figure in (first, second))
        return None if one is None or other is None else combine(one, other)

    return value


def plainly(size: int, figure: str) -> Callable[[Results, str], float | None]:
    return lambda results, ours: results.of(ours, size, figure)


def ours(figure: str, size: int = SIZE) -> Pick:
    return None, size, figure


def other(row: str, figure: str, size: int = SIZE) -> Pick:
    return row, size, figure


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


def verdict(results: Results) -> str:
    """A table of the targets that the run has figures for, for each checkout, and a line of those that it has none for.

    They are on the in-memory layer unless they say another.
    """
    values = list(judged(results))
    lines = [[text, *target.line(value)] for text, target, value in values if value is not None]
    missing = [text for text, _, value in values if value is None]
    parts = []
    if lines:
        parts.append(aligned([["target", "value", "limit", "reached"], *lines]))
    if missing:
        parts.append(f"Not measured: {'; '.join(missing)}.")
    return "\n\n".join(["### Targets", *parts]) if parts else ""


def judged(results: Results) -> Iterator[tuple[str, Target, float | None]]:
    """Each target, how it is called there, and its value if there is one, for each checkout of this project."""
    names = list(dict.fromkeys(row.rpartition("-")[0] for row in results.rows if is_of_this_project(row)))
    for name in names:
        for target in TARGETS:
            text = target.text if len(names) == 1 else f"{name}: {target.text}"
            yield text, target, target.value(results, f"{name}-{target.layer}")


def is_of_this_project(row: str) -> bool:
    name, _, layer = row.rpartition("-")
    return layer in LAYERS and name != "tutorial"
