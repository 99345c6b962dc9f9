"""Leaving without losing anybody: what happens between SIGTERM and the end of a daphne process.

daphne itself cancels its applications in the tick in which SIGTERM arrives, and every socket drops without a word.
Here the process first stops to listen, tells each client when to come back, and lets requests finish.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import threading
import time
from types import FrameType
from typing import Any, Protocol

from ..conf import conf
from .daphne_socket import server_behind

logger = logging.getLogger("broadcast")

LEAVING_AT_ONCE = 100  # connections told between two turns of the event loop
SPREAD_PER_CLIENT = 0.002  # seconds: how far apart clients come back, on average
MAX_SPREAD = 10.0  # seconds
LOOK_EVERY = 0.05  # seconds


class Leaver(Protocol):
    """A connection that can be told to go and to come back elsewhere."""

    async def leave(self, after: float) -> None: ...


class Drain:
    """Empties one daphne server on the first SIGTERM; a second one ends it at once."""

    def __init__(self, server: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.loop = loop
        self.leavers: set[Leaver] = set()
        self.is_draining = False
        self._task: asyncio.Task[None] | None = None
        self._before: Any = None

    def install(self) -> None:
        """Puts itself before the handler of SIGTERM that is there."""
        self._before = signal.getsignal(signal.SIGTERM)
        if callable(self._before):
            signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.is_draining:
            self._before(number, frame)
            return
        self.is_draining = True
        self.loop.call_soon_threadsafe(self._start, number)

    def _start(self, number: int) -> None:
        self._task = self.loop.create_task(self._drain(number))

    async def _drain(self, number: int) -> None:
        deadline = time.monotonic() + conf.DRAIN_TIMEOUT
        try:
            async with asyncio.timeout(conf.DRAIN_TIMEOUT):
                await self._stop_listening()
                await self._send_away()
                await self._wait_until_idle()
        except TimeoutError:
            logger.warning("Some requests did not finish within DRAIN_TIMEOUT (%g s)", conf.DRAIN_TIMEOUT)
        except Exception:
            logger.exception("The process could not be drained and ends at once")
        logger.info("Drained; %.1f s were left", max(0.0, deadline - time.monotonic()))
        self._before(number, None)

    async def _stop_listening(self) -> None:
        from twisted.internet import reactor

        listening: Any = reactor
        for reader in listening.getReaders():
            if getattr(reader, "factory", None) is self.server.http_factory and hasattr(reader, "stopListening"):
                reader.stopListening()

    async def _send_away(self) -> None:
        """Tells every client when to come back: spread out, so that the others are not overrun."""
        leavers = list(self.leavers)
        logger.info("Draining: %d connections are sent away", len(leavers))
        spread = min(MAX_SPREAD, SPREAD_PER_CLIENT * len(leavers))
        for start in range(0, len(leavers), LEAVING_AT_ONCE):
            batch = leavers[start : start + LEAVING_AT_ONCE]
            await asyncio.gather(*(leaver.leave(random.uniform(0, spread)) for leaver in batch), return_exceptions=True)
            await asyncio.sleep(0)

    async def _wait_until_idle(self) -> None:
        """Waits for requests in flight, and until daphne has forgotten connections that it upgraded.

        Its shutdown looks up an application for each connection, and an upgraded request has none.
        """
        # daphne tells nobody when it forgets a connection, so this looks.
        while self.leavers or any(self._is_busy(*each) for each in self.server.connections.items()):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_EVERY)

    def _is_busy(self, protocol: Any, details: dict[str, Any]) -> bool:
        application = details.get("application_instance")
        if application is None:
            return True
        # A WebSocket of the site's own knows nothing of this and would never end by itself.
        return getattr(protocol, "application_type", "http") == "http" and not application.done()


drains: dict[int, Drain] = {}


def watch(leaver: Leaver, send: Any) -> None:
    """Has a connection told when its process ends. Only daphne needs it; the first one sets it up."""
    server = server_behind(send)
    if server is None or threading.current_thread() is not threading.main_thread():
        return
    drain = drains.get(id(server))
    if drain is None:
        drain = drains[id(server)] = Drain(server, asyncio.get_running_loop())
        drain.install()
    drain.leavers.add(leaver)


def unwatch(leaver: Leaver) -> None:
    for drain in drains.values():
        drain.leavers.discard(leaver)
