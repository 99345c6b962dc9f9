"""Processes of the simulated site: each with a loop or none, threads, a clock; they stop, freeze and are killed."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from django.db import connections

from broadcast.engine.process import Process
from broadcast.engine.system import System
from tests.simulation.layer import SimulatedLayer
from tests.simulation.loop import SimulatedLoop
from tests.simulation.neighbours import SimulatedWay
from tests.simulation.scheduler import Killed, Scheduler, SimulatedEvent, SimulatedThread, current_thread

T = TypeVar("T")

BEGINNING = datetime(2030, 1, 1, tzinfo=UTC)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class OneThread(Executor):
    """A thread that runs what it is given, in order."""

    def __init__(self, process: SimulatedProcess, name: str) -> None:
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._is_shut = False
        self.is_busy = False
        self.thread = process.start_thread(self._work, name, True)

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        if self._is_shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[T] = Future()
        self._jobs.append((future, lambda: function(*args, **kwargs)))
        self.thread.wake()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._is_shut = True
        self.thread.wake()

    def _work(self) -> None:
        try:
            while self._jobs or not self._is_shut:
                if not self._jobs:
                    self.thread.pause(None)
                    continue
                future, job = self._jobs.popleft()
                if not future.set_running_or_notify_cancel():
                    continue
                self.is_busy = True
                try:
                    result = job()
                except Killed:
                    raise
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)
                self.is_busy = False
        finally:
            connections.close_all()


class SimulatedProcess:
    """One process: a daphne with a loop, or one that only sends."""

    def __init__(self, scheduler: Scheduler, name: str, has_loop: bool, network: SimulatedLayer) -> None:
        self.scheduler = scheduler
        self.network = network
        self.name = name
        self.is_dead = False
        self.frozen_until = 0.0
        self.clock_ahead = 0.0  # seconds by which its wall clock is set forward, or back
        self.threads: list[SimulatedThread] = []
        self.loops: list[SimulatedLoop] = []
        self._random = scheduler.random(f"{name} chance")
        self.process = Process(self._system())
        self.loop = self.new_loop(name) if has_loop else None

    def new_loop(self, name: str) -> SimulatedLoop:
        loop = SimulatedLoop(self.scheduler, self, name)  # type: ignore[abstract]  # nobody here uses the rest
        self.loops.append(loop)
        return loop

    def freeze(self, seconds: float) -> None:
        """Nothing of the process goes on for so long, as while its machine is paused."""
        self.frozen_until = max(self.frozen_until, self.scheduler.now + seconds)

    def kill(self) -> None:
        """Ends the process wherever it is; its connections to the database are cut."""
        if self.is_dead:
            return
        self.is_dead = True
        for thread in self.threads:
            thread.kill()
        for loop in self.loops:
            loop.close()

    def start_thread(self, target: Callable[[], None], name: str, daemon: bool) -> SimulatedThread:
        if self.is_dead:
            raise Killed
        count = len(self.threads)
        thread = SimulatedThread(self.scheduler, self, f"{self.name} {name} {count}", target)
        self.threads.append(thread)
        self.scheduler.schedule(thread, self.scheduler.now)
        return thread

    def _system(self) -> System:
        def start_thread(target: Callable[[], None], name: str, daemon: bool) -> None:
            self.start_thread(target, name, daemon)

        return System(
            monotonic=lambda: self.scheduler.now,
            now=lambda: BEGINNING + timedelta(seconds=self.scheduler.now + self.clock_ahead),
            sleep=self._sleep,
            uniform=self._random.uniform,
            uuid=lambda: uuid.UUID(int=self._random.getrandbits(128)),
            token=lambda: "".join(self._random.choices(LETTERS, k=12)),
            executor=lambda name: OneThread(self, name),
            start_thread=start_thread,
            event=SimulatedEvent,
            greenlet_library=lambda: "",
            hint_ways=lambda process: [SimulatedWay(self.network, process)],
            after_fork=lambda function: None,
            at_exit=lambda function: None,
        )

    def _sleep(self, seconds: float) -> None:
        thread = current_thread()
        assert thread is not None
        thread.pause(seconds)
