"""A run: a quiet time, and then wave after wave of attacks."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from abuse.attacks import waves
from abuse.honest import Crowd
from abuse.house import House, Rows
from bench.process import processor_seconds
from tests.site import ROOT

STARTING = 1.0  # second between the arrival of the honest clients and the quiet time
LINE_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class World:
    """What kind of run this is."""

    seed: str
    seconds: float
    quiet: float
    frames: int  # goes on until so many have reached the server; 0: for `seconds`
    attacks: list[str]
    at_once: int
    wave: float  # seconds that a wave lasts
    clients: int
    rate: float  # messages a second


@dataclass(slots=True)
class Wave:
    """What came of one wave: from when to when, the attacks, and the most memory meanwhile."""

    begin: float
    end: float
    tallies: dict[str, dict[str, Any]]
    memory: int


@dataclass(slots=True)
class Run:
    """The run, and what is known of it when it is over."""

    world: World
    house: House
    before: Rows
    crowd: Crowd = field(init=False)
    quiet: tuple[float, float] = (0.0, 0.0)
    quiet_memory: int = 0
    waves: list[Wave] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    load: float = 0.0  # of the machine, when it began
    processor: float = 0.0  # cores that the server had during the abuse

    async def play(self) -> None:
        world = self.world
        self.load = os.getloadavg()[0]
        self.crowd = Crowd(self.house.port, world.clients, world.rate, world.seed)
        memory = asyncio.ensure_future(self.house.watch_memory())
        await self.crowd.come()
        await asyncio.sleep(min(STARTING, world.quiet))
        now = asyncio.get_running_loop().time
        begun = now()
        await asyncio.sleep(world.quiet)
        self.quiet, self.quiet_memory = (begun, now()), self.house.memory
        used, begun = processor_seconds(self.house.process.pid), now()
        await self._let_loose(begun + world.seconds)
        self.processor = (processor_seconds(self.house.process.pid) - used) / (now() - begun)
        await self.crowd.settle()
        self.counts = await self.house.counts()
        memory.cancel()

    async def _let_loose(self, end: float) -> None:
        command = (sys.executable, "-m", "abuse.horde", str(self.house.port), self.world.seed)
        pipe = asyncio.subprocess.PIPE
        horde = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe, limit=LINE_BYTES)
        try:
            await self._order(horde, end)
        finally:
            if horde.returncode is None:
                horde.kill()
            await horde.wait()

    async def _order(self, horde: asyncio.subprocess.Process, end: float) -> None:
        """Orders wave after wave; a wave goes on until the next is ordered, or nothing more is."""
        assert horde.stdin is not None
        assert horde.stdout is not None
        now = asyncio.get_running_loop().time
        plan = waves(self.world.seed, self.world.attacks, self.world.at_once)
        is_over = False
        self._order_one(horde.stdin, plan)
        while not is_over:
            begun, self.house.memory = now(), 0
            await asyncio.sleep(self.world.wave)
            is_over = await self._is_enough(end)
            self._order_one(horde.stdin, iter(()) if is_over else plan)
            tallies = json.loads(await horde.stdout.readline())
            self.waves.append(Wave(begun, now(), tallies, self.house.memory))

    @staticmethod
    def _order_one(orders: asyncio.StreamWriter, plan: Iterator[list[str]]) -> None:
        names = next(plan, None)
        if names is None:
            orders.close()
        else:
            orders.write(json.dumps(names).encode() + b"\n")

    async def _is_enough(self, end: float) -> bool:
        if not self.world.frames:
            return asyncio.get_running_loop().time() >= end - self.world.wave / 2
        self.counts = await self.house.counts()
        return sum(self.counts.values()) - self.crowd.watch.frames >= self.world.frames
