"""A channel layer that loses, doubles and reorders some of what it receives."""

from collections import deque
from random import Random
from typing import Any

from django.utils.module_loading import import_string

from chaos.tally import Tally

Event = dict[str, Any]


class UnreliableLayer:
    """Another layer, of whose events a `share` does not arrive as it was sent."""

    def __init__(self, layer: str, share: float, seed: str, tally: str, **config: Any) -> None:
        self._layer = import_string(layer)(**config)
        self._share = share
        self._random = Random(f"{seed}:hints")
        self._tally = Tally(tally)
        self._next: dict[str, deque[Event]] = {}
        self._late: dict[str, Event] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    async def receive(self, channel: str) -> Event:
        events = self._next.setdefault(channel, deque())
        while not events:
            events.extend(self._what_arrives(channel, await self._layer.receive(channel)))
        return events.popleft()

    def _what_arrives(self, channel: str, event: Event) -> list[Event]:
        if channel in self._late:
            return [event, self._late.pop(channel)]
        if self._random.random() >= self._share:
            return [event]
        # What is in no log comes once at most, if the layer brings it once at most.
        faults = ("hint dropped", "hint delivered late", "hint doubled")
        fault = self._random.choice(faults[:2] if event.get("head") is None else faults)
        self._tally.add(fault)
        if fault == "hint doubled":
            return [event, event]
        if fault == "hint delivered late":
            self._late[channel] = event
        return []
