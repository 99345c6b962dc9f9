"""The node: what lives with one event loop of a process, and ends when nobody holds it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..conf import conf
from .hints.notices import NoticeReader
from .hints.receiver import LayerReceiver
from .hub.hub import Hub
from .storage.threads import NodeDatabase
from .transports.direct import WriteScheduler

if TYPE_CHECKING:
    from .process import Process

T = TypeVar("T")


class Node:
    """The hub, the database threads, the layer receiver and the write scheduler of one event loop.

    A context manager: whoever needs the node holds it. It ends, at the next poll, when nobody does and no group
    lingers; one that is kept, as by the drain of a daphne, ends with its loop. Other parts are made by ``part``.
    """

    def __init__(self, process: Process, loop: asyncio.AbstractEventLoop) -> None:
        self.process = process
        self.loop = loop
        self.database = NodeDatabase(process.system, process.health, process.context)
        self.scheduler = WriteScheduler(loop, process.in_flight.are_under_way)
        self.hub = Hub(self)
        self.receiver = LayerReceiver(process, self.hub.on_hint, self.on_control)
        self.notices = NoticeReader(process, self.hub.on_hint, self.on_control)
        self.control_handlers: dict[str, Callable[[Mapping[str, Any]], None]] = {}  # by the type of the event
        self._parts: dict[Callable[[Node], Any], Any] = {}
        self._holders = 0
        self._is_kept = False
        self._running: asyncio.Task[None] | None = None

    def __enter__(self) -> Node:
        self._holders += 1
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._holders -= 1

    def keep(self) -> None:
        """Keeps the node for as long as its loop runs; while nobody holds it, without database connections."""
        self._is_kept = True
        self._start()

    def part(self, kind: Callable[[Node], T]) -> T:
        """The node's one ``kind``, such as its revalidator: made when first asked for, and gone with the node."""
        if kind not in self._parts:
            self._parts[kind] = kind(self)
        part: T = self._parts[kind]
        return part

    def on_control(self, event: Mapping[str, Any]) -> None:
        """Hands an event to whoever registered for its type; another is ignored."""
        handler = self.control_handlers.get(event.get("type", ""))
        if handler is not None:
            handler(event)

    def forget(self) -> None:
        """Takes no more hints and ends the threads; for a loop that was closed there is no more to do."""
        self.process.hints.neighbours.leave(self)
        if self.process.nodes.get(self.loop) is self:
            del self.process.nodes[self.loop]
        self.database.close()

    def end_with_loop(self, seconds: float) -> None:
        """Ends the node, and whatever else is left, on a loop that does not run; waits so long at most."""
        # This task first: it leaves the layer, which needs tasks of its own to be left.
        cancel_all(self.loop, asyncio.all_tasks(self.loop) & {self._running}, seconds)
        cancel_all(self.loop, asyncio.all_tasks(self.loop), seconds)

    @property
    def _is_used(self) -> bool:
        return self._holders > 0 or self.hub.is_busy

    def _start(self) -> None:
        if self._running is None:
            self.process.hints.neighbours.listen(self)
            self._running = self.loop.create_task(self._run())
        elif self._running.done():
            raise RuntimeError("This node has ended. Ask the process for the node of the loop again.")

    async def _run(self) -> None:
        try:
            while self._is_used or self._is_kept:
                await asyncio.sleep(conf.POLL_INTERVAL)
                self.process.hints.neighbours.listen(self)
                await self.hub.tick()
                self.process.log_throttle.log_left_out()
                if not self._is_used:
                    self.database.close()
        finally:
            self.forget()
            self.hub.close()
            await self.receiver.close()


def cancel_all(loop: asyncio.AbstractEventLoop, tasks: set[asyncio.Task[Any]], seconds: float) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=seconds))
