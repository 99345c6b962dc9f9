"""The injector: goes through the schedule, each fault in a task of its own, and keeps a journal."""

import asyncio
import subprocess
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg

from chaos.clients import Client
from chaos.faults.clients import ClientFaults
from chaos.faults.clocks import ClockFaults
from chaos.faults.log import LogFaults
from chaos.faults.network import NetworkFaults
from chaos.faults.schedule import KINDS, Fault, schedule
from chaos.faults.servers import ServerFaults
from chaos.faults.stores import StoreFaults
from chaos.faults.wards import Wards
from chaos.fleet import Fleet, World
from chaos.judge.lateness import Trouble
from chaos.judge.watch import Conditions
from chaos.lanes.script import ScriptLane
from chaos.ledger import Ledger

Log = Callable[[str], None]
Way = Callable[[Fault], Awaitable[None]]


class Faults:
    """All kinds of faults, each in the class of what it breaks."""

    def __init__(
        self,
        world: World,
        fleet: Fleet,
        clients: Sequence[Client],
        scripts: list[ScriptLane],
        wards: Wards,
        ledger: Ledger,
        conditions: Conditions,
        log: Log,
    ) -> None:
        self.world = world
        self.log = log
        self.injected: Counter[str] = Counter()
        self.troubles: list[Trouble] = []
        self._targets: dict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        families: list[Any] = [
            ServerFaults(fleet, scripts, wards, log),
            ClockFaults(fleet),
            StoreFaults(fleet),
            NetworkFaults(fleet, wards),
            LogFaults(world, fleet, ledger, conditions, log),
            ClientFaults(world, clients),
        ]
        self._ways: dict[str, Way] = {kind: way for family in families for kind, way in family.ways().items()}

    async def run(self) -> None:
        """Goes through the schedule and returns when everything is healed."""
        begun = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            for fault in schedule(self.world.seed, self.world.seconds):
                await asyncio.sleep(max(0.0, begun + fault.at - asyncio.get_running_loop().time()))
                tasks.create_task(self._inject(fault))

    async def _inject(self, fault: Fault) -> None:
        """Injects one fault, unless the one before it on the same target is not over, or its targets do not know it."""
        kind = KINDS[fault.kind]
        target = self._targets[kind.sort, fault.target]
        if target.locked() or (self.world.is_tutorial and not kind.is_for_tutorial):
            return
        clock = asyncio.get_running_loop().time
        async with target:
            begun = clock()
            self.log(f"{fault.kind} (#{fault.target}) for {fault.seconds:.1f} s")
            try:
                await self._ways[fault.kind](fault)
            except (psycopg.Error, OSError, subprocess.SubprocessError) as error:  # it met another fault
                self.log(f"{fault.kind} (#{fault.target}) ended early: {error!r}")
            self.injected[fault.kind] += 1
            self.troubles.append(Trouble(fault.kind, begun, clock()))
            self.log(f"{fault.kind} (#{fault.target}) is over")
