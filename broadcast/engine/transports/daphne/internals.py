"""Connections of daphne below autobahn: writing to their sockets, write backpressure, and pauses in reading."""

from __future__ import annotations

import asyncio
import socket
from bisect import bisect_right
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from ..direct import unheard
from .behind import DaphneConnection, has_all

SWITCHING = b"HTTP/1.1 101 "  # how the answer to a handshake begins
STAYING = (b"\x81", b"\x82", b"\x89", b"\x8a")  # how all frames but a close begin (RFC 6455, section 5.2)
UNSENT_BYTES = 64 * 1024  # what the kernel may hold of a client that does not read

OF_PROTOCOL = ("STATE_OPEN", "muted", "send_queue", "state")
OF_ANY_TRANSPORT = (
    *("abortConnection", "connected", "disconnecting", "pauseProducing", "registerProducer", "resumeProducing"),
    "unregisterProducer",
)
OF_TRANSPORT = (
    *OF_ANY_TRANSPORT,
    *("_tempDataLen", "dataBuffer", "disconnected", "getHandle", "producerPaused", "write"),
)

UNSENT, UNREAD, OVERSPENT = 1, 2, 4  # reasons for which a client is not read
CLOSE_SECONDS = 2  # that a client has to answer a close; autobahn ends it at a whole second, up to one earlier


def allow_time_to_close(protocol: Any) -> None:
    """Gives a client a second at least to answer a close; autobahn's own time-out may end in the next millisecond.

    Who has not answered by then is cut off, and what it has not received yet, such as a ``bye``, is lost.
    """
    if has_all(protocol, ("closeHandshakeTimeout",)):
        protocol.closeHandshakeTimeout = CLOSE_SECONDS


def pause_reading(transport: Any, reason: int) -> None:
    """Stops to read a client, for one reason of several."""
    transport.broadcast_pauses = vars(transport).get("broadcast_pauses", 0) | reason
    transport.pauseProducing()


def resume_reading(transport: Any, reason: int) -> None:
    """Reads a client again once no reason is left for which it is not."""
    left = vars(transport).get("broadcast_pauses", 0) & ~reason
    transport.broadcast_pauses = left
    if not left:
        transport.resumeProducing()


