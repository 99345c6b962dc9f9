"""The cost of a delivery as the number of connections grows, drawn as an SVG of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from bench.results import Results

FIGURE = "one_cpu"
WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 250, 50, 50
COLOURS = ("#0b6e4f", "#08a045", "#6bbf59", "#c1121f", "#e36414", "#fb8b24", "#5f0f40", "#3a86ff", "#222222", "#888888")

Points = list[tuple[int, float]]


def plot(results: Results) -> str:
    """The drawing: one line a row, both axes logarithmic."""
    series = {row: points for row in results.rows if (points := points_of(results, row))}
    if not series:
        return drawing(['<text x="20" y="30">Nothing was measured.</text>'])
    sizes = [size for points in series.values() for size, _ in points]
    values = [value for points in series.values() for _, value in points]
    across, up = Axis(sizes, LEFT, WIDTH - RIGHT), Axis(values, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<text x="{LEFT}" y="24" font-weight="bold">Processor time of the server per delivery (µs)</text>',
        f'<text x="{LEFT}" y="{HEIGHT - 10}">connections</text>',
        *grid(across, up, sorted(set(sizes))),
    ]
    ends = spread([(up.at(points[-1][1]), row) for row, points in series.items()])
    for number, (row, points) in enumerate(series.items()):
        parts += line(points, across, up, COLOURS[number % len(COLOURS)], results.rows[row], ends[row])
    return drawing(parts)


class Axis:
    """Where values lie between two edges, logarithmically."""

    def __init__(self, values: list[int] | list[float], begin: float, end: float) -> None:
        self.least, self.most = math.log10(min(values)), math.log10(max(values))
        self.begin, self.end = begin, end

    def at(self, value: float) -> float:
        span = self.most - self.least
        share = (math.log10(value) - self.least) / span if span else 0.5
        return self.begin + share * (self.end - self.begin)

    def decades(self) -> Iterator[float]:
        """1, 2 and 5 of each power of ten that the axis has."""
        for power in range(math.floor(self.least), math.ceil(self.most) + 1):
            for digit in (1, 2, 5):
                if self.least <= math.log10(digit * 10**power) <= self.most:
                    yield digit * 10.0**power


def points_of(results: Results, row: str) -> Points:
    found = ((size, results.of(row, size, FIGURE)) for size in results.sizes_of(FIGURE))
    return [(size, value) for size, value in found if value is not None]


def grid(across: Axis, up: Axis, sizes: list[int]) -> Iterator[str]:
    for value in up.decades():
        y = up.at(value)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,g}</text>'
    for size in sizes:
        x = across.at(size)
        yield f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>'
        yield f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{size:,}</text>'


def line(points: Points, across: Axis, up: Axis, colour: str, title: str, title_y: float) -> Iterator[str]:
    places = [(across.at(size), up.at(value)) for size, value in points]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    yield f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for x, y in places:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
    yield f'<text x="{WIDTH - RIGHT + 12}" y="{title_y + 4:.1f}" fill="{colour}">{escape(title)}</text>'


def spread(ends: list[tuple[float, str]], distance: float = 15.0) -> dict[str, float]:
    """Moves titles apart so that none covers another."""
    placed: dict[str, float] = {}
    lowest = -math.inf
    for y, row in sorted(ends):
        lowest = placed[row] = max(y, lowest + distance)
    return placed


def drawing(parts: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
    ground = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    return "\n".join([f'{head} font-size="12">', ground, *parts, "</svg>", ""])
