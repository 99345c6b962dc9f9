"""Runs the simulation: ``make simulate ARGS='--seeds=1000 --first=1'``.

Each seed is a site of two to four processes with clients, senders, a channel layer and a database, and what happens to
them. All promises of docs/guarantees.md are held against what every client sees, and when. The first seeds that break
one are printed with the shortest history found, and with the command that runs that again, to the letter.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, BooleanOptionalAction, Namespace
from contextlib import ExitStack

from tests.simulation.planted import all_bugs, planted
from tests.simulation.run import Outcome, prepare, run, run_all, shortened


def arguments() -> Namespace:
    parser = ArgumentParser(prog="simulate", description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that run seeds")
    parser.add_argument("--stop-after", type=int, default=3, help="failing seeds after which to stop")
    parser.add_argument("--acts", help="run one seed with only these acts of its plan, by their numbers: 0,3,4")
    parser.add_argument("--trace", action="store_true", help="print all that happened in it")
    parser.add_argument("--shorten", action=BooleanOptionalAction, default=True, help="look for shorter histories")
    parser.add_argument("--replays", type=int, default=0, help="run each failing seed so often again, and compare")
    parser.add_argument("--postgresql", action="store_true", help="start a PostgreSQL and run on it, not on SQLite")
    parser.add_argument("--plant", nargs="*", metavar="NAME", help="plant these bugs, or all, one at a time")
    return parser.parse_args()


def main(asked: Namespace) -> int:
    with ExitStack() as stack:
        if asked.postgresql:
            from tests.simulation.postgresql import server

            os.environ["DATABASE_URL"] = stack.enter_context(server())
        if asked.plant is not None:
            return find_planted(asked)
        if asked.acts is not None:
            return run_again(asked)
        return run_seeds(asked)


def run_seeds(asked: Namespace) -> int:
    begun = time.monotonic()
    failing = []
    done = 0
    for outcome in run_all(range(asked.first, asked.first + asked.seeds), asked.workers):
        done += 1
        if outcome.violations:
            failing.append(outcome)
            print(f"seed {outcome.seed} ({outcome.digest}) {outcome.violations[0]}", flush=True)
            if len(failing) == asked.stop_after:
                break
    print(f"{done} seeds, {len(failing)} failing, {done / (time.monotonic() - begun) * 60:.0f} a minute", flush=True)
    if failing and asked.workers > 1:
        prepare()
    for outcome in failing:
        replay(outcome, asked.replays)
        if asked.shorten:
            show_shortened(outcome)
    return 1 if failing else 0


def replay(outcome: Outcome, times: int) -> None:
    """Runs a failing seed again, here, and says whether the same happened, to the letter."""
    digests = {run(outcome.seed).digest for _ in range(times)}
    if times:
        same = "the same each time" if digests == {outcome.digest} else f"NOT the same: {sorted(digests)}"
        print(f"seed {outcome.seed} replayed {times} times: {same}", flush=True)


def show_shortened(outcome: Outcome) -> None:
    best, numbers = shortened(outcome)
    print(f"\nseed {outcome.seed}, the shortest history found: --first={outcome.seed} --acts={listed(numbers)}")
    print(*best.acts, *best.violations[:3], sep="\n", flush=True)


def run_again(asked: Namespace) -> int:
    prepare()
    outcome = run(asked.first, [int(number) for number in asked.acts.split(",") if number] or None)
    print(*outcome.acts, sep="\n")
    if asked.trace:
        print(*outcome.trace, sep="\n")
    print(f"seed {outcome.seed} ({outcome.digest})", *outcome.violations, sep="\n")
    return 1 if outcome.violations else 0


def listed(numbers: list[int]) -> str:
    return ",".join(map(str, numbers))


def find_planted(asked: Namespace) -> int:
    """Runs seeds on copies of the product with a bug each, until one fails."""
    missed = 0
    for bug in all_bugs():
        if (asked.plant and bug.name not in asked.plant) or bug.postgresql != asked.postgresql:
            continue
        with planted(bug) as copy:
            first = bug.first or asked.first
            command = [sys.executable, "-m", "tests.simulation", f"--seeds={asked.seeds}", f"--first={first}"]
            command += [f"--workers={asked.workers}", "--stop-after=1", "--no-shorten", f"--replays={asked.replays}"]
            ran = subprocess.run(command, cwd=copy, capture_output=True, text=True)
        lines = [line for line in ran.stdout.splitlines() if line.startswith("seed ")]
        missed += not lines
        print(f"{bug.name}: {'; '.join(lines) or 'NOT FOUND ' + ran.stderr[-400:]}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is the seed's too
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    sys.exit(main(arguments()))
