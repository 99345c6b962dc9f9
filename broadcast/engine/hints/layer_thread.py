"""The thread that talks to a networked channel layer, so that no sender ever waits for it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from typing import Any

from ..health import SENDING, Health
from ..system import System
from .hint import is_ephemeral
from .layer import call_once, call_with_retry, describe

SEND_TIMEOUT = 2.0  # seconds
PAUSE_AFTER_FAILURE = 1.0  # seconds without a try, so that a layer that hangs costs little
IDLE_TIMEOUT = 30.0  # seconds without an event after which the thread ends
FLUSH_TIMEOUT = 1.0  # seconds that the end of the process waits for the last events
MAX_EVENTS = 1000

Event = tuple[Any, str, dict[str, Any]]


class LayerLoop(asyncio.SelectorEventLoop):
    """Looks names up in its own thread, for at the end of a process there are no executors any more.

    Where no file can be opened it cannot be made, and what there is of it says nothing when it goes.
    """

    def __init__(self) -> None:
        self._is_made = False
        super().__init__()
        self._is_made = True

    def __del__(self) -> None:
        if self._is_made:
            super().__del__()

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        return socket.getaddrinfo(host, port, family, type, proto, flags)


class LayerThread:
    """One lazy thread per process with one event loop, which keeps the layer's connections.

    At most ``MAX_EVENTS`` wait; then the oldest go. What fails is tried again while nothing newer waits, unless it is
    ephemeral: that comes at most once. When no loop can be made, as when too many files are open, all wait and it is
    tried again.
    """

    def __init__(self, system: System, health: Health) -> None:
        self._system = system
        self._health = health
        self._lock = threading.Lock()
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._is_running = False
        self._is_sending = False

    def put(self, layer: Any, group: str, event: dict[str, Any]) -> None:
        """Queues an event. Raises RuntimeError if a thread is needed and none can be started."""
        with self._lock:
            self._events.append((layer, group, event))
            if not self._is_running:
                self._system.start_thread(self._work, "broadcast-layer", True)
                self._is_running = True
            elif self._loop is not None and self._wake is not None:
                self._loop.call_soon_threadsafe(self._wake.set)

    def flush(self) -> None:
        """Waits a moment for what is under way."""
        deadline = self._system.monotonic() + FLUSH_TIMEOUT
        while self._is_running and (self._events or self._is_sending) and self._system.monotonic() < deadline:
            self._system.sleep(0.005)

    def _work(self) -> None:
        """Runs a loop until it is idle, and another one if something has come meanwhile or the first one failed."""
        while not self._is_done():
            try:
                with asyncio.Runner(loop_factory=LayerLoop) as runner:
                    runner.run(self._run())
            except (Exception, asyncio.CancelledError) as error:
                self._health.layer.fail(describe(error), SENDING)
                self._system.sleep(PAUSE_AFTER_FAILURE)

    def _is_done(self) -> bool:
        with self._lock:
            self._is_running = bool(self._events)
            return not self._is_running

    async def _run(self) -> None:
        wake = asyncio.Event()
        with self._lock:
            self._loop, self._wake = asyncio.get_running_loop(), wake
        try:
            while True:
                wake.clear()
                while self._events:
                    self._is_sending = True
                    await self._send(*self._events.popleft())
                    self._is_sending = False
                async with asyncio.timeout(IDLE_TIMEOUT):
                    await wake.wait()
        except TimeoutError:
            return  # if something has come just now, for another loop
        finally:
            with self._lock:
                self._loop = self._wake = None
                self._is_sending = False

    async def _send(self, layer: Any, group: str, event: dict[str, Any]) -> None:
        call = call_once if is_ephemeral(event) else call_with_retry
        try:
            await call(SEND_TIMEOUT, layer.group_send, group, event)
        except (Exception, asyncio.CancelledError) as error:  # nobody cancels this task
            self._health.layer.fail(describe(error), SENDING)
            await asyncio.sleep(PAUSE_AFTER_FAILURE)
            if not self._events and event.get("head") is not None:
                self.put(layer, group, event)  # retry until the layer answers
        else:
            self._health.layer.recover(SENDING)
