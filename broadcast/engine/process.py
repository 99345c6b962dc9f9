"""The process as the engine sees it: everything that its threads and event loops share, in one object."""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context, ContextVar
from itertools import count
from typing import Any

from ..models import Message
from .commit import GroupCommit
from .health import Health
from .hints.publisher import HintPublisher
from .hints.seal import Seal
from .hints.site import SiteMarks
from .limits import ConnectionCounts, RateLimits
from .log_lines import LogThrottle
from .node import Node
from .publish import InFlightSends
from .storage.log import Log
from .storage.pruning import Pruning
from .storage.receipts import Receipts
from .system import System

END_SECONDS = 2.0  # that the end of the process waits for a node
PROXY_HEADERS = "--proxy-headers"
MAX_SAID = 100  # lines that are said once

Listener = Callable[[Sequence[Message]], None]


class Process:
    """The log, the group commit, the hints and the nodes of one process. It works with and without an event loop.

    There is one of it, ``current_process()``. A simulation makes several, which can live in one event loop, each
    as if it were a process of its own.
    """

    def __init__(self, system: System | None = None) -> None:
        self.system = system or System()
        self.listeners: list[Listener] = []  # told of whatever is sent, in the sender's thread
        self._begin()
        reset, end = weakref.WeakMethod(self.reset), weakref.WeakMethod(self.end)
        self.system.after_fork(lambda: call_if_alive(reset))
        self.system.at_exit(lambda: call_if_alive(end))

    def reset(self) -> None:
        """Begins anew, as a child does after a fork: nothing is under way, no node runs, nothing is known to fail."""
        self.hints.neighbours.abandon()
        self._begin()

    def _begin(self) -> None:
        self.origin = self.system.uuid().hex  # by which the nodes of a process know its own hints
        self.site = SiteMarks()  # by which it knows events of the site's other processes
        self.seal = Seal()  # and notices that go around the channel layer
        self.notice_numbers = count(1)
        self.log_throttle = LogThrottle(self.system.monotonic)
        self.health = Health()
        self.log = Log(self.system)
        self.receipts = Receipts(self.log, self.system)
        self.pruning = Pruning(self.log, self.system, self.health)
        self.in_flight = InFlightSends(self.system)
        self.hints = HintPublisher(self)
        self.commit = GroupCommit(self.log, self.hints, self.pruning, self.in_flight, self.system)
        self.limits = RateLimits(self.system)
        self.connections = ConnectionCounts()
        # The server takes the client's claim of an address for its address: a daphne says so on its command line.
        self.believes_claims = PROXY_HEADERS in sys.argv
        self.nodes: dict[asyncio.AbstractEventLoop, Node] = {}
        self.own_channels: set[str] = set()  # of the nodes, in the channel layer
        self.captured_sends: list[Any] | None = None  # each ASGI send as it arrives at a consumer, for a probe
        self._said: set[str] = set()

    def node(self) -> Node:
        """The node of the running event loop. Hold it (``with``) for as long as it is needed, or it may end."""
        loop = asyncio.get_running_loop()
        node = self.nodes.get(loop)
        if node is None:
            self._forget_closed_loops()
            node = self.nodes[loop] = Node(self, loop)
        return node

    def is_first_time(self, text: str) -> bool:
        """True when ``text`` comes for the first time, so that a log says it once; false when there are too many."""
        if text in self._said or len(self._said) >= MAX_SAID:
            return False
        self._said.add(text)
        return True

    def end(self) -> None:
        """Sends the last hints, and ends nodes on loops that were stopped and not closed, as a Twisted reactor's."""
        self.hints.flush()
        for loop, node in list(self.nodes.items()):
            if not (loop.is_running() or loop.is_closed()):
                node.end_with_loop(END_SECONDS)

    def context(self) -> Context:
        """A new context, in which this is the current process and nothing else is set."""
        context = Context()
        context.run(running_process.set, self)
        return context

    @contextmanager
    def active(self) -> Iterator[Process]:
        """Makes this the current process of the code inside, and of the tasks that it starts."""
        token = running_process.set(self)
        try:
            yield self
        finally:
            running_process.reset(token)

    def _forget_closed_loops(self) -> None:
        for loop, node in list(self.nodes.items()):
            if loop.is_closed():
                node.forget()


def call_if_alive(method: weakref.WeakMethod[Callable[[], Any]]) -> None:
    if (function := method()) is not None:
        function()


this_process = Process()
running_process: ContextVar[Process] = ContextVar("broadcast_process", default=this_process)


current_process = running_process.get
"""Returns the process object of the code that runs."""
