"""Runs of seeds: each by itself, many side by side, and a failing one made as short as it can be."""

from __future__ import annotations

import gc
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from tests.simulation.plan import Act

AT_ONCE = 10  # seeds that a worker is given
MOST_RUNS = 150  # of a seed, to make its history shorter


@dataclass
class Outcome:
    """What came of a seed. ``digest`` is the same if and only if the same happened."""

    seed: int
    violations: list[str]
    digest: str
    acts: list[Act]
    trace: list[str]


def prepare() -> None:
    """Makes this process one that can run seeds: Django is set up, and the tables of its database are there."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.simulation.settings")
    import django

    django.setup()
    sys.unraisablehook = lambda unraisable: None  # tasks of processes that were killed never end
    from django.core.management import call_command

    from tests.simulation import settings

    settings.make_database()
    call_command("migrate", verbosity=0)
    logger = logging.getLogger("broadcast")
    logger.addHandler(logging.NullHandler())  # what it says belongs to the world that runs
    logger.propagate = False
    gc.collect()
    gc.freeze()


def run(seed: int, numbers: Iterable[int] | None = None) -> Outcome:
    """Runs one seed, or only some acts of its plan, by their numbers.

    In every third, polls are those of a process that follows many groups.
    """
    from broadcast.engine.hub import poll
    from tests.simulation.plan import plan
    from tests.simulation.settings import NAMES
    from tests.simulation.world import World

    made = plan(seed, NAMES)
    if numbers is not None:
        made.acts = [made.acts[number] for number in numbers]
    gc.disable()  # what is left of one world has no part in the next
    few, poll.FEW = poll.FEW, 0 if seed % 3 == 0 else poll.FEW
    try:
        world = World(made)
        violations = world.run()
        return Outcome(seed, violations, world.digest, made.acts, world.trace if violations else [])
    finally:
        poll.FEW = few
        del world
        gc.collect()


def run_some(seeds: range) -> list[Outcome]:
    return [run(seed) for seed in seeds]


def run_all(seeds: range, workers: int) -> Iterator[Outcome]:
    """Runs seeds in so many processes; their outcomes in order."""
    parts = [seeds[start : start + AT_ONCE] for start in range(0, len(seeds), AT_ONCE)]
    if workers == 1:
        prepare()
        for part in parts:
            yield from map(run, part)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), prepare) as pool:
        pending: list[Any] = []
        try:
            for part in parts:
                pending.append(pool.submit(run_some, part))
            for each in pending:
                yield from each.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def kind_of(violation: str) -> str:
    """The words of a violation, without its time, names, numbers and what it quotes."""
    said = re.sub(r"^at [\d.]+: |client\d+ in \w \S+ \S+ \S+|'[^']*'|\{.*|\[.*|[\d.]+", "", violation)
    return " ".join(said.split()[:8])


def shortened(outcome: Outcome) -> tuple[Outcome, list[int]]:
    """The shortest history found that still breaks a promise, and the numbers of its acts in the plan."""
    numbers = list(range(len(outcome.acts)))
    kind = kind_of(outcome.violations[0])
    best, runs, size = outcome, 0, max(1, len(numbers) // 2)
    while runs < MOST_RUNS:
        for start in range(0, len(numbers), size):
            runs += 1
            fewer = numbers[:start] + numbers[start + size :]
            found = run(outcome.seed, fewer)
            if found.violations and kind_of(found.violations[0]) == kind:
                best, numbers = found, fewer
                break
        else:
            if size == 1:
                break
            size = max(1, size // 2)
    return best, numbers
