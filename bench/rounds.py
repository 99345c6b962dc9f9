"""The rounds: which rows each scenario is measured with, and how large it is."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from functools import partial

from bench.cores import OF_CLIENT, keep_to
from bench.crowd import allow_files
from bench.plan import Plan, Round, say
from bench.readers import Kind
from bench.results import Results
from bench.rows import Row
from bench.scenarios.crowded import among_slow, two_groups
from bench.scenarios.fanout import fan_out
from bench.scenarios.flood import flood
from bench.scenarios.idle import idle
from bench.scenarios.latency import SIZE, latency
from bench.scenarios.pages import count_pages, pages
from bench.scenarios.rates import LISTENERS, publish, relay, relay_with_refs
from bench.scenarios.readers import QUIET_CONNECTIONS, USERS_BESIDE, come, count, quiet
from bench.scenarios.readers import idle as idle_readers
from bench.scenarios.resume import resume
from bench.scenarios.rights import rights
from bench.scenarios.slow import all_slow, one_slow
from bench.scenarios.storm import storm
from bench.servers import Workshop

SPARE_FILES = 200
LATER_BUDGET = 0.1  # of that of the first round: what takes most of a minute is measured once


def run(plan: Plan, results: Results) -> None:
    """Runs every round of a plan, the servers taking turns within each."""
    most = allow_files()
    storms = [plan.storm_size] if {"storm", "rights"} & set(plan.scenarios) else []
    if max(*plan.sizes, 2 * plan.size, *storms) + SPARE_FILES > most:
        sys.exit(f"A process may open {most} files here: choose smaller --sizes, or raise the limit (ulimit -Hn).")
    gc.disable()
    keep_to(OF_CLIENT)
    with Workshop() as workshop:
        for number in range(plan.rounds):
            say(f"Round {number + 1} of {plan.rounds}")
            for scenario in plan.scenarios:
                SCENARIOS[scenario](Round(plan, workshop, results, number == 0, is_turned=number % 2 == 1))
                gc.collect()


def fan_out_round(turn: Round) -> None:
    budget = turn.plan.budget if turn.is_first else turn.plan.budget * LATER_BUDGET
    for size in turn.plan.sizes:
        measurement = partial(fan_out, size=size, budget=budget, in_every_way=size == turn.plan.size)
        for row in turn.rows(is_on_sqlite):
            leave_out = partial(turn.leave_out, row)
            turn.measure(row, size, "fan-out", partial(measurement, leave_out=leave_out))


def resume_round(turn: Round) -> None:
    size = turn.plan.size
    for row in turn.rows(is_ours, is_on_sqlite, takes_single_frames):
        turn.measure(row, size, "resume", partial(resume, size=size), counts_queries=True)


def rates_round(turn: Round) -> None:
    total = turn.plan.relayed
    for row in turn.rows(can_relay):
        turn.measure(row, LISTENERS, "relay", partial(relay, total=total), counts="listener")
    for row in turn.rows(is_ours, takes_single_frames):
        turn.measure(row, LISTENERS, "relay with refs", partial(relay_with_refs, total=total), counts="listener")
        turn.measure(row, LISTENERS, "publishing", partial(publish, total=total), counts="listener")


def idle_round(turn: Round) -> None:
    size, seconds = turn.plan.size, turn.plan.idle_seconds
    for row in turn.rows(is_on_daphne, is_on_sqlite, in_one_process):
        turn.measure(row, size, "idle", partial(idle, size=size, seconds=seconds), pings=True)


def latency_round(turn: Round) -> None:
    for row in turn.rows(can_relay, reaches_others):
        turn.measure(row, SIZE, "latency", latency)


def slow_round(turn: Round) -> None:
    """Once is enough: it takes minutes, and its figures are bounds."""
    if not turn.is_first:
        return
    size, megabytes = turn.plan.size, turn.plan.megabytes
    for row in turn.rows(is_ours, is_on_sqlite, in_one_process, takes_single_frames):
        turn.measure(row, size, "one slow client", partial(one_slow, size=size, megabytes=megabytes))
        turn.measure(row, size, "all slow", partial(all_slow, size=size, megabytes=megabytes / 10))
        turn.measure(row, 1, "flood", partial(flood, megabytes=2 * megabytes), product_limits=True)


def crowded_round(turn: Round) -> None:
    size = turn.plan.size
    for row in turn.rows(is_ours, is_on_sqlite, in_one_process, takes_single_frames):
        turn.measure(row, size, "two groups each", partial(two_groups, size=size))
        turn.measure(row, size, "beside slow ones", partial(among_slow, size=size))


def readers_round(turn: Round) -> None:
    size = turn.plan.size
    users = size + USERS_BESIDE
    for kind in turn.plan.readers:
        for row in reader_rows(turn, kind):
            turn.measure(row, size, "coming", partial(come, kind=kind, size=size), "reader", users=users)
            if turn.is_first:
                counting = partial(count, kind=kind, size=size)
                turn.measure(row, size, "queries", counting, "reader", users=users, counts_queries=True)


def readers_idle_round(turn: Round) -> None:
    seconds = turn.plan.readers_seconds
    for size in turn.plan.idle_sizes:
        for kind in turn.plan.readers:
            for row in reader_rows(turn, kind):
                measurement = partial(idle_readers, kind=kind, size=size, seconds=seconds)
                if size + SPARE_FILES > allow_files():
                    turn.leave_out(
                        row, f"a process may open {allow_files():,} files here, too few for {size:,} readers"
                    )
                else:
                    turn.measure(row, size, "idle", measurement, "reader", pings=True, users=size)


def storm_round(turn: Round) -> None:
    size = turn.plan.storm_size
    for kind in turn.plan.readers:
        for row in reader_rows(turn, kind):
            measurement = partial(storm, kind=kind, size=size)
            turn.measure(row, size, "storm", measurement, "reader", users=size + USERS_BESIDE)


def rights_round(turn: Round) -> None:
    size = turn.plan.storm_size
    for kind in turn.plan.readers:
        for row in reader_rows(turn, kind):
            if kind.is_signed_in:
                turn.measure(row, size, "rights lost", partial(rights, kind=kind, size=size), "reader", users=size)


def quiet_round(turn: Round) -> None:
    measurement = partial(quiet, seconds=turn.plan.readers_seconds)
    for row in turn.rows(has_readers):
        turn.measure(row, QUIET_CONNECTIONS, "quiet groups", measurement, pings=True)


def pages_round(turn: Round) -> None:
    for kind in turn.plan.readers:
        for row in reader_rows(turn, kind):
            turn.measure(row, 1, "pages", partial(pages, kind=kind), "reader", users=USERS_BESIDE)
            if turn.is_first:
                counting = partial(count_pages, kind=kind)
                turn.measure(row, 1, "queries", counting, "reader", users=USERS_BESIDE, counts_queries=True)


def reader_rows(turn: Round, kind: Kind) -> list[Row]:
    """The servers to which readers of a kind come, as they are in the tables."""
    return [kind.row(row) for row in turn.rows(has_readers)]


OF_MESSAGES: dict[str, Callable[[Round], None]] = {
    "fanout": fan_out_round,
    "crowded": crowded_round,
    "resume": resume_round,
    "rates": rates_round,
    "idle": idle_round,
    "latency": latency_round,
    "slow": slow_round,
}
OF_READERS: dict[str, Callable[[Round], None]] = {
    "readers": readers_round,
    "readers-idle": readers_idle_round,
    "storm": storm_round,
    "rights": rights_round,
    "quiet": quiet_round,
    "pages": pages_round,
}
SCENARIOS = OF_MESSAGES | OF_READERS


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


def reaches_others(row: Row) -> bool:
    """Whether what one process says is heard at another: of this project without a layer for that, too."""
    return row.is_django and (row.is_ours or row.layer != "memory")


def is_on_sqlite(row: Row) -> bool:
    return row.is_on_sqlite


def has_readers(row: Row) -> bool:
    """Whether pages' readers come there. Of the layers of Redis one is enough."""
    return row.is_ours and row.is_on_daphne and row.layer != "core"
