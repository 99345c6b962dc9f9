"""The gate before autobahn's parser: what a client sends costs it its budget, frame by frame."""

from __future__ import annotations

import asyncio
from typing import Any

from ...throttle import Budget, Pool
from ..pacing import FLOODED
from .internals import OVERSPENT, pause_reading, resume_reading

FRAMES_PER_TURN = 8  # of one client in a turn of the event loop
LARGE_FRAME = 4096  # bytes: what frames that have so many bring is drawn from the pool as well
SMALL_READ = 256  # bytes: a read of fewer, in the midst of a frame, costs as much as a frame
LAST_SECONDS = 5.0  # that a client which floods has until it is cut off, whatever its consumer does

OF_PARSER = ("closedByMe", "consumeData", "dataReceived", "processData")


class FrameGate:
    """Lets one client's frames to the parser while it has a budget, and a few at a time.

    What was read and is not parsed waits, and the client is not read meanwhile. Who pours on is not read any more,
    and its consumer is told so, which closes the connection.
    """

    __slots__ = ("_begun", "_budget", "_is_large", "_pool", "_protocol", "_waiting")

    def __init__(self, protocol: Any, pool: Pool) -> None:
        self._protocol = protocol
        self._budget = Budget()
        self._pool = pool
        self._is_large = False  # the frame that is coming in
        self._begun = 0  # frames in this turn
        self._waiting: asyncio.TimerHandle | None = None

    def install(self) -> None:
        self._protocol.dataReceived = self.receive
        self._protocol.processData = self.process

    def receive(self, data: bytes) -> None:
        """Takes the place of the protocol's ``dataReceived``."""
        self._begun = 0
        self._budget.spend(0, len(data))
        type(self._protocol).dataReceived(self._protocol, data)
        if not self._begun and len(data) < SMALL_READ:
            self._budget.spend(1, 0)
        if self._is_large:
            self._draw(len(data))
        self._look()

    def process(self) -> bool:
        """Takes the place of the protocol's ``processData``, which parses a header or a payload."""
        protocol = self._protocol
        if protocol.current_frame is not None:
            return bool(type(protocol).processData(protocol))
        if not self._may_begin():
            return False
        more = type(protocol).processData(protocol)
        frame = protocol.current_frame
        if frame is not None:
            self._begun += 1
            self._is_large = self._is_large or frame.length >= LARGE_FRAME
            self._budget.spend(cost_of(frame), 0)
        return bool(more)

    def _draw(self, size: int) -> None:
        """Draws what was read from the pool; if that is empty, the client waits, which is not held against it."""
        wait = self._pool.draw(size)
        frame = self._protocol.current_frame
        self._is_large = frame is not None and frame.length >= LARGE_FRAME
        if wait > 0 and self._waiting is None:
            self._wait(wait)

    def _may_begin(self) -> bool:
        if self._waiting is None and self._begun >= FRAMES_PER_TURN:
            self._wait(0.0)
        self._look()
        return self._waiting is None

    def _look(self) -> None:
        """Holds the client up if it has spent its budget."""
        if self._waiting is None and self._budget.is_spent:
            wait = self._budget.refill(asyncio.get_running_loop().time())
            if wait and self._protocol.closedByMe:
                self._read_no_more()
            elif wait:
                self._wait(wait)

    def _wait(self, seconds: float) -> None:
        pause_reading(self._protocol.transport, OVERSPENT)
        self._waiting = asyncio.get_running_loop().call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._waiting = None
        protocol = self._protocol
        if not protocol.transport.connected:
            return
        if self._budget.is_poured_over:
            self._shut()
            return
        self._begun = 0
        try:
            protocol.consumeData()
        except Exception:
            protocol.transport.abortConnection()
            raise
        self._look()
        if self._waiting is None:
            resume_reading(protocol.transport, OVERSPENT)

    def _shut(self) -> None:
        """Has the consumer close the connection."""
        self._read_no_more()
        self._protocol.application_queue.put_nowait({"type": FLOODED})

    def _read_no_more(self) -> None:
        """Reads and parses nothing more of who pours on, also after it was told to go."""
        pause_reading(self._protocol.transport, OVERSPENT)
        self._waiting = asyncio.get_running_loop().call_later(LAST_SECONDS, self._cut_off)

    def _cut_off(self) -> None:
        if self._protocol.transport.connected:
            self._protocol.transport.abortConnection()


def cost_of(frame: Any) -> int:
    """A frame costs one; a large piece of a message nothing but its bytes."""
    return 0 if not frame.fin and frame.length >= LARGE_FRAME else 1
