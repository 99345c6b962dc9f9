"""Faults: a schedule drawn from a seed, and what each kind does to the fleet, the publishers and the clients."""

import asyncio
import subprocess
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import psycopg

from chaos import GROUPS
from chaos.clients import Client
from chaos.fleet import Fleet, Server, World
from chaos.publishers import ScriptLane

EVERY = 0.7  # seconds between two faults, on average
CALM = 3.0  # seconds before the first fault, and that a target is left alone after one
END_TIMEOUT = 15.0  # seconds for a daphne to end after SIGTERM

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of the schedule: when, what, to which of its targets, and for how long."""

    at: float
    kind: str
    target: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Kind:
    """How often a kind of fault comes, to how many targets of which sort, and how long it lasts."""

    weight: float
    sort: str
    targets: int
    seconds: tuple[float, float]


KINDS = {
    "daphne killed": Kind(6, "daphne", 3, (0.0, 3.0)),
    "daphne terminated": Kind(4, "daphne", 3, (0.0, 2.0)),
    "daphne paused": Kind(6, "daphne", 3, (0.5, 8.0)),
    "WSGI server killed": Kind(2, "wsgi", 1, (0.0, 2.0)),
    "WSGI server paused": Kind(2, "wsgi", 1, (0.5, 5.0)),
    "script killed": Kind(3, "script", 2, (0.0, 0.0)),
    "script paused": Kind(3, "script", 2, (0.5, 5.0)),
    "Redis killed, restarted empty": Kind(5, "redis", 1, (0.0, 4.0)),
    "Redis paused": Kind(4, "redis", 1, (1.0, 8.0)),
    "Redis connections dropped": Kind(5, "redis", 1, (0.0, 0.0)),
    "PostgreSQL connections dropped": Kind(8, "postgres", 1, (0.0, 0.0)),
    "PostgreSQL restarted": Kind(3, "postgres", 1, (0.0, 1.0)),
    "PostgreSQL paused": Kind(2, "postgres", 1, (0.5, 3.0)),
    "group locked": Kind(5, "group", len(GROUPS), (1.0, 6.0)),
    "clients stalled": Kind(10, "clients", 1, (1.0, 10.0)),
    "group left": Kind(6, "connections_to_drain", len(GROUPS), (0.0, 9.0)),
    "connections cut": Kind(14, "connections", 1, (0.0, 0.0)),
}


def schedule(seed: str, seconds: float) -> list[Fault]:
    """The faults of a run of that length. The same seed gives the same ones."""
    random = Random(f"{seed}:faults")
    free_at: dict[tuple[str, int], float] = {}
    faults = []
    at = CALM
    while at < seconds:
        name = random.choices(list(KINDS), [kind.weight for kind in KINDS.values()])[0]
        kind = KINDS[name]
        target, lasts = random.randrange(kind.targets), random.uniform(*kind.seconds)
        if free_at.get((kind.sort, target), 0.0) <= at:
            faults.append(Fault(at, name, target, lasts))
            recovery = 0.0 if kind.sort in ("clients", "connections") else CALM
            free_at[kind.sort, target] = at + lasts + recovery
        at += random.expovariate(1 / EVERY)
    return faults


class Faults:
    """Injects faults, each in a task of its own; what a fault breaks it also heals."""

    def __init__(self, world: World, fleet: Fleet, clients: list[Any], scripts: list[ScriptLane], log: Log) -> None:
        self.world = world
        self.fleet = fleet
        self.clients: list[Client] = clients
        self.scripts = scripts
        self.log = log
        self.injected: Counter[str] = Counter()
        self._targets: dict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._random = Random(f"{world.seed}:clients")
        self._database = fleet.postgres.database_url("chaos")

    async def run(self) -> None:
        """Goes through the schedule and returns when everything is healed."""
        begun = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            for fault in schedule(self.world.seed, self.world.seconds):
                await asyncio.sleep(max(0.0, begun + fault.at - asyncio.get_running_loop().time()))
                tasks.create_task(self._inject(fault))

    async def _inject(self, fault: Fault) -> None:
        """Injects one fault, unless the one before it on the same target is not over, or its targets do not know it."""
        target = self._targets[KINDS[fault.kind].sort, fault.target]
        if target.locked() or (self.world.is_tutorial and fault.kind == "group left"):
            return
        async with target:
            self.log(f"{fault.kind} (#{fault.target}) for {fault.seconds:.1f} s")
            try:
                await self._ways[fault.kind](self, fault)
            except psycopg.OperationalError as error:  # its own connection was lost to another fault
                self.log(f"{fault.kind} (#{fault.target}) ended early: {error}")
            self.injected[fault.kind] += 1
            self.log(f"{fault.kind} (#{fault.target}) is over")

    # Servers

    async def _kill_daphne(self, fault: Fault) -> None:
        await self._kill(self.fleet.daphnes[fault.target], fault.seconds)

    async def _terminate_daphne(self, fault: Fault) -> None:
        server = self.fleet.daphnes[fault.target]
        assert server.process is not None
        server.process.terminate()
        try:
            await asyncio.to_thread(server.process.wait, END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.log(f"{server.name} did not end by itself")
        await self._kill(server, fault.seconds)

    async def _pause_daphne(self, fault: Fault) -> None:
        await self._pause(self.fleet.daphnes[fault.target], fault.seconds)

    async def _kill_wsgi(self, fault: Fault) -> None:
        await self._kill(self.fleet.wsgi, fault.seconds)

    async def _pause_wsgi(self, fault: Fault) -> None:
        await self._pause(self.fleet.wsgi, fault.seconds)

    async def _kill(self, server: Server, seconds: float) -> None:
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(server.start)

    async def _pause(self, service: Any, seconds: float) -> None:
        await asyncio.to_thread(service.pause)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(service.resume)

    # Scripts

    async def _kill_script(self, fault: Fault) -> None:
        self.scripts[fault.target].kill()

    async def _pause_script(self, fault: Fault) -> None:
        await self._pause(self.scripts[fault.target], fault.seconds)

    # Redis

    async def _restart_redis(self, fault: Fault) -> None:
        await asyncio.to_thread(self.fleet.redis.kill)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(self.fleet.redis.restart)

    async def _pause_redis(self, fault: Fault) -> None:
        await self._pause(self.fleet.redis, fault.seconds)

    async def _drop_redis_connections(self, fault: Fault) -> None:
        for kind in ("normal", "pubsub"):
            await asyncio.to_thread(self.fleet.redis.ask, f"CLIENT KILL TYPE {kind}")

    # PostgreSQL

    async def _drop_database_connections(self, fault: Fault) -> None:
        everybody = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'chaos' AND pid <> %s"
        async with await psycopg.AsyncConnection.connect(self._database, autocommit=True) as connection:
            await connection.execute(everybody, [connection.info.backend_pid])

    async def _restart_database(self, fault: Fault) -> None:
        await asyncio.to_thread(self.fleet.postgres.kill)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(self.fleet.postgres.start)

    async def _pause_database(self, fault: Fault) -> None:
        await self._pause(self.fleet.postgres, fault.seconds)

    async def _lock_group(self, fault: Fault) -> None:
        lock = "SELECT 1 FROM broadcast_group WHERE name = %s FOR UPDATE"
        async with await psycopg.AsyncConnection.connect(self._database) as connection:
            await connection.execute(lock, [GROUPS[fault.target]])
            await asyncio.sleep(fault.seconds)

    # Clients

    async def _stall_clients(self, fault: Fault) -> None:
        chosen = self._random.sample(self.clients, min(len(self.clients), self._random.randint(1, 15)))
        for client in chosen:
            client.stall()
        await asyncio.sleep(fault.seconds)
        for client in chosen:
            client.go_on()

    async def _cut_connections(self, fault: Fault) -> None:
        for client in self._random.sample(self.clients, min(len(self.clients), self._random.randint(1, 15))):
            client.cut()

    async def _leave_group(self, fault: Fault) -> None:
        """Some, or all, go from a group and come back: servers without any listener forget it meanwhile."""
        share = self._random.choice((0.1, 0.5, 1.0))
        chosen = [client for client in self.clients if self._random.random() < share]
        for client in chosen:
            client.leave(fault.target)
        await asyncio.sleep(fault.seconds)
        for client in chosen:
            client.return_to(fault.target)

    _ways: dict[str, Callable[["Faults", Fault], Awaitable[None]]] = {
        "daphne killed": _kill_daphne,
        "daphne terminated": _terminate_daphne,
        "daphne paused": _pause_daphne,
        "WSGI server killed": _kill_wsgi,
        "WSGI server paused": _pause_wsgi,
        "script killed": _kill_script,
        "script paused": _pause_script,
        "Redis killed, restarted empty": _restart_redis,
        "Redis paused": _pause_redis,
        "Redis connections dropped": _drop_redis_connections,
        "PostgreSQL connections dropped": _drop_database_connections,
        "PostgreSQL restarted": _restart_database,
        "PostgreSQL paused": _pause_database,
        "group locked": _lock_group,
        "clients stalled": _stall_clients,
        "group left": _leave_group,
        "connections cut": _cut_connections,
    }
