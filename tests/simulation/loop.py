"""An event loop on virtual time, as one process has it: its callbacks run in order, between steps of others."""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context, copy_context
from typing import Any, TypeVar

from tests.simulation.scheduler import Owner, Scheduler, current_thread

T = TypeVar("T")

GOES_ON = 0.7  # how likely the next callback runs at once
HOP = 0.0003  # seconds at most between two others
WAKE = 0.001  # seconds at most until an idle loop sees what another thread gave it


class SimulatedLoop(asyncio.AbstractEventLoop):
    """A loop that takes its steps when the scheduler says so, or in a simulated thread that runs it to the end."""

    def __init__(self, scheduler: Scheduler, owner: Owner, name: str) -> None:
        self.scheduler = scheduler
        self.owner: Owner | None = owner
        self.entry: list[Any] | None = None
        self.name = name
        self.random = scheduler.random(name)
        self.failures: list[str] = []
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        self._busy_until = 0.0
        self._is_closed = False
        self._thread: Any = None  # that runs this loop to an end

    # As the scheduler sees it

    def step(self) -> None:
        events._set_running_loop(self)
        try:
            self._run_some()
        finally:
            events._set_running_loop(None)
        self._schedule_next()

    def _run_some(self) -> None:
        now = self.time()
        while self._timers and self._timers[0][0] <= now:
            self._ready.append(heapq.heappop(self._timers)[2])
        while self._ready:
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()
                if self.random.random() > GOES_ON:
                    return

    def _schedule_next(self) -> None:
        if self._is_closed:
            return
        if self._ready:
            self.scheduler.schedule(self._actor, self.time() + self.random.uniform(0, HOP))
            return
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        if self._timers:
            self.scheduler.schedule(self._actor, self._timers[0][0])

    @property
    def _actor(self) -> Any:
        return self._thread or self

    def _wake(self) -> None:
        entry = self._actor.entry
        at = self.time() + self.random.uniform(0, WAKE)
        if entry is None or entry[0] > at:
            self.scheduler.schedule(self._actor, at)

    def spend(self, seconds: float) -> None:
        """Lets the callback that runs take so long."""
        self._busy_until = self.time() + seconds

    # As asyncio sees it

    def time(self) -> float:
        return max(self.scheduler.now, self._busy_until)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context or copy_context())
        self._ready.append(handle)
        if events._get_running_loop() is not self:
            self._wake()
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        if self._is_closed:
            raise RuntimeError("Event loop is closed")
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context or copy_context())
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        if events._get_running_loop() is not self:
            self._wake()
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None, **more: Any
    ) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, function: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        assert executor is not None
        return asyncio.wrap_future(executor.submit(function, *args), loop=self)

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        pass

    def is_running(self) -> bool:
        return not self._is_closed

    def is_closed(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        self._is_closed = True
        self._ready.clear()
        self._timers.clear()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    # In a thread of its own, as the layer's

    def run_until_complete(self, future: Any) -> Any:
        task = asyncio.ensure_future(future, loop=self)
        thread = self._thread = current_thread()
        assert thread is not None
        events._set_running_loop(self)
        try:
            while not task.done():
                self._run_some()
                if not task.done():
                    self._schedule_next()
                    thread.pause(None)
        finally:
            events._set_running_loop(None)
        return task.result()

    async def shutdown_asyncgens(self) -> None:
        pass

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        pass
