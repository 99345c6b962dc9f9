"""Two checkouts of this project held against each other: what was measured of one after the other, round by round."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from bench.figures import SECTIONS, Figure
from bench.results import Results
from bench.table import aligned

HEAD = ("row", "connections", "figure")
RATIO = ("ratio (least to most)", "rounds")


def pairs(results: Results) -> str:
    """A table for each later checkout: its figures beside the first one's, and the ratios' median and spread.

    Empty if a run has one checkout only.
    """
    first, *others = results.about.get("projects", [""])
    tables = [
        f"### {other} beside {first}, round by round\n\n" + aligned([[*HEAD, first, other, *RATIO], *lines])
        for other in others
        if (lines := list(compared(results, first, other)))
    ]
    return "\n\n".join(tables)


def compared(results: Results, first: str, other: str) -> Iterator[list[str]]:
    for section in SECTIONS:
        for figure in section.figures:
            for (row, size, key), before in results.values.items():
                after = results.values.get((row.replace(f"{first}-", f"{other}-", 1), size, key), [])
                if key == figure.key and row.startswith(f"{first}-") and after:
                    title = results.rows[row].removeprefix(f"{first}, ")
                    yield [title, f"{size:,}", f"{section.title}: {figure.title}", *cells(figure, before, after)]


def cells(figure: Figure, before: list[float], after: list[float]) -> list[str]:
    ratios = [new / old for old, new in zip(before, after, strict=False) if old]
    ratio = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else "-"
    return [*(f"{median(values):,.{figure.digits}f}" for values in (before, after)), ratio, str(len(ratios))]
