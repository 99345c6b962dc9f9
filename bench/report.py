"""What a run leaves: its values as JSON, the plot, the tables. `python -m bench.report` makes one of several runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.pairs import pairs
from bench.plot import plot
from bench.results import Results, merged
from bench.table import page, table
from bench.targets import verdict


def report(results: Results, output: Path) -> str:
    """Writes everything into a directory; the tables."""
    output.mkdir(parents=True, exist_ok=True)
    results.save(output / "performance.json")
    (output / "performance.svg").write_text(plot(results))
    tables = "\n\n".join(part for part in (table(results), pairs(results), verdict(results)) if part)
    (output / "figures.md").write_text(page(results, tables))
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.report", description="Makes one report of several runs.")
    parser.add_argument("runs", nargs="+", type=Path, help="the performance.json of each run, all of one machine")
    parser.add_argument("--output", type=Path, required=True, help="where JSON, plot and tables go")
    options = parser.parse_args()
    try:
        results = merged([Results.load(path) for path in options.runs])
    except ValueError as error:
        parser.error(str(error))
    print(report(results, options.output))


if __name__ == "__main__":
    main()
