"""`python -m bench`: runs the benchmark and prints its tables."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from bench.plan import Plan
from bench.readers import KINDS
from bench.report import report
from bench.results import Results, machine
from bench.rounds import OF_MESSAGES, SCENARIOS, run
from bench.rows import ROOT, Row, all_rows

QUICK: dict[str, Any] = {
    "sizes": (50, 200),
    "size": 200,
    "rounds": 1,
    "budget": 10.0,
    "relayed": 2000,
    "idle_seconds": 2.0,
    "megabytes": 4.0,
    "idle_sizes": (200,),
    "storm_size": 200,
    "readers_seconds": 2.0,
}

GIVEN = ("sizes", "size", "rounds", "budget", "megabytes", "relayed", "idle_sizes", "storm_size")
"""Options that have the names of what they are to a plan."""

SCENARIOS_HELP = f"{', '.join(SCENARIOS)} (up to {list(OF_MESSAGES)[-1]})"


def main() -> None:
    options = arguments()
    rows = chosen(all_rows(options.project or [("", ROOT)], options.site), options.rows)
    if not rows:
        sys.exit(f"No row is called {' or '.join(options.rows)}; docs/performance.md has an example.")
    plan = Plan(rows, options.scenarios, readers=[KINDS[key] for key in options.readers])
    if options.quick:
        plan = replace(plan, **QUICK)
    given = {name: getattr(options, name) for name in GIVEN}
    plan = replace(plan, **{name: value for name, value in given.items() if value is not None})
    measure(plan, options.output, [name for name, _ in options.project or []])


def measure(plan: Plan, output: Path, projects: list[str]) -> None:
    """Runs a plan, and reports what there is also when it is stopped; SIGTERM stops it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results = Results(about=machine() | ({"projects": projects} if len(projects) > 1 else {}))
    try:
        run(plan, results)
    except KeyboardInterrupt:
        sys.exit("It was stopped.")
    finally:
        if results.values or results.remarks:
            print(report(results, output))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures what a message to many costs.")
    parser.add_argument("--quick", action="store_true", help="a small run of everything, to see that it works")
    parser.add_argument("--rounds", type=number, help="how often everything is measured (5)")
    parser.add_argument("--sizes", type=numbers, help="numbers of connections, as in 100,1000,5000")
    parser.add_argument("--size", type=number, help="number of connections where one is enough (1000)")
    parser.add_argument("--idle-sizes", type=numbers, help="numbers of readers who are idle (1000,5000,10000)")
    parser.add_argument("--storm-size", type=number, help="readers of a killed process, or among whom some go (5000)")
    parser.add_argument("--readers", type=words, default=list(KINDS), help=", ".join(KINDS))
    parser.add_argument("--relayed", type=number, help="messages that are relayed and published (10000)")
    parser.add_argument("--rows", type=words, default=["*"], help="patterns of rows, as in 'ours-*,c'")
    parser.add_argument("--scenarios", type=words, default=list(OF_MESSAGES), help=SCENARIOS_HELP)
    parser.add_argument(
        "--budget",
        type=float,
        help="seconds that fifty messages may take, else they are skipped (60; after the first round a tenth of it)",
    )
    parser.add_argument("--megabytes", type=float, help="what goes by a client that does not read (100)")
    parser.add_argument(
        "--project",
        type=checkout,
        action="append",
        metavar="NAME=PATH",
        help="a checkout of this project to measure; give it more than once to compare",
    )
    parser.add_argument(
        "--site",
        type=site,
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="further rows of this project, with these keys of BROADCAST, as in fast='{\"POLL_INTERVAL\": 0.1}'",
    )
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "bench", help="where JSON, plot and tables go")
    options = parser.parse_args()
    if unknown := set(options.scenarios) - set(SCENARIOS):
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    if unknown := set(options.readers) - set(KINDS):
        parser.error(f"there are no readers {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    return options


def number(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return int(text)


def numbers(text: str) -> tuple[int, ...]:
    return tuple(map(number, text.split(",")))


def words(text: str) -> list[str]:
    return text.split(",")


def checkout(text: str) -> tuple[str, Path]:
    name, _, path = text.rpartition("=")
    if not (Path(path) / "broadcast").is_dir():
        raise argparse.ArgumentTypeError(f"{path} is not a checkout of this project")
    return name or Path(path).name, Path(path)


def site(text: str) -> tuple[str, str]:
    name, _, keys = text.partition("=")
    try:
        is_dict = isinstance(json.loads(keys), dict)
    except ValueError:
        is_dict = False
    if not is_dict:
        raise argparse.ArgumentTypeError(f"{keys!r} is not a JSON object")
    return name, keys


def chosen(rows: list[Row], patterns: list[str]) -> list[Row]:
    return [row for row in rows if any(fnmatch(row.key, pattern) for pattern in patterns)]


if __name__ == "__main__":
    main()
