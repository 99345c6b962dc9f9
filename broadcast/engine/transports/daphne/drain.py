"""Leaving without losing anybody: what happens between SIGTERM and the end of a daphne process.

daphne itself cancels its applications in the tick in which SIGTERM arrives, and every socket drops without a word.
Here the process first stops to listen, tells each client when to come back, and lets requests finish.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from types import FrameType
from typing import Any, Protocol

from ....conf import conf
from ...log_lines import say
from ...node import Node
from ...process import Process
from ...slices import slices

logger = logging.getLogger("broadcast")

CLOSED_AT_ONCE = 100  # connections told between two turns of the event loop
SPREAD_PER_CLIENT = 0.002  # seconds: how far apart clients come back, on average
MAX_SPREAD = 10.0  # seconds
CHECK_SECONDS = 0.05
END_TIME = 1.0  # seconds of DRAIN_TIMEOUT that are kept for the end of the process, or a tenth of it if that is less


class Drainable(Protocol):
    """A connection that can be told to go and to come back elsewhere."""

    async def go_away(self, after: float) -> None: ...


class Drain:
    """Empties the daphne of a node on the first SIGTERM; a second one ends it at once."""

    def __init__(self, node: Node) -> None:
        self.loop = node.loop
        self.system = node.process.system
        self.servers: list[Any] = []
        self.connections: set[Drainable] = set()
        self.is_draining = False
        self._task: asyncio.Task[None] | None = None
        self._before: Any = None

    def serve(self, server: Any) -> None:
        """Takes a server under its care; with the first one it puts itself before the handler of SIGTERM."""
        if not self.servers:
            self._before = signal.getsignal(signal.SIGTERM)
            if callable(self._before):
                signal.signal(signal.SIGTERM, self._on_signal)
        self.servers.append(server)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.is_draining:
            self._end(number, frame)
            return
        self.is_draining = True
        self.loop.call_soon_threadsafe(self._start, number)

    def _start(self, number: int) -> None:
        self._task = self.loop.create_task(self._drain(number))

    async def _drain(self, number: int) -> None:
        deadline = self.system.monotonic() + conf.DRAIN_TIMEOUT
        self._start_exit_watchdog(conf.DRAIN_TIMEOUT)
        try:
            async with asyncio.timeout(conf.DRAIN_TIMEOUT - min(END_TIME, conf.DRAIN_TIMEOUT / 10)):
                self._stop_listening()
                logger.info("Draining: %d connections are sent away", len(self.connections))
                await self._empty()
        except TimeoutError:
            logger.warning("Some requests did not finish within DRAIN_TIMEOUT (%g s)", conf.DRAIN_TIMEOUT)
        except Exception as error:
            say(logging.ERROR, "The process could not be drained and ends at once", error=error)
        logger.info("Drained; %.1f s were left", max(0.0, deadline - self.system.monotonic()))
        self._end(number, None)

    def _end(self, number: int, frame: FrameType | None) -> None:
        """Goes on with what SIGTERM did before.

        daphne then looks up an application for each connection, and a request that was upgraded a moment ago has none.
        """
        none = self.loop.create_future()
        none.set_result(None)
        for details in self._daphne_connections().values():
            details.setdefault("application_instance", none)
        self._before(number, frame)

    def _stop_listening(self) -> None:
        factories = [server.http_factory for server in self.servers]
        for port in twisted_reactor().getReaders():
            factory = getattr(port, "factory", None)
            if factory in factories or getattr(factory, "wrappedFactory", None) in factories:  # with TLS: wrapped
                port.stopListening()

    async def _empty(self) -> None:
        """Sends every client away, also those who still come in, and waits for requests in flight."""
        told: set[Drainable] = set()
        # daphne tells nobody when it is done with a connection, so this looks.
        while self.connections or self._is_busy():
            staying = self.connections - told
            await self._close_all(list(staying))
            told |= staying
            await asyncio.sleep(CHECK_SECONDS)

    def _is_busy(self) -> bool:
        """True while a request is being answered. WebSockets of the site's own would never end by themselves."""
        answering = any(is_answering(*each) for each in self._daphne_connections().items())
        return answering or any(is_sending(transport) for transport in twisted_reactor().getWriters())

    def _daphne_connections(self) -> dict[Any, dict[str, Any]]:
        return {protocol: details for server in self.servers for protocol, details in server.connections.items()}

    async def _close_all(self, connections: list[Drainable]) -> None:
        """Tells clients when to come back: spread out, so that the others are not overrun."""
        spread = min(MAX_SPREAD, SPREAD_PER_CLIENT * len(connections))
        for batch in slices(connections, CLOSED_AT_ONCE):
            telling = (each.go_away(self.system.uniform(0, spread)) for each in batch)
            await asyncio.gather(*telling, return_exceptions=True)
            await asyncio.sleep(0)

    def _start_exit_watchdog(self, seconds: float) -> None:
        """Ends the process after so many seconds if it still runs then.

        Python waits at its end for each thread, such as one that asks a database that hangs.
        """

        def watch() -> None:
            self.system.sleep(seconds)
            force_exit()

        self.system.start_thread(watch, "broadcast-exit-watchdog", True)


def force_exit() -> None:
    logger.warning("A thread did not end within DRAIN_TIMEOUT; the process ends without it")
    os._exit(0)


def is_answering(protocol: Any, details: dict[str, Any]) -> bool:
    application = details.get("application_instance")
    return application is not None and not application.done() and not is_websocket(protocol)


def is_sending(transport: Any) -> bool:
    """True if a transport that has something to write belongs to HTTP: the rest of an answer."""
    protocol = getattr(transport, "protocol", None)
    return not is_websocket(getattr(protocol, "wrappedProtocol", protocol))


def is_websocket(protocol: Any) -> bool:
    return getattr(protocol, "application_type", "http") == "websocket"


def twisted_reactor() -> Any:
    from twisted.internet import reactor

    return reactor


def drain_for(process: Process, server: Any) -> Drain | None:
    """The drain of a daphne server, set up by the first who asks; None in a thread that gets no signals."""
    if threading.current_thread() is not threading.main_thread():
        return None
    node = process.node()
    drain = node.part(Drain)
    if server not in drain.servers:
        drain.serve(server)
        node.keep()
    return drain
