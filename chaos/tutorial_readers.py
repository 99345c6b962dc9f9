"""Clients of the tutorial's consumer, which knows no positions: what they miss, they miss."""

import json
from collections import Counter
from math import inf
from typing import Any

from chaos import GROUPS, key_of
from chaos.clients import Client


class TutorialReader(Client):
    """Listens in every room at once and counts what it hears."""

    def __init__(self, number: int, ports: list[int], seed: str, book: "TutorialBook") -> None:
        super().__init__(number, ports, seed)
        self.book = book
        self.stays: list[tuple[float, float]] = []  # from and until when it was connected
        self.seen: Counter[str] = Counter()
        self.order: dict[str, int] = {}
        self.disorder = 0

    @property
    def has_begun(self) -> bool:
        return bool(self.stays)

    def path(self) -> str:
        return f"/tutorial/{','.join(GROUPS)}/"

    def opened(self) -> None:
        self.stays.append((self._loop.time(), inf))
        self.became_live()

    def closed(self) -> None:
        if self.stays and self.stays[-1][1] == inf:
            self.stays[-1] = (self.stays[-1][0], self._loop.time())

    def was_there(self, begin: float, end: float) -> bool:
        """Whether it was connected all that time."""
        return any(since <= begin and end <= until for since, until in self.stays)

    def ping_after(self) -> float:
        return 1e9  # the tutorial's page asks for nothing

    def say(self, frame: dict[str, Any]) -> None:
        if self.socket is not None:
            self.socket.send(json.dumps(frame))

    def received(self, payload: bytes) -> None:
        key = self.book.keys.get(payload) or self.book.read(payload)
        self.book.received += 1
        self.seen[key] += 1
        lane, _, number = key.rpartition("-")
        if int(number) < self.order.get(lane, 0):
            self.disorder += 1
        self.order[lane] = max(int(number), self.order.get(lane, 0))


class TutorialBook:
    """The keys of the tutorial's messages, by the bytes of their frames."""

    def __init__(self) -> None:
        self.keys: dict[bytes, str] = {}
        self.received = 0

    def read(self, payload: bytes) -> str:
        key: str = key_of(json.loads(payload)["message"])
        self.keys[payload] = key
        return key
