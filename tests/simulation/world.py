"""One seed's world: processes, clients, layer, database; and its run from the first act to the verdict."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any
from unittest import mock

from channels.layers import channel_layers
from django.db import connections

from broadcast import consumers
from broadcast.engine import commit
from broadcast.engine.hints import hint, layer, layer_thread, publisher
from broadcast.engine.hub import crowd, hub, pages, ring, stream
from broadcast.engine.storage import pruning
from broadcast.engine.storage.records import Draft
from tests.simulation.backups import Backups
from tests.simulation.clients import SimulatedClient
from tests.simulation.database import SimulatedDatabase
from tests.simulation.judge import WENT_BACK, Judge
from tests.simulation.layer import SimulatedLayer
from tests.simulation.mishaps import Mishaps
from tests.simulation.plan import ACTIVE, Act, Plan
from tests.simulation.process import OneThread, SimulatedProcess
from tests.simulation.scheduler import Scheduler, SimulatedThread, current_thread

LOOK = 0.25  # seconds between two looks of the judge
CALM = 1.5  # seconds that everything works before the end
SETTLES = 40.0  # seconds at most until then nothing is left to do
LEAVES = 15.0  # seconds after which nothing goes on where nobody is connected
RESTART = 0.5  # seconds until a process that was killed is there again

# Small, so that a short history meets every edge.
SIZES = {
    ring: {"MAX_FRAMES": 20, "BURST_FACTOR": 2},
    hub: {"MAX_FRAMES": 20, "PAGE": 7},
    pages: {"PAGE": 7, "MAX_PAGES": 2},
    crowd: {"SLICE": 1},
    stream: {"MAX_OUT_OF_ORDER": 5, "BATCH_FRAMES": 4},
    commit: {"MAX_BATCH": 3, "EVERY": 8},
    pruning: {"EVERY": 8, "STEP": 6},
    hint: {"MAX_EVENT_MESSAGES": 3},
}


class World:
    """Everything that there is in the simulation of one plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.scheduler = Scheduler(plan.seed)
        self.trace: list[str] = []
        self.layer = SimulatedLayer(self.scheduler, plan.losses)
        self.is_prompt = plan.losses == 0 and plan.pace == 1
        self.database = SimulatedDatabase(self.scheduler, plan.pace, self._committed)
        self.judge = Judge(self)
        self.layer.on_arrival = self.judge.on_arrival
        self.backups = Backups(self)
        self.clients: list[SimulatedClient] = []
        self.processes: list[SimulatedProcess] = []
        self.dead: list[SimulatedProcess] = []
        self.locked_until: dict[str, float] = {}
        self.acts = Mishaps(self)
        self._senders: dict[tuple[SimulatedProcess, int], OneThread] = {}
        self._started = 0

    def note(self, *what: Any) -> None:
        thread = current_thread()
        where = f" [{thread.name}]" if thread is not None else ""
        self.trace.append(f"{self.scheduler.now:9.4f} {' '.join(map(str, what))}{where}")

    @property
    def digest(self) -> str:
        """What is the same if and only if the same happened."""
        return f"{zlib.crc32(chr(10).join(self.trace).encode()):08x}-{self.scheduler.steps}"

    # Its parts

    def start(self, kind: str) -> SimulatedProcess:
        self._started += 1
        process = SimulatedProcess(self.scheduler, f"{kind}{self._started}", kind == "daphne", self.layer)
        self.processes.append(process)
        return process

    def kill(self, process: SimulatedProcess) -> None:
        """Kills a process; another one takes its place."""
        process.kill()
        for thread in process.threads:
            self.database.open.pop(thread, None)
        self.dead.append(process)
        self.processes.remove(process)
        for client in self.clients:
            if client.connection is not None and client.connection.process is process:
                client.drop()
        kind = "daphne" if process.loop is not None else "sender"
        self.scheduler.call_at(self.scheduler.now + RESTART, self.start, kind)

    def some_daphne(self, chance: Random, last: SimulatedProcess | None) -> SimulatedProcess | None:
        """Where a client is sent: rather not where it was."""
        daphnes = [process for process in self.processes if process.loop is not None]
        others = [process for process in daphnes if process is not last]
        return chance.choice(others if others and chance.random() < 0.7 else daphnes) if daphnes else None

    def sender(self, process: SimulatedProcess, number: int) -> OneThread:
        """One of the two threads in which a process answers requests."""
        key = process, number // 7 % 2
        if key not in self._senders:
            self._senders[key] = OneThread(process, f"request {key[1]}")
        return self._senders[key]

    def at_work(self) -> list[SimulatedThread]:
        return [sender.thread for sender in self._senders.values() if sender.is_busy]

    def add_client(self, groups: list[str]) -> None:
        client = SimulatedClient(self, f"client{len(self.clients) + 1}", groups)
        self.clients.append(client)
        client.connect()

    def _committed(self, by: Any) -> None:
        self.judge.truth.refresh(self.scheduler.now, by)

    # Its run

    def run(self) -> list[str]:
        """The violations; the run ends soon after the first."""
        with ExitStack() as stack:
            stack.enter_context(small_sizes())
            stack.enter_context(mock.patch.object(layer_thread, "LayerLoop", self._layer_loop))
            stack.enter_context(mock.patch.object(consumers, "transport_for", transport_for))
            before = channel_layers.set("default", self.layer)
            stack.callback(lambda: channel_layers.set("default", before) if before else None)
            if not self.plan.has_layer:
                for module in (layer, publisher):
                    stack.enter_context(mock.patch.object(module, "get_channel_layer", return_value=None))
            stack.callback(self._end)
            stack.enter_context(heard(self))
            self._begin()
            self._go_on(ACTIVE)
            self._calm_down()
            self._settle()
            if not self.judge.violations:
                self.judge.conclude()
            self._leave()
        return self.judge.violations

    def _begin(self) -> None:
        empty_tables()
        for _ in range(self.plan.daphnes):
            self.start("daphne")
        for _ in range(self.plan.senders):
            self.start("sender")
        for group, count in self.plan.history.items():
            if count:
                self._append(group, count)
        self.backups.keep()
        for groups in self.plan.clients:
            self.add_client(groups)
        for act in self.plan.acts:
            self.scheduler.call_at(act.at, self._do, act)

    def _append(self, group: str, count: int) -> None:
        """What was said before."""
        process = self.processes[0].process
        bodies = [self.acts.body() for _ in range(count)]
        drafts = [Draft(group, "server", "Server", body, process.system.uuid()) for body in bodies]
        process.log.append(drafts)
        self._committed(None)

    def _do(self, act: Act) -> None:
        self.note(act.name, act.arguments)
        getattr(self.acts, act.name)(**act.arguments)

    def _go_on(self, end: float) -> None:
        while self.scheduler.now < end and not self.judge.violations:
            self.scheduler.run_until(min(self.scheduler.now + LOOK, end))
            self.judge.look()
            self.backups.keep()
            self._see_failures()

    def _settle(self) -> None:
        """Goes on until nothing is left to do, as it should be after a while."""
        end = ACTIVE + (WENT_BACK if self._went_back else 0.0) + SETTLES
        self._go_on(ACTIVE + CALM)
        while not (self.judge.is_settled or self.judge.violations) and self.scheduler.now < end:
            self._go_on(self.scheduler.now + LOOK)

    def _see_failures(self) -> None:
        for process in self.processes:
            for node in process.process.nodes.values():
                for each in node.hub.streams.values():
                    if not is_bounded(each):
                        self.judge.complain(f"{process.name} keeps too much of {each.name}")
            for loop in process.loops:
                for failure in loop.failures:
                    self.judge.complain(f"{process.name}: {failure}")
            for thread in process.threads:
                if thread.error is not None:
                    self.judge.complain(f"{thread.name} failed: {thread.error!r}")

    @property
    def _went_back(self) -> bool:
        return any(group.went_back for group in self.judge.truth.groups.values())

    def _calm_down(self) -> None:
        """Ends every fault."""
        self.database.away_until = self.database.slow_until = 0.0
        self.database.freeze_next_for = self.database.away_next_for = 0.0
        self.database.lose_next = ("", 0.0)
        self.layer.away_until, self.layer.losses = 0.0, 0.0
        for client in self.clients:
            if client.connection is not None and client.connection.is_shut:
                client.connection.open()

    def _leave(self) -> None:
        """Everybody leaves: then no node goes on."""
        if self.judge.violations:
            return
        for client in self.clients:
            client.leave()
        self.scheduler.run_until(self.scheduler.now + LEAVES)
        self._see_failures()
        for process in self.processes:
            if process.process.nodes:
                self.judge.complain(f"{process.name} has a node that nobody uses")

    def _end(self) -> None:
        for process in [*self.processes, *self.dead]:
            process.is_dead = True
        self.scheduler.end()
        self.database.end()

    def _layer_loop(self) -> asyncio.AbstractEventLoop:
        thread = current_thread()
        assert thread is not None
        process = thread.owner
        assert isinstance(process, SimulatedProcess)
        return process.new_loop(f"{thread.name} loop {len(process.loops)}")


