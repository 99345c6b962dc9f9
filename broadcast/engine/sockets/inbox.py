"""What clients of daphne say, and how much of it may wait."""

from __future__ import annotations

import asyncio
from typing import Any

from .daphne_send import has_all, protocol_within
from .daphne_socket import OF_ANY_TRANSPORT, below_tls

UNREAD_BYTES = 256 * 1024  # what may wait of a client that is not listened to
MAX_FRAGMENTS = 16 * 1024  # pieces of one message
FRAME_COST = 512  # bytes of memory that a frame takes beside its text
LOOK_EVERY = 0.05  # seconds
READ_BYTES = 8 * 1024  # of a client at a time; Twisted also holds a producer up when so much is unsent

OF_INPUT = ("application_queue", "dropConnection", "muted", "onMessageFrame")
OF_READING = ("bufferSize", "doRead")


class Inbox:
    """The way into daphne's queue of what a client said; without it the queue has no limit.

    While much of it waits, because the client floods or the database is slow, the client is not read.
    A message in very many pieces ends the connection: autobahn limits its bytes, and the pieces may have none.
    """

    __slots__ = ("_look", "_protocol", "_queue", "_size")

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._queue = protocol.application_queue
        self._size = 0  # bytes since nothing waited
        self._look: asyncio.TimerHandle | None = None

    def put_nowait(self, event: dict[str, Any]) -> None:
        if self._queue.empty():
            self._size = 0
        self._size += FRAME_COST + len(event.get("text") or event.get("bytes") or b"")
        self._queue.put_nowait(event)
        if self._size > UNREAD_BYTES:
            self._protocol.transport.pauseProducing()  # each time: a drained buffer has it read again
            if self._look is None:
                self._look_later()

    def add_fragment(self, payload: Any) -> None:
        """Takes the place of the protocol's ``onMessageFrame``."""
        protocol = self._protocol
        type(protocol).onMessageFrame(protocol, payload)
        if len(getattr(protocol, "message_data", ())) > MAX_FRAGMENTS:
            protocol.dropConnection(abort=True)

    def _look_later(self) -> None:
        self._look = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        if self._queue.empty() or self._protocol.muted:
            self._protocol.transport.resumeProducing()
        elif self._protocol.transport.connected:
            self._look_later()


def bound_input(send: Any) -> None:
    """Bounds what waits of the client behind an ASGI ``send`` of daphne; does nothing on another server."""
    protocol = protocol_within(send)
    if protocol is None or not (has_all(protocol, OF_INPUT) and has_all(protocol.transport, OF_ANY_TRANSPORT)):
        return
    if isinstance(protocol.application_queue, asyncio.Queue):
        protocol.application_queue = inbox = Inbox(protocol)
        protocol.onMessageFrame = inbox.add_fragment
        read_little_of(below_tls(protocol.transport))


def read_little_of(transport: Any) -> None:
    """Has little of a client read at a time: to parse it is work for the whole process, and others wait meanwhile."""
    if has_all(transport, OF_READING):
        transport.bufferSize = READ_BYTES
