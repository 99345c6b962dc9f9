"""Neighbours: the other processes of a site that has no channel layer which reaches them, or one in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from channels.layers import InMemoryChannelLayer

from ...conf import conf
from ..log_lines import say
from .hint import Hint
from .layer import current_layer
from .notices import Event, Outbox
from .postgresql import NotifyWay
from .sockets import SocketWay
from .ways import Way

if TYPE_CHECKING:
    from ..node import Node
    from ..process import Process

T = TypeVar("T")


class Neighbours:
    """Tells other processes of messages and events by every way there is, and has nodes listen to all of them.

    Where a networked layer is configured, or ``HINTS_WITHOUT_LAYER`` is False, it does nothing.
    """

    def __init__(self, process: Process) -> None:
        self._system = process.system
        self._ways: Sequence[Way] = (self._system.hint_ways or ways_of_this_machine)(process)
        self._alone_until = 0.0

    @property
    def ways(self) -> Sequence[Way]:
        """The ways that are used: none of this machine's in a test run.

        There a process would meet those of the site's real database for as long as the test database is not made.
        """
        return () if self._system.hint_ways is None and self._system.is_under_test() else self._ways

    @property
    def is_alone(self) -> bool:
        """True while there is nobody to tell, as far as was seen a moment ago.

        Whoever begins to listen says so to all who do already; a loop that stands still hears nothing of it.
        """
        return self._system.monotonic() < self._alone_until

    def hear_of_others(self) -> None:
        self._alone_until = 0.0

    def tell(self, what: Hint | Event) -> None:
        """Tells of messages, or of an event for every node. Never raises."""
        outbox = Outbox.of_hint(what) if isinstance(what, Hint) else Outbox.of_event(what)
        for way in self.ways:
            attempt(way.send, outbox)

    def listen(self, node: Node) -> None:
        """Has a node listen, in whose loop this is called, or no more if there is a layer now. Never raises."""
        try:
            is_needed = needs_neighbours(current_layer())
        except Exception:  # the layer cannot be made, which the receiver tells of
            is_needed = False
        for way in self.ways:
            attempt(way.listen if is_needed else way.leave, node)
        is_alone = all(way.is_alone for way in self.ways)
        self._alone_until = self._system.monotonic() + 2 * conf.POLL_INTERVAL if is_alone else 0.0

    def leave(self, node: Node) -> None:
        self.hear_of_others()
        for way in self._ways:
            attempt(way.leave, node)

    def flush(self) -> None:
        for way in self._ways:
            way.flush()

    def abandon(self) -> None:
        for way in self._ways:
            way.abandon()


def ways_of_this_machine(process: Process) -> Sequence[Way]:
    """Sockets among the processes of the machine, and PostgreSQL among machines."""
    return [SocketWay(process), NotifyWay(process)]


def needs_neighbours(layer: Any) -> bool:
    """True where the channel layer reaches no other process."""
    return bool(conf.HINTS_WITHOUT_LAYER) and (layer is None or isinstance(layer, InMemoryChannelLayer))


def attempt(function: Callable[..., T], *args: Any) -> T | None:
    """Calls a function; what fails is logged and costs time, never a message."""
    try:
        return function(*args)
    except Exception as error:
        say(logging.WARNING, "Hints to other processes fail, so these hear of messages later", error=error)
        return None
