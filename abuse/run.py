"""A run: a quiet time, and then wave after wave of attacks."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass, field

from abuse.attacks import waves
from abuse.honest import Crowd
from abuse.house import House, LogLines, Rows
from abuse.orders import Orders, Tallies, horde
from bench.process import processor_seconds

STARTING = 1.0  # second between the arrival of the honest clients and the quiet time
QUESTIONS = (  # asked while the database is away
    *("pages and logs in a loop", "odd requests", "posts of one address", "announcements", "odd handshakes"),
    *("refs that collide", "odd groups"),
)


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
    outage: float  # seconds without a database at the end


@dataclass(slots=True)
class Wave:
    """What came of one wave: from when to when, the attacks, and the most memory meanwhile."""

    begin: float
    end: float
    tallies: Tallies
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
    log: LogLines = field(init=False)  # before the outage, which fills it
    told_in_outage: Tallies = field(default_factory=dict)
    load: float = 0.0  # of the machine, when it began
    processor: float = 0.0  # cores that the server had during the abuse

    async def play(self) -> None:
        world, house, now = self.world, self.house, asyncio.get_running_loop().time
        self.load = os.getloadavg()[0]
        self.crowd = Crowd(house.port, world.clients, world.rate, world.seed)
        memory = asyncio.ensure_future(house.watch_memory())
        await self.crowd.come()
        await asyncio.sleep(min(STARTING, world.quiet))
        begun = now()
        await asyncio.sleep(world.quiet)
        self.quiet, self.quiet_memory = (begun, now()), house.memory
        used, begun = processor_seconds(house.process.pid), now()
        async with horde(house.port, world.seed) as orders:
            await self._let_loose(orders, begun + world.seconds)
            self.processor = (processor_seconds(house.process.pid) - used) / (now() - begun)
            await self.crowd.settle()
            self.counts, self.log = await house.counts(), house.log_lines()
            if world.outage:
                await self._fail(orders)
        memory.cancel()

    async def _let_loose(self, orders: Orders, end: float) -> None:
        plan = waves(self.world.seed, self.world.attacks, self.world.at_once)
        orders.begin(next(plan))
        while True:
            begun, self.house.memory = asyncio.get_running_loop().time(), 0
            await asyncio.sleep(self.world.wave)
            is_over = await self._is_enough(end)
            orders.begin([] if is_over else next(plan))
            self.waves.append(Wave(begun, asyncio.get_running_loop().time(), await orders.tallies(), self.house.memory))
            if is_over:
                return

    async def _is_enough(self, end: float) -> bool:
        if not self.world.frames:
            return asyncio.get_running_loop().time() >= end - self.world.wave / 2
        self.counts = await self.house.counts()
        reached = sum(self.counts.values()) - self.crowd.watch.frames
        print(f"{reached:,} frames and requests so far", file=sys.stderr, flush=True)
        return reached >= self.world.frames

    async def _fail(self, orders: Orders) -> None:
        """Loses the database while all kinds of questions are asked, to see what is said then."""
        orders.begin(list(QUESTIONS))
        await orders.tallies()  # of the pause before
        self.house.lose_database()
        await asyncio.sleep(self.world.outage)
        orders.end()
        self.told_in_outage = await orders.tallies()
        self.house.find_database()