def is_bounded(group: stream.GroupStream) -> bool:
    """True if a hub keeps no more of a group than it may."""
    frames = ring.MAX_FRAMES * ring.BURST_FACTOR
    read = [page for page in group._pages._pages.values() if page.done()]
    return (
        len(group.ring.frames) <= frames
        and len(read) <= pages.MAX_PAGES
        and len(group.out_of_order) <= stream.MAX_OUT_OF_ORDER
    )


def transport_for(node: Any, send: Any, dialect: Any) -> Any:
    return send.__self__.transport(node, dialect)


@contextmanager
def small_sizes() -> Iterator[None]:
    with ExitStack() as stack:
        for module, sizes in SIZES.items():
            for name, size in sizes.items():
                stack.enter_context(mock.patch.object(module, name, size))
        yield


@contextmanager
def heard(world: World) -> Iterator[None]:
    """What the product logs of its own failures is a violation."""

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            world.note("log:", record.levelname, record.getMessage())
            if record.exc_info and not record.args and world.judge.truth.spoilt is None:
                world.judge.complain(f"{record.getMessage()}: {record.exc_info[1]!r}")

    logger = logging.getLogger("broadcast")
    ear = Ear(logging.WARNING)
    logger.addHandler(ear)
    try:
        yield
    finally:
        logger.removeHandler(ear)


def empty_tables() -> None:
    connection = connections["default"]
    tables = ["broadcast_message", "broadcast_group"]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            for table in tables:
                cursor.execute(f"DELETE FROM {table}")
            cursor.execute("DELETE FROM sqlite_sequence")
        else:
            cursor.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY")
