"""The values of a run, kept as they were measured, and their medians."""

from __future__ import annotations

import json
import os
import platform
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from bench.rows import ROOT, Row, all_rows

PASSING = ("date", "load")  # what may differ between two runs on one machine
PACKAGES = ("Django", "channels", "channels-redis", "daphne", "Twisted", "autobahn", "websockets")

Place = tuple[str, int, str]
"""Where a value belongs: a row's key, a number of connections, a figure's key."""


@dataclass
class Results:
    rows: dict[str, str] = field(default_factory=dict)
    values: defaultdict[Place, list[float]] = field(default_factory=lambda: defaultdict(list))
    remarks: list[str] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)

    def add(self, row: Row, size: int, figure: str, value: float) -> None:
        self.rows.setdefault(row.key, row.title)
        self.values[row.key, size, figure].append(value)

    def remark(self, row: Row, text: str) -> None:
        """Keeps why a figure is missing, once."""
        remark = f"{row.title}: {text}"
        if remark not in self.remarks:
            self.remarks.append(remark)

    def of(self, row: str, size: int, figure: str) -> float | None:
        """The median of what was measured there; None if nothing was."""
        found = self.values.get((row, size, figure))
        return median(found) if found else None

    def spread_of(self, row: str, size: int, figure: str) -> tuple[float, float] | None:
        """The least and the most of what was measured there; None if it was measured once or never."""
        found = self.values.get((row, size, figure), [])
        return (min(found), max(found)) if len(found) > 1 else None

    def rounds_of(self, row: str, size: int, figure: str) -> int:
        return len(self.values.get((row, size, figure), []))

    def sizes_of(self, figure: str) -> list[int]:
        return sorted({size for _, size, key in self.values if key == figure})

    def save(self, path: Path) -> None:
        values = [
            {"row": row, "connections": size, "figure": figure, "rounds": rounds}
            for (row, size, figure), rounds in self.values.items()
        ]
        whole = {"about": self.about, "rows": self.rows, "values": values, "remarks": self.remarks}
        path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        whole = json.loads(path.read_text())
        results = cls(rows=whole["rows"], remarks=whole["remarks"], about=whole["about"])
        for value in whole["values"]:
            results.values[value["row"], value["connections"], value["figure"]] = value["rounds"]
        return results


def merged(runs: Sequence[Results]) -> Results:
    """All values of several runs, as if they were the rounds of one. Raises ValueError if the machines differ."""
    first, whole = runs[0], Results(about=runs[0].about)
    for results in runs:
        if differing := [key for key in first.about if key not in PASSING and results.about[key] != first.about[key]]:
            raise ValueError(f"These runs differ in {', '.join(differing)}: make one report of one machine's runs.")
        whole.rows |= results.rows
        whole.remarks += [remark for remark in results.remarks if remark not in whole.remarks]
        for place, rounds in results.values.items():
            whole.values[place] += rounds
    ranks = {row.key: rank for rank, row in enumerate(all_rows([("", ROOT)]))}
    whole.rows = dict(sorted(whole.rows.items(), key=lambda row: ranks.get(row[0], -1)))
    return whole


def machine() -> dict[str, Any]:
    """Where and with what a run was made."""
    processor = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor[0].partition(": ")[2] if processor else platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }
