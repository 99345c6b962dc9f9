"""What the tutorial's clients missed, for comparison."""

from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from chaos.ledger import SENT, Ledger
from chaos.tutorial_readers import TutorialReader


class Losses(NamedTuple):
    """What the tutorial's clients should have got, and what they got."""

    expected: int
    missing: int
    missing_connected: int
    doubled: int
    disordered: int
    losers: int


def losses(ledger: Ledger, readers: Iterable[TutorialReader]) -> Losses:
    """Counts only messages whose publisher was told that they were sent, after a client had first joined."""
    sent = {key: entry for key, entry in ledger.entries.items() if entry.outcome == SENT}
    total = Losses(0, 0, 0, 0, 0, 0)
    for reader in readers:
        joined_at = reader.stays[0][0] if reader.stays else inf
        expected = [key for key, entry in sent.items() if entry.tried_at > joined_at]
        missing = [key for key in expected if key not in reader.seen]
        connected = sum(reader.was_there(sent[key].tried_at, sent[key].settled_at) for key in missing)
        doubled = sum(count - 1 for count in reader.seen.values())
        own = Losses(len(expected), len(missing), connected, doubled, reader.disorder, int(bool(missing)))
        total = Losses(*(a + b for a, b in zip(total, own, strict=True)))
    return total
