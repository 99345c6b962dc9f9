"""Stays: what a client that follows a group counts on, from when to when."""

from math import inf
from typing import NamedTuple

from chaos.judge.timeline import Place


class Stay(NamedTuple):
    """A time in which a client was live in a group, and how far it had got at the end of it."""

    client: str
    group: int
    since: float
    until: float
    place: Place


class Stays:
    """One client's. A group is live since it was welcomed, or since it was last kept from hearing."""

    def __init__(self, client: str) -> None:
        self.over: list[Stay] = []
        self.since: dict[int, float] = {}
        self._client = client

    def begin(self, group: int, now: float, is_well: bool) -> None:
        """From now on it should hear what is sent; not if it, or its server, is kept from that: ``is_well``."""
        self.since[group] = now if is_well else inf

    def end(self, group: int, now: float, place: Place) -> None:
        since = self.since.pop(group, inf)
        if since < now:
            self.over.append(Stay(self._client, group, since, now, place))
