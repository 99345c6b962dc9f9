"""The thread that talks to a networked channel layer, so that no sender ever waits for it."""

from __future__ import annotations

import asyncio
import atexit
import socket
import threading
import time
from collections import deque
from typing import Any

from ..forks import after_fork
from ..outages import layer_failing
from .layer import asked

SEND_TIMEOUT = 2.0  # seconds
PAUSE_AFTER_FAILURE = 1.0  # seconds without a try, so that a layer that hangs costs little
IDLE_TIMEOUT = 30.0  # seconds without an event after which the thread ends
FLUSH_TIMEOUT = 1.0  # seconds that the end of the process waits for the last events
MAX_EVENTS = 1000

Event = tuple[Any, str, dict[str, Any]]


class LayerLoop(asyncio.SelectorEventLoop):
    """Looks names up in its own thread, for at the end of a process there are no executors any more."""

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


class LayerSender:
    """One lazy thread per process with one event loop, which keeps the layer's connections.

    At most ``MAX_EVENTS`` wait; then the oldest go. A hint that is lost costs time, never a message.
    """

    def __init__(self) -> None:
        self.reset()
        after_fork(self.reset)
        atexit.register(self.flush)

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._is_sending = False

    def put(self, layer: Any, group: str, event: dict[str, Any]) -> None:
        with self._lock:
            self._events.append((layer, group, event))
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="broadcast-layer", daemon=True)
                thread.start()
                self._thread = thread
            elif self._loop is not None and self._wake is not None:
                self._loop.call_soon_threadsafe(self._wake.set)

    def flush(self) -> None:
        """Waits a moment for what is under way: a short-lived process should not lose its hints."""
        deadline = time.monotonic() + FLUSH_TIMEOUT
        while (self._events or self._is_sending) and time.monotonic() < deadline:
            time.sleep(0.005)

    def _work(self) -> None:
        with asyncio.Runner(loop_factory=LayerLoop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        wake = asyncio.Event()
        with self._lock:
            self._loop, self._wake = asyncio.get_running_loop(), wake
        while True:
            while self._events:
                self._is_sending = True
                await self._send(*self._events.popleft())
                self._is_sending = False
            try:
                async with asyncio.timeout(IDLE_TIMEOUT):
                    await wake.wait()
            except TimeoutError:
                with self._lock:
                    if not self._events:
                        self._thread = self._loop = self._wake = None
                        return
            wake.clear()

    async def _send(self, layer: Any, group: str, event: dict[str, Any]) -> None:
        try:
            await asked(SEND_TIMEOUT, layer.group_send, group, event)
        except (Exception, asyncio.CancelledError) as error:  # nobody cancels this task
            layer_failing.begins(str(error) or type(error).__name__, "sending")
            await asyncio.sleep(PAUSE_AFTER_FAILURE)
            if not self._events and event.get("head") is not None:
                self.put(layer, group, event)  # ever again, until it shows that the layer is back
        else:
            layer_failing.ends("sending")


layer_sender = LayerSender()
