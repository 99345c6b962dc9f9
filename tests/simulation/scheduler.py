"""Virtual time: whatever can go on is an actor, and exactly one of them runs at a time, for a step."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections.abc import Callable
from typing import Any, Protocol


class Killed(BaseException):
    """The process of this thread has ended; nothing that the thread still does reaches anybody."""


class Interrupted(BaseException):
    """What a time limit of a task queue, or Ctrl-C, raises in a thread wherever it is."""


class Owner(Protocol):
    """The process that an actor belongs to."""

    is_dead: bool
    frozen_until: float


class Actor(Protocol):
    """Something that goes on, in steps."""

    owner: Owner | None
    entry: list[Any] | None

    def step(self) -> None: ...


class Scheduler:
    """A queue of actors by the time of their next step. All that is random is drawn from the seed, by who draws."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now = 0.0
        self.steps = 0
        self.threads: list[SimulatedThread] = []
        self.wait_for: Callable[[SimulatedThread], None] = await_turn
        self.release: Callable[[SimulatedThread], bool] = lambda thread: False
        self._queue: list[list[Any]] = []
        self._numbers = itertools.count()

    def random(self, name: str) -> random.Random:
        """Chance of one actor's own, so that what others draw, or whether they are there, does not change it."""
        return random.Random(f"{self.seed} {name}")

    def schedule(self, actor: Actor, at: float) -> None:
        """Has an actor take its next step at a time, instead of at the one that was set."""
        if actor.entry is not None:
            actor.entry[2] = None
        actor.entry = [max(at, self.now), next(self._numbers), actor]
        heapq.heappush(self._queue, actor.entry)

    def call_at(self, at: float, function: Callable[..., object], *args: Any) -> None:
        """Calls a function of the world around the processes at a time."""
        heapq.heappush(self._queue, [max(at, self.now), next(self._numbers), Call(function, args)])

    def run_until(self, end: float) -> None:
        """Takes every step that is due until then."""
        while self._queue and self._queue[0][0] <= end:
            at, _, actor = heapq.heappop(self._queue)
            if actor is None or (actor.owner is not None and actor.owner.is_dead):
                continue
            actor.entry = None
            if actor.owner is not None and actor.owner.frozen_until > at:
                self.schedule(actor, actor.owner.frozen_until)
                continue
            self.now = at
            self.steps += 1
            actor.step()
        self.now = max(self.now, end)

    def end(self) -> None:
        """Ends every thread."""
        for thread in self.threads:
            thread.kill()


def await_turn(thread: SimulatedThread) -> None:
    """Returns when a thread has paused or ended."""
    thread.done.acquire()


class Call:
    """A call of a function, once."""

    owner = None
    entry: list[Any] | None = None

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.function, self.args = function, args

    def step(self) -> None:
        self.function(*self.args)


current = threading.local()


def current_thread() -> SimulatedThread | None:
    """The simulated thread that runs; None in the loops and in the world around the processes."""
    thread: SimulatedThread | None = getattr(current, "thread", None)
    return thread


class SimulatedThread:
    """A thread that runs only when it is its turn, and ends its turn wherever it pauses."""

    def __init__(self, scheduler: Scheduler, owner: Owner | None, name: str, target: Callable[[], None]) -> None:
        self.scheduler = scheduler
        self.owner = owner
        self.entry: list[Any] | None = None
        self.name = name
        self.random = scheduler.random(name)
        self.to_raise: type[BaseException] | None = None
        self.is_over = False
        self.is_idle = False  # until somebody wakes it
        self.is_blocked = False  # in the middle of a statement, by somebody's lock
        self.error: BaseException | None = None
        self._is_doomed = False
        self._target = target
        self._go, self.done = threading.Lock(), threading.Lock()
        self._go.acquire()
        self.done.acquire()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        scheduler.threads.append(self)

    def step(self) -> None:
        if self.is_over:
            return
        self._go.release()
        self.scheduler.wait_for(self)

    def pause(self, seconds: float | None) -> None:
        """Lets others go on for so long; None: until somebody wakes this thread. Raises what is to be raised."""
        if self._is_doomed:
            raise Killed
        self.is_idle = seconds is None
        if seconds is not None:
            self.scheduler.schedule(self, self.scheduler.now + seconds)
        self.done.release()
        self._go.acquire()
        self.is_idle = False
        if (error := self.to_raise) is not None:
            self.to_raise = None
            raise error

    def interrupt(self, error: type[BaseException]) -> None:
        """Raises an error in this thread, where it pauses; what it waits for in the database, it waits for."""
        self.to_raise = error
        if not self.is_blocked:
            self.scheduler.schedule(self, self.scheduler.now)

    def wake(self) -> None:
        """Has the thread go on, if it does nothing."""
        if self.is_idle:
            self.scheduler.schedule(self, self.scheduler.now)

    def kill(self) -> None:
        """Ends this thread where it pauses; what it still does, it does at once."""
        if not self.is_over:
            self.to_raise, self._is_doomed = Killed, True
            if not self.scheduler.release(self):
                self.step()
            self._thread.join()

    def _run(self) -> None:
        current.thread = self
        self._go.acquire()
        try:
            if self.to_raise is None:
                self._target()
        except Killed:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self.is_over = True
            self.done.release()


class SimulatedEvent(threading.Event):
    """An event for which a simulated thread waits by ending its turn."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[SimulatedThread] = []

    def set(self) -> None:
        super().set()
        for thread in self._waiting:
            thread.wake()

    def wait(self, timeout: float | None = None) -> bool:
        thread = current_thread()
        assert thread is not None
        assert timeout is None
        self._waiting.append(thread)
        try:
            while not self.is_set():
                thread.pause(None)
        finally:
            self._waiting.remove(thread)
        return True
