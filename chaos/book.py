"""The book: every message frame that any client got, read once for all who get the same bytes."""

import json
from typing import Any

from chaos import GROUPS, key_of
from chaos.judge.arrivals import Arrivals
from chaos.ledger import Ledger


class Frame:
    """A message frame as it came: the number of its group, what it says, who heard it when and in which epochs.

    Without an offset it is ephemeral; ``heard_by`` has a bit for each client that got one of those.
    """

    __slots__ = ("arrivals", "epoch", "fields", "group", "heard_by", "is_duplicate", "more_epochs", "offset", "ref")

    def __init__(self, fields: dict[str, Any], arrivals: Arrivals) -> None:
        self.group = GROUPS.index(fields["group"])
        self.offset: int | None = fields["offset"]
        self.ref: str = fields["ref"]
        self.is_duplicate = bool(fields.get("duplicate"))
        self.fields = fields
        self.arrivals = arrivals
        self.heard_by = 0
        self.epoch = ""
        self.more_epochs: set[str] = set()

    @property
    def epochs(self) -> set[str]:
        """The epochs in which it was told to anybody."""
        return {epoch for epoch in (self.epoch, *self.more_epochs) if epoch}


class Book:
    def __init__(self, ledger: Ledger) -> None:
        self.frames: dict[bytes, Frame] = {}
        self.received = 0
        self.unwell: set[int] = set()  # the ports of servers that are paused, or cut off from Redis or the database
        self._ledger = ledger

    def read(self, payload: bytes, now: float) -> Frame | dict[str, Any]:
        """Reads a frame that is not in the book; a message is entered."""
        fields: dict[str, Any] = json.loads(payload)
        if fields["type"] != "message":
            return fields
        entry = self._ledger.entries.get(key_of(fields["body"]))
        frame = Frame(fields, Arrivals(entry.tried_at if entry else now, now))
        self.frames[payload] = frame
        return frame
