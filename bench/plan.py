"""A run: which servers, in which order, how often."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bench.cores import OF_CLIENT, keep_to
from bench.crowd import Late, Wrong, allow_files
from bench.figures import counted
from bench.link import Lost
from bench.results import Results
from bench.rows import Row
from bench.scenarios.base import Note
from bench.scenarios.crowded import among_slow, two_groups
from bench.scenarios.fanout import fan_out
from bench.scenarios.flood import flood
from bench.scenarios.idle import idle
from bench.scenarios.latency import SIZE, latency
from bench.scenarios.rates import LISTENERS, publish, relay
from bench.scenarios.resume import resume
from bench.scenarios.slow import all_slow, one_slow
from bench.servers import CannotStart, Server, Workshop

Measurement = Callable[[Server, Note], None]
"""Does something to a fresh server and notes figures."""

SPARE_FILES = 200
LATER_BUDGET = 0.1  # of that of the first round: what takes most of a minute is measured once
FAILURES = (CannotStart, Late, Lost, Wrong, AssertionError, OSError)


@dataclass(frozen=True)
class Plan:
    """How large a run is. ``size`` is the number of connections where only one is measured."""

    rows: Sequence[Row]
    scenarios: Sequence[str]
    sizes: Sequence[int] = (100, 1000, 5000)
    size: int = 1000
    rounds: int = 5
    budget: float = 60.0
    relayed: int = 10_000
    idle_seconds: float = 22.0  # daphne pings every 20 seconds and looks every 2: each client is pinged once
    megabytes: float = 100.0


def run(plan: Plan, results: Results) -> None:
    """Runs every round of a plan, the servers taking turns within each."""
    most = allow_files()
    if max(*plan.sizes, 2 * plan.size) + SPARE_FILES > most:
        sys.exit(f"A process may open {most} files here: choose smaller --sizes, or raise the limit (ulimit -Hn).")
    gc.disable()
    keep_to(OF_CLIENT)
    with Workshop() as workshop:
        for number in range(plan.rounds):
            say(f"Round {number + 1} of {plan.rounds}")
            for scenario in plan.scenarios:
                SCENARIOS[scenario](Round(plan, workshop, results, is_first=number == 0))
                gc.collect()


@dataclass(frozen=True)
class Round:
    plan: Plan
    workshop: Workshop
    results: Results
    is_first: bool

    def rows(self, *wanted: Callable[[Row], bool]) -> list[Row]:
        return [row for row in self.plan.rows if all(want(row) for want in wanted)]

    def measure(
        self, row: Row, size: int, what: str, measurement: Measurement, counts: str = "connection", **options: bool
    ) -> None:
        """Does something to a fresh server. If it fails, that is said, and the run goes on."""
        say(f"  {what}: {row.title}, {counted(size, counts)}")
        server = Server(row, self.workshop, **options)
        try:
            with server:
                measurement(server, partial(self.results.add, row, size))
        except FAILURES as failure:
            text = f"{what} with {counted(size, counts)}: {failure}{server.complaint()}"
            self.results.remark(row, text)
            say(f"    {text}")

    def leave_out(self, row: Row, why: str) -> None:
        """Keeps why a figure is missing. Later rounds need not say it: the first has measured it or said why not."""
        if self.is_first:
            self.results.remark(row, why)


def fan_out_round(turn: Round) -> None:
    budget = turn.plan.budget if turn.is_first else turn.plan.budget * LATER_BUDGET
    for size in turn.plan.sizes:
        measurement = partial(fan_out, size=size, budget=budget, in_every_way=size == turn.plan.size)
        for row in turn.rows():
            leave_out = partial(turn.leave_out, row)
            turn.measure(row, size, "fan-out", partial(measurement, leave_out=leave_out))


def resume_round(turn: Round) -> None:
    size = turn.plan.size
    for row in turn.rows(is_ours, takes_single_frames):
        turn.measure(row, size, "resume", partial(resume, size=size))


def rates_round(turn: Round) -> None:
    total = turn.plan.relayed
    for row in turn.rows(can_relay):
        turn.measure(row, LISTENERS, "relay", partial(relay, total=total), counts="listener")
    for row in turn.rows(is_ours, takes_single_frames):
        turn.measure(row, LISTENERS, "publishing", partial(publish, total=total), counts="listener")


def idle_round(turn: Round) -> None:
    size, seconds = turn.plan.size, turn.plan.idle_seconds
    for row in turn.rows(is_on_daphne, in_one_process):
        turn.measure(row, size, "idle", partial(idle, size=size, seconds=seconds), pings=True)


def latency_round(turn: Round) -> None:
    for row in turn.rows(can_relay, through_redis):
        turn.measure(row, SIZE, "latency", latency)


def slow_round(turn: Round) -> None:
    """Once is enough: it takes minutes, and its figures are bounds."""
    if not turn.is_first:
        return
    size, megabytes = turn.plan.size, turn.plan.megabytes
    for row in turn.rows(is_ours, in_one_process, takes_single_frames):
        turn.measure(row, size, "one slow client", partial(one_slow, size=size, megabytes=megabytes))
        turn.measure(row, size, "all slow", partial(all_slow, size=size, megabytes=megabytes / 10))
        turn.measure(row, 1, "flood", partial(flood, megabytes=2 * megabytes), product_limits=True)


def crowded_round(turn: Round) -> None:
    size = turn.plan.size
    for row in turn.rows(is_ours, in_one_process, takes_single_frames):
        turn.measure(row, size, "two groups each", partial(two_groups, size=size))
        turn.measure(row, size, "beside slow ones", partial(among_slow, size=size))


SCENARIOS: dict[str, Callable[[Round], None]] = {
    "fanout": fan_out_round,
    "crowded": crowded_round,
    "resume": resume_round,
    "rates": rates_round,
    "idle": idle_round,
    "latency": latency_round,
    "slow": slow_round,
}


def is_ours(row: Row) -> bool:
    return row.is_ours


def can_relay(row: Row) -> bool:
    return row.can_relay


def is_on_daphne(row: Row) -> bool:
    return row.is_on_daphne


def takes_single_frames(row: Row) -> bool:
    return not row.speech.is_batched


def in_one_process(row: Row) -> bool:
    return row.layer == "memory"


def through_redis(row: Row) -> bool:
    return row.layer != "memory"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
