"""daphne's sockets below ASGI: everything this app knows of the insides of daphne, Twisted and autobahn.

Whatever is not exactly as expected here makes ``socket_behind`` answer None, and the app use ASGI's ``send``.
"""

from __future__ import annotations

import functools
import socket
import sys
from collections.abc import Callable
from typing import Any

UNSENT_BYTES = 64 * 1024  # what the kernel may hold of a client that does not read
MAX_DEPTH = 16  # of middleware around ``send``


class DaphneSocket:
    """One open connection of daphne, seen below autobahn: bytes given here go to the kernel at once."""

    __slots__ = ("_on_drained", "_previous", "protocol", "transport")

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.transport = protocol.transport
        self._on_drained: Callable[[], None] | None = None
        self._previous: Any = None
        limit_kernel_buffer(self.transport.getHandle())

    @property
    def is_open(self) -> bool:
        transport = self.transport
        return bool(
            self.protocol.state == self.protocol.STATE_OPEN
            and transport.connected
            and not transport.disconnecting
            and not transport.disconnected
        )

    @property
    def is_clear(self) -> bool:
        """Whether nothing that was written before waits for the kernel to take it."""
        transport = self.transport
        return not (transport.dataBuffer or transport._tempDataLen or self.protocol.send_queue)

    def write_some(self, data: bytes) -> int:
        """Gives bytes to the kernel; how many it took. Raises ConnectionError if the client is gone."""
        taken = self.transport.writeSomeData(data)
        if isinstance(taken, int) and taken >= 0:
            return taken
        raise ConnectionError("the connection was lost")

    def hand_over(self, rest: bytes) -> None:
        """Leaves the rest of a frame to the server, which writes it as the kernel takes it."""
        self.transport.write(rest)

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Calls ``callback`` once, when all that waits has gone to the kernel.

        A pull producer of Twisted is asked for more at exactly that moment. The slot belongs to the
        HTTP channel, which wants nothing of it once the connection is a WebSocket.
        """
        if self._on_drained is None:
            self._previous = (self.transport.producer, self.transport.streamingProducer)
            self.transport.unregisterProducer()
            self.transport.registerProducer(self, False)
        self._on_drained = callback

    def mute(self) -> None:
        """Lets the server drop what the client still sends: nobody reads it any more."""
        self.protocol.muted = True

    def resumeProducing(self) -> None:
        callback, self._on_drained = self._on_drained, None
        if callback is None:
            return  # Twisted asks once when it is registered
        self.transport.unregisterProducer()
        producer, streaming = self._previous
        if producer is not None:
            self.transport.registerProducer(producer, streaming)
        callback()

    def stopProducing(self) -> None:
        self._on_drained = None


def limit_kernel_buffer(handle: socket.socket) -> None:
    """Keeps what a client has not read yet out of the kernel's memory, as far as the system can."""
    if handle.family == socket.AF_UNIX:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT_BYTES)
    elif hasattr(socket, "TCP_NOTSENT_LOWAT"):
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def socket_behind(send: Any) -> DaphneSocket | None:
    """The socket that an ASGI ``send`` of daphne ends in; None if it is not one to write to directly.

    That is for the types to say: daphne's TLS transport passes unknown attributes on to the raw
    socket, where plain bytes would end up in the middle of the TLS stream.
    """
    protocol = protocol_behind(send)
    if protocol is None:
        return None
    from twisted.internet import tcp

    transport = protocol.transport
    if not isinstance(transport, tcp.Connection) or getattr(transport, "TLS", False):
        return None
    if protocol._perMessageCompress is not None or not hasattr(protocol, "send_queue"):
        return None
    return DaphneSocket(protocol)


def server_behind(send: Any) -> Any:
    """The daphne server that an ASGI ``send`` belongs to, or None."""
    found = reply_behind(send)
    return getattr(found.func, "__self__", None) if found is not None else None


def protocol_behind(send: Any) -> Any:
    """The WebSocket protocol that an ASGI ``send`` of daphne replies to, or None."""
    found = reply_behind(send)
    if found is None:
        return None
    from daphne.ws_protocol import WebSocketProtocol

    protocol = found.args[0] if found.args else None
    return protocol if isinstance(protocol, WebSocketProtocol) else None


def reply_behind(send: Any) -> functools.partial[Any] | None:
    """daphne's ``partial(server.handle_reply, protocol)`` below the middleware that wrapped ``send``."""
    server = sys.modules.get("daphne.server")
    for _ in range(MAX_DEPTH):
        if isinstance(send, functools.partial):
            owner = getattr(send.func, "__self__", None)
            return send if server is not None and isinstance(owner, server.Server) else None
        send = getattr(getattr(send, "__self__", None), "real_send", None)
        if send is None:
            return None
    return None
