"""The results as Markdown tables."""

from __future__ import annotations

from bench.figures import SECTIONS, Figure, Section, counted
from bench.results import Place, Results


def table(results: Results) -> str:
    """Every section that has values, once for each number of connections."""
    parts = [
        part
        for section in SECTIONS
        for size in sizes_in(results, section)
        if (part := section_table(results, section, size))
    ]
    if results.remarks:
        parts.append("Not measured:\n\n" + "\n".join(f"- {remark}" for remark in results.remarks))
    return "\n\n".join(parts)


def page(results: Results, tables: str) -> str:
    """The tables as a page of the documentation, beside the plot."""
    about = results.about
    packages = ", ".join(f"{name} {number}" for name, number in about["packages"].items())
    machine = f"{about['cores']} cores of {about['processor']}, Linux {about['kernel']}, Python {about['python']}"
    return (
        "# Figures\n\n"
        f"Written by `make bench` on {about['date']}: {machine}; {packages}. "
        "[Performance](performance.md) says what the rows are and how it is measured.\n\n"
        f"![Processor time per delivery as connections grow](performance.svg)\n\n{tables}\n"
    )


def sizes_in(results: Results, section: Section) -> list[int]:
    return sorted({size for figure in section.figures for size in results.sizes_of(figure.key)})


def section_table(results: Results, section: Section, size: int) -> str:
    lines = {
        row: [cell(results, section, (row, size, figure.key), figure) for figure in section.figures]
        for row in results.rows
    }
    lines = {row: cells for row, cells in lines.items() if any(cells)}
    used = [any(cells[column] for cells in lines.values()) for column in range(len(section.figures))]
    titles = [f"{figure.title} ({figure.unit})" if figure.unit else figure.title for figure in section.figures]
    head = [counted(size, section.counts), *chosen(titles, used), "rounds"]
    rows = [
        [results.rows[row], *(cell or "-" for cell in chosen(cells, used)), rounds(results, section, row, size)]
        for row, cells in lines.items()
    ]
    return f"### {section.title}\n\n" + aligned([head, *rows])


def rounds(results: Results, section: Section, row: str, size: int) -> str:
    """How many rounds a row's figures are the medians of: the fewest and the most."""
    counts = {count for figure in section.figures if (count := results.rounds_of(row, size, figure.key))}
    return "-".join(map(str, sorted({min(counts), max(counts)})))


def chosen(cells: list[str], used: list[bool]) -> list[str]:
    return [cell for cell, is_used in zip(cells, used, strict=True) if is_used]


def cell(results: Results, section: Section, place: Place, figure: Figure) -> str:
    value = results.of(*place)
    if value is None:
        return ""
    text = f"{value:,.{figure.digits}f}"
    spread = results.spread_of(*place) if section.has_spread else None
    if spread is None:
        return text
    return f"{text} ({spread[0]:,.{figure.digits}f} to {spread[1]:,.{figure.digits}f})"


def aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *body = (
        " | ".join(text.ljust(width) if index == 0 else text.rjust(width) for index, (text, width) in cells)
        for cells in (list(enumerate(zip(row, widths, strict=True))) for row in rows)
    )
    rule = " | ".join("-" * width if index == 0 else "-" * (width - 1) + ":" for index, width in enumerate(widths))
    return "\n".join(f"| {line} |" for line in (head, rule, *body))
