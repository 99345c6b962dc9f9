"""What publishers know of the fate of each message they tried to send."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

SENT, NOT_SENT, UNKNOWN = "sent", "not sent", "unknown"
EPHEMERAL = {"fleeting", "fleeting_undone"}  # acts whose messages are in no log


@dataclass(slots=True)
class Entry:
    """One message: a publisher's, to a group, tried and settled at times of one clock."""

    group: str
    act: str
    tried_at: float
    settled_at: float = inf
    outcome: str = UNKNOWN
    reason: str = ""


class Ledger:
    """Messages by key, each publisher's in the order in which it sent them."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.acts: Counter[str] = Counter()  # how often each was done
        self.surprises: list[str] = []

    def begin(self, keys: Iterable[str], group: str, act: str, now: float) -> None:
        self.acts[act] += 1
        for key in keys:
            self.entries[key] = Entry(group, act, now)

    def settle(self, outcomes: Mapping[str, str], reason: str, now: float) -> None:
        for key, outcome in outcomes.items():
            entry = self.entries[key]
            entry.outcome, entry.reason, entry.settled_at = outcome, reason, now

    def surprise(self, text: str) -> None:
        """Something that a publisher should never be told."""
        self.surprises.append(text)

    def counts(self) -> Counter[str]:
        return Counter(entry.outcome for entry in self.entries.values())
