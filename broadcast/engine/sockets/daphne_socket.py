"""daphne's sockets below ASGI: everything this app knows of the insides of daphne, Twisted and autobahn.

Whatever is not exactly as expected here makes ``socket_behind`` answer None, and the app use ASGI's ``send``.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeGuard

UNSENT_BYTES = 64 * 1024  # what the kernel may hold of a client that does not read
UNREAD_BYTES = 256 * 1024  # what may wait of a client that is not listened to
MAX_FRAGMENTS = 16 * 1024  # pieces of one message
FRAME_COST = 512  # bytes of memory that a frame takes beside its text
LOOK_EVERY = 0.05  # seconds
MAX_DEPTH = 16  # of middleware around ``send``
MAX_WRAPPERS = 64  # looked into for a ``send`` that middleware of another kind has wrapped

OF_PROTOCOL = ("STATE_OPEN", "muted", "send_queue", "state")
OF_INPUT = ("application_queue", "dropConnection", "muted", "onMessageFrame")
OF_ANY_TRANSPORT = ("connected", "pauseProducing", "registerProducer", "resumeProducing", "unregisterProducer")
OF_TRANSPORT = (
    *OF_ANY_TRANSPORT,
    *("_tempDataLen", "abortConnection", "dataBuffer", "disconnected", "disconnecting", "getHandle"),
    *("producerPaused", "write"),
)

Reply = functools.partial[Any]


class Flow:
    """How a client of daphne takes what it is sent: whether much of it waits, and when none does any more.

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

    def pauseProducing(self) -> None:
        """A client that does not take the answers is not read either: each frame of it may cost another."""
        self.is_full = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.is_full = False
        self.transport.resumeProducing()
        callback, self._on_drained = self._on_drained, None
        if callback is not None:
            callback()

    def stopProducing(self) -> None:
        self._on_drained = None


class DaphneSocket(Flow):
    """One connection of daphne, seen below autobahn: bytes given here go to the kernel at once.

    The server writes too: the handshake, pings, answers, the close. It does so through here, so that its state and its
    buffers, which lie all over the memory, are looked at only when it has written since the last look.
    """

    __slots__ = ("_has_news", "_send", "_write", "protocol")

    def __init__(self, protocol: Any) -> None:
        super().__init__(protocol.transport)
        self.protocol = protocol
        self._has_news = True
        self._write = self.transport.write
        self.transport.write = self.hand_over
        if self.transport.connected:  # else it is never ready
            self._send = self.transport.getHandle().send
            limit_kernel_buffer(self.transport)

    @property
    def is_ready(self) -> bool:
        """Whether it is open and clear, so that a frame may be written."""
        if self._has_news:
            self._has_news = not (self.is_open and self.is_clear)
        return not self._has_news

    @property
    def is_open(self) -> bool:
        protocol, transport = self.protocol, self.transport
        return bool(
            protocol.state == type(protocol).STATE_OPEN
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
        """Gives bytes to the kernel; how many it took. Never raises: what is wrong shows to the server too."""
        try:
            taken: int = self._send(data)
        except OSError:
            return 0  # nothing for now, or nothing ever again: the server tries once more, and acts on it
        return taken

    def hand_over(self, rest: bytes) -> None:
        """Leaves bytes, such as the rest of a frame, to the server, which writes them as the kernel takes them."""
        self._has_news = True
        self._write(rest)

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Calls ``callback`` once, when all that waits has gone to the kernel, however little it is.

        Twisted asks a producer that it has paused for more at exactly that moment.
        """
        super().when_drained(callback)
        self.transport.producerPaused = True

    def drop_if_closing(self) -> None:
        """Ends a connection whose closing, begun by the client, waits behind what the client does not take."""
        if self.transport.disconnecting:
            self.transport.abortConnection()

    def mute(self) -> None:
        """Lets the server drop what the client still sends: nobody reads it any more."""
        self.protocol.muted = True


def limit_kernel_buffer(transport: Any) -> None:
    """Keeps what a client has not read yet out of the kernel's memory, as far as the system can."""
    handle = transport.getHandle()
    with suppress(OSError):
        if handle.family == socket.AF_UNIX:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT_BYTES)
        elif hasattr(socket, "TCP_NOTSENT_LOWAT"):
            handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


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


