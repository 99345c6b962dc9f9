"""The verdict: violations by kind, each with what is known of it."""

from collections import Counter, defaultdict

SHOWN = 10  # violations of a kind


class Verdict:
    def __init__(self) -> None:
        self.violations: dict[str, list[str]] = defaultdict(list)
        self.counts: Counter[str] = Counter()

    def add(self, kind: str, details: str, count: int = 1) -> None:
        self.violations[kind].append(details)
        self.counts[kind] += count

    def lines(self) -> list[str]:
        lines = []
        for kind, details in self.violations.items():
            lines.append(f"{kind}: {self.counts[kind]}")
            lines += [f"    {text}" for text in details[:SHOWN]]
        return lines