class WriteBackpressure:
    """Write backpressure of one daphne connection: is its buffer full, and when has it drained?

    It takes the transport's place for a producer, which tells both. The HTTP channel that had it wants
    nothing of it once the connection is a WebSocket.
    """

    __slots__ = ("_on_drained", "is_full", "transport")

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.is_full = False
        self._on_drained: Callable[[], None] | None = None
        transport.unregisterProducer()
        transport.registerProducer(self, True)

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Calls ``callback`` once, when a full buffer has become empty."""
        self._on_drained = callback

    def abort_if_closing(self) -> None:
        """Ends a connection whose closing, begun by the client, waits behind what the client does not take."""
        if self.transport.disconnecting:
            self.transport.abortConnection()

    def pauseProducing(self) -> None:
        """A client that does not take the answers is not read either: each frame of it may cost another."""
        self.is_full = True
        pause_reading(self.transport, UNSENT)

    def resumeProducing(self) -> None:
        self.is_full = False
        resume_reading(self.transport, UNSENT)
        callback, self._on_drained = self._on_drained, None
        if callback is not None:
            callback()

    def stopProducing(self) -> None:
        self._on_drained = None


class DaphneSocket(WriteBackpressure):
    """One connection of daphne, seen below autobahn: bytes given here go to the kernel at once.

    The server writes too: the handshake, pings, answers, the close. It does so through here, also at once, where
    nothing waits before it; else, and when it closes, ``on_news`` is called. Until then nobody has to look at its state
    and its buffers, which lie all over the memory.
    """

    __slots__ = ("_held", "on_news", "protocol", "send_now")

    def __init__(self, protocol: Any) -> None:
        super().__init__(protocol.transport)
        self.protocol = protocol
        self.on_news: Callable[[], None] = unheard
        self._held = b""
        self.transport.write = self.write
        self.transport.writeSequence = self.write_parts
        if self.transport.connected:  # else it is never ready
            self.send_now: Callable[[bytes], int] = self.transport.getHandle().send
            limit_kernel_buffer(self.transport.getHandle())

    def is_ready(self) -> bool:
        return self.is_open and self.is_clear

    @property
    def is_open(self) -> bool:
        return self.protocol.state == type(self.protocol).STATE_OPEN and self.is_connected

    @property
    def is_connected(self) -> bool:
        transport = self.transport
        return bool(transport.connected and not transport.disconnecting and not transport.disconnected)

    @property
    def is_clear(self) -> bool:
        """True if nothing that was written before still waits for the kernel."""
        transport = self.transport
        return not (transport.dataBuffer or transport._tempDataLen or self.protocol.send_queue or self._held)

    def write(self, data: bytes) -> None:
        """Takes the place of the transport's ``write``. The answer to the handshake waits a turn for the welcome."""
        data = self._held + data
        if data.startswith(SWITCHING) and not self._held:
            self._held = data
            asyncio.get_running_loop().call_soon(self._write_held)
            return
        self._held = b""
        taken = 0
        if self.is_connected and self.is_clear:
            with suppress(OSError):  # nothing for now, or nothing ever again: the server tries again, and acts on it
                taken = self.send_now(data)
        if taken < len(data):
            self.write_buffered(data[taken:])
        elif not data.startswith(STAYING):
            self.on_news()

    def write_parts(self, parts: Iterable[bytes]) -> None:
        """Takes the place of the transport's ``writeSequence``."""
        self.write(b"".join(parts))

    def _write_held(self) -> None:
        if self._held:
            self.write(b"")

    def write_buffered(self, rest: bytes) -> None:
        """Leaves bytes, such as the rest of a frame, to the server, which writes them as the kernel takes them."""
        self.on_news()
        type(self.transport).write(self.transport, rest)

    def hand_over(self, data: bytes, taken: int, ends: list[int]) -> int:
        whole = bisect_right(ends, taken)
        self.write_buffered(data[taken : ends[whole]])
        return whole + 1

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Twisted asks a producer that it has paused for more at exactly that moment."""
        super().when_drained(callback)
        self.transport.producerPaused = True

    def mute(self) -> None:
        """Lets the server drop what the client still sends: nobody reads it any more."""
        self.protocol.muted = True


def limit_kernel_buffer(handle: socket.socket) -> None:
    """Keeps what a client has not read yet out of the kernel's memory, as far as the system can."""
    with suppress(OSError):
        if handle.family == socket.AF_UNIX:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT_BYTES)
        elif hasattr(socket, "TCP_NOTSENT_LOWAT"):
            handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def below_tls(transport: Any) -> Any:
    """The transport of the socket itself."""
    from twisted.protocols.policies import ProtocolWrapper

    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport


def socket_of(daphne: DaphneConnection) -> DaphneSocket | None:
    """The socket of a connection; None if it is not one to write to directly.

    That is for the types to say: daphne's TLS transport passes unknown attributes on to the raw
    socket, where plain bytes would end up in the middle of the TLS stream.
    """
    protocol = daphne.protocol
    if daphne.is_wrapped or protocol is None or not has_all(protocol, OF_PROTOCOL):
        return None
    from twisted.internet import tcp

    transport = protocol.transport
    if not isinstance(transport, tcp.Connection) or getattr(transport, "TLS", False):
        return None
    return DaphneSocket(protocol) if has_all(transport, OF_TRANSPORT) else None


def backpressure_of(daphne: DaphneConnection) -> WriteBackpressure | None:
    """Write backpressure where a connection is written to by ASGI, also with TLS: daphne's ``send`` never waits."""
    protocol = daphne.protocol
    if protocol is None or not has_all(protocol.transport, OF_ANY_TRANSPORT):
        return None
    below = below_tls(protocol.transport)
    if getattr(below, "connected", False) and has_all(below, ("getHandle",)):
        limit_kernel_buffer(below.getHandle())
    return WriteBackpressure(protocol.transport)
