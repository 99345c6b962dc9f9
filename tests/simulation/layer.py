"""A channel layer, and the network below it, which loses, doubles and delays, and is away for a while."""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from channels.layers import BaseChannelLayer

from tests.simulation.loop import SimulatedLoop
from tests.simulation.scheduler import Scheduler

QUICK = 0.02  # seconds that an event takes at most where the layer is well
HANGS = 30.0  # seconds that a call takes while the layer hangs


class SimulatedLayer(BaseChannelLayer):  # type: ignore[misc]
    """What all processes share. ``losses`` is the share of events that do not come once and soon."""

    def __init__(self, scheduler: Scheduler, losses: float) -> None:
        super().__init__(expiry=60, capacity=100)
        self.scheduler = scheduler
        self.losses = losses
        self.away_until = 0.0
        self.hangs = False
        self.members: dict[str, dict[str, None]] = {}
        self.queues: dict[str, deque[str]] = {}
        self.receivers: dict[str, tuple[SimulatedLoop, asyncio.Future[None]]] = {}
        self.ways: dict[Any, None] = {}  # of the processes of a site without a layer
        self.on_arrival: Callable[[Any, dict[str, Any]], None] = lambda process, event: None
        self._random = scheduler.random("layer")
        self._channels = 0

    @property
    def is_well(self) -> bool:
        return self.scheduler.now >= self.away_until

    def go_away(self, seconds: float, hangs: bool, forgets: bool) -> None:
        self.away_until, self.hangs = self.scheduler.now + seconds, hangs
        if forgets:
            self.members.clear()
            self.queues.clear()

    async def _reach(self) -> None:
        await asyncio.sleep(self._random.uniform(0, QUICK / 4))
        if self.is_well:
            return
        if self.hangs:
            await asyncio.sleep(HANGS)
        raise ConnectionError("the layer is away")

    async def new_channel(self, prefix: str = "specific.") -> str:
        await self._reach()
        self._channels += 1
        return f"{prefix}{self._channels}"

    async def group_add(self, group: str, channel: str) -> None:
        await self._reach()
        self.members.setdefault(group, {})[channel] = None

    async def group_discard(self, group: str, channel: str) -> None:
        await self._reach()
        self.members.get(group, {}).pop(channel, None)

    async def group_send(self, group: str, event: dict[str, Any]) -> None:
        await self._reach()
        for channel in list(self.members.get(group, {})):
            self._post(channel, event)
        if self.losses and self._random.random() < self.losses / 4:
            raise ConnectionError("the answer was lost")

    async def send(self, channel: str, event: dict[str, Any]) -> None:
        await self._reach()
        self._post(channel, event)

    async def receive(self, channel: str) -> dict[str, Any]:
        queue = self.queues.setdefault(channel, deque())
        while not queue:
            loop: Any = asyncio.get_running_loop()
            arrival: asyncio.Future[None] = loop.create_future()
            self.receivers[channel] = loop, arrival
            await arrival
            queue = self.queues.setdefault(channel, deque())
        event: dict[str, Any] = json.loads(queue.popleft())
        return event

    def _post(self, channel: str, event: dict[str, Any]) -> None:
        text = json.dumps(event)
        delays = self._delays(self._random)
        if event.get("head") is None:
            delays = delays[:1]  # a layer may lose what is in no log; none says it twice
        for delay in delays:
            self.scheduler.call_at(self.scheduler.now + delay, self._arrive, channel, text)

    def post(self, arrive: Callable[[], None]) -> None:
        """Carries a notice of a site that has no layer: it is lost while the network is away."""
        for delay in self._delays(self._random) if self.is_well else []:
            self.scheduler.call_at(self.scheduler.now + delay, arrive)

    def _delays(self, chance: random.Random) -> list[float]:
        """When an event comes: once and soon, or as the losses have it."""
        soon = chance.uniform(0, QUICK)
        if chance.random() >= self.losses:
            return [soon]
        late = soon + chance.choice([0.2, 1.0, 5.0, 15.0]) * chance.random()
        return chance.choice([[], [], [late], [soon, late], [soon, soon]])

    def _arrive(self, channel: str, text: str) -> None:
        self.queues.setdefault(channel, deque()).append(text)
        if (receiver := self.receivers.pop(channel, None)) is not None:
            loop, arrival = receiver
            self.on_arrival(loop.owner, json.loads(text))
            if not loop.is_closed():
                loop.call_soon_threadsafe(set_done, arrival)


def set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