def socket_behind(send: Any) -> DaphneSocket | None:
    """The socket that an ASGI ``send`` of daphne ends in; None if it is not one to write to directly.

    That is for the types to say: daphne's TLS transport passes unknown attributes on to the raw
    socket, where plain bytes would end up in the middle of the TLS stream.
    """
    protocol = protocol_behind(send)
    if protocol is None or not has_all(protocol, OF_PROTOCOL):
        return None
    from twisted.internet import tcp

    transport = protocol.transport
    if not isinstance(transport, tcp.Connection) or getattr(transport, "TLS", False):
        return None
    return DaphneSocket(protocol) if has_all(transport, OF_TRANSPORT) else None


def flow_behind(send: Any) -> Flow | None:
    """What tells whether the client behind an ASGI ``send`` of daphne takes what it is sent, also with TLS.

    daphne's ``send`` itself never waits. None on another server.
    """
    protocol = protocol_within(send)
    if protocol is None or not has_all(protocol.transport, OF_ANY_TRANSPORT):
        return None
    from twisted.protocols.policies import ProtocolWrapper

    below = protocol.transport
    while isinstance(below, ProtocolWrapper):  # TLS
        below = below.transport
    if getattr(below, "connected", False) and has_all(below, ("getHandle",)):
        limit_kernel_buffer(below)
    return Flow(protocol.transport)


def has_all(thing: Any, names: tuple[str, ...]) -> bool:
    return all(hasattr(thing, name) for name in names)


def server_behind(send: Any) -> Any:
    """The daphne server that an ASGI ``send`` belongs to, or None."""
    found = reply_within(send)
    return found.func.__self__ if found is not None else None  # type: ignore[attr-defined]


def protocol_behind(send: Any) -> Any:
    """The WebSocket protocol that an ASGI ``send`` of daphne replies to, or None; with Channels' middleware between."""
    return protocol_of(reply_behind(send))


def protocol_within(send: Any) -> Any:
    """The same with any middleware between. It may change what it passes on, so it is not to be written past."""
    return protocol_of(reply_within(send))


def protocol_of(reply: Reply | None) -> Any:
    protocol = reply.args[0] if reply is not None and reply.args else None
    kind = getattr(sys.modules.get("daphne.ws_protocol"), "WebSocketProtocol", None)
    return protocol if kind is not None and isinstance(protocol, kind) and hasattr(protocol, "transport") else None


def reply_behind(send: Any) -> Reply | None:
    """daphne's ``partial(server.handle_reply, protocol)`` below the middleware of Channels that wrapped ``send``."""
    for _ in range(MAX_DEPTH):
        if isinstance(send, functools.partial):
            return send if is_reply(send) else None
        send = getattr(getattr(send, "__self__", None), "real_send", None)
        if send is None:
            return None
    return None


def reply_within(send: Any) -> Reply | None:
    """The same, wherever it is within what wraps ``send``."""
    wrappers = [send] if "daphne.server" in sys.modules else []
    for wrapper in wrappers:
        if is_reply(wrapper):
            return wrapper
        if len(wrappers) < MAX_WRAPPERS:
            wrappers += wrapped_in(wrapper)
    return None


def wrapped_in(wrapper: Any) -> list[Any]:
    """What a wrapper of ``send`` may pass on to: a function holds it in its closure, an object in an attribute."""
    held = [*getattr(getattr(wrapper, "__self__", wrapper), "__dict__", {}).values()]
    for cell in getattr(wrapper, "__closure__", None) or ():
        with suppress(ValueError):  # it is empty
            held.append(cell.cell_contents)
    if isinstance(wrapper, functools.partial):
        held += [wrapper.func, *wrapper.args, *wrapper.keywords.values()]
    return [each for each in held if callable(each) and not isinstance(each, type)]


def is_reply(send: Any) -> TypeGuard[Reply]:
    kind = getattr(sys.modules.get("daphne.server"), "Server", None)
    owner = getattr(send.func, "__self__", None) if isinstance(send, functools.partial) else None
    return kind is not None and isinstance(owner, kind)
