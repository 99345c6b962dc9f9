"""Connections whose client takes as many bytes as a test gives room for: on fakes, and on daphne's own objects."""

import asyncio
import errno
import functools
import json
import socket
from collections.abc import Callable
from typing import Any, Self
from unittest.mock import Mock

from daphne.server import Server
from daphne.ws_protocol import WebSocketFactory
from twisted.internet import tcp, unix
from twisted.internet.address import IPv4Address
from twisted.python.failure import Failure

from broadcast.engine.frames import Dialect, text_frame
from broadcast.engine.hub.position import Position
from broadcast.engine.hub.stream import GroupStream
from broadcast.engine.process import current_process
from broadcast.engine.transports.asgi import AsgiTransport
from broadcast.engine.transports.daphne.internals import UNSENT_BYTES, DaphneSocket, WriteBackpressure
from broadcast.engine.transports.direct import DirectTransport
from broadcast.engine.transports.transport import Transport
from tests.kit.fakes import ENDLESS, FakeSocket
from tests.kit.waiting import until

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)


def masked(payload: bytes, opcode: int = 1) -> bytes:
    """A frame of a client's; the mask is zero."""
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2)
    return bytes([0x80 | opcode]) + size + bytes(4) + payload


def split_frame(data: bytes) -> tuple[bytes | None, bytes]:
    """The payload of the first frame, which must be whole and unmasked, and what follows; None if it is not all there.

    The payload of a close is empty.
    """
    assert data[:1] in (b"", b"\x81", b"\x88"), "not the beginning of a frame"
    size, start = data[1] if len(data) > 1 else ENDLESS, 2
    if size in (126, 127):
        start = 4 if size == 126 else 10
        size = int.from_bytes(data[2:start]) if len(data) >= start else ENDLESS
    if len(data) < start + size:
        return None, data
    return b"" if data[0] == 0x88 else data[start : start + size], data[start + size :]


# daphne


class LoopReactor:
    """Twisted's reactor, as far as a transport needs one, on the loop of the test."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()

    def addReader(self, transport: Any) -> None:
        self.readers.add(transport)
        self.loop.add_reader(transport.fileno(), self.do, transport, transport.doRead)

    def removeReader(self, transport: Any) -> None:
        if transport in self.readers:
            self.readers.discard(transport)
            self.loop.remove_reader(transport.fileno())

    def addWriter(self, transport: Any) -> None:
        self.writers.add(transport)
        self.loop.add_writer(transport.fileno(), self.do, transport, transport.doWrite)

    def removeWriter(self, transport: Any) -> None:
        if transport in self.writers:
            self.writers.discard(transport)
            self.loop.remove_writer(transport.fileno())

    def do(self, transport: Any, work: Callable[[], Any]) -> None:
        if reason := work():
            self.removeReader(transport)
            self.removeWriter(transport)
            transport.connectionLost(Failure(reason))

    def callLater(self, delay: float, function: Any, *args: Any, **options: Any) -> Any:
        return self.loop.call_later(delay, functools.partial(function, *args, **options))


class Kernel:
    """A real socket whose kernel takes no more than there is ``room`` for; the next ``send`` raises ``error``."""

    def __init__(self, real: socket.socket) -> None:
        self.real = real
        self.room = ENDLESS
        self.error: Exception | None = None

    def send(self, data: bytes) -> int:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        if data and not self.room:
            raise BlockingIOError(errno.EAGAIN, "no room")
        taken = self.real.send(data[: self.room])
        self.room -= taken
        return taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.socket()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNSENT_BYTES)
        theirs.connect(listening.getsockname())
        return listening.accept()[0], theirs


class Connection:
    """A connection of a real daphne, autobahn and Twisted transport, without a server that listens."""

    def __init__(self, way: str = "tcp") -> None:
        ours, self.client = tcp_pair() if way == "tcp" else socket.socketpair()
        self.client.setblocking(False)
        self.reactor = LoopReactor()
        self.server = Server(self.application, endpoints=["tcp:0"])
        self.server.connections = {}
        self.server.ws_factory = WebSocketFactory(self.server, server="daphne")
        self.server.ws_factory.setProtocolOptions(autoPingTimeout=30, allowNullOrigin=True, openHandshakeTimeout=0)
        self.protocol = self.server.ws_factory.buildProtocol(None)
        self.protocol._raw_query_string = b""
        kind = tcp.Server if way == "tcp" else unix.Server
        self.transport = kind(ours, self.protocol, ("", 0), None, 0, self.reactor)
        self.transport.repstr = "test"
        self.transport.getHost = self.transport.getPeer = lambda: IPv4Address("TCP", "127.0.0.1", 1)
        self.transport.socket = self.kernel = Kernel(ours)
        self.channel = Mock()  # what had the transport's place for a producer: daphne's HTTP channel
        self.transport.registerProducer(self.channel, True)
        self.send: Any = None
        self.receive: Any = None
        self.received = b""

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        self.send, self.receive = send, receive
        await asyncio.Event().wait()

    async def open(self) -> Self:
        """Hands over to autobahn as daphne does, up to the accept."""
        self.protocol.makeConnection(self.transport)
        self.protocol.dataReceived(HANDSHAKE)
        await until(lambda: self.send)
        assert await self.receive() == {"type": "websocket.connect"}
        return self

    async def accept(self) -> None:
        await self.send({"type": "websocket.accept"})
        await until(lambda: b"\r\n\r\n" in self.read())
        self.received = self.received.partition(b"\r\n\r\n")[2]

    def read(self) -> bytes:
        """All that the client has received so far."""
        try:
            while data := self.client.recv(1024 * 1024):
                self.received += data
        except OSError:
            pass  # there is no more, or the socket is closed
        return self.received

    @property
    def is_read(self) -> bool:
        """Whether the server reads what the client says."""
        return self.transport in self.reactor.readers

    def say(self, payload: bytes, opcode: int = 1) -> None:
        self.client.sendall(masked(payload, opcode))

    def flood(self, data: bytes) -> "asyncio.Task[None]":
        """Says much, as the server reads it."""
        return asyncio.create_task(self.reactor.loop.sock_sendall(self.client, data))

    def drain(self, room: int = ENDLESS) -> None:
        """Has the kernel take so many bytes more, as soon as the loop runs."""
        self.kernel.room = room

    async def end(self) -> None:
        self.client.close()
        self.transport.abortConnection()
        await until(lambda: not self.transport.connected)
        for details in self.server.connections.values():
            details["application_instance"].cancel()
            await asyncio.wait([details["application_instance"]])


# Both ends of a connection


class Peer:
    """A transport, and the client at its other end. ``events`` are those that it sent by ASGI.

    Each kind has also ``start(dialect)`` and ``reply(event)``, the ``new_bytes`` that have arrived, and the number of
    those ``buffered`` in the server; ``take(room)``: the client takes so many bytes from now on, and then none;
    ``vanish``: it is gone without a word; ``leave``: it closes, and then waits for the server; ``is_dropped``: the
    server has hung up, although the client had not taken everything.
    """

    transport: Transport

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.send_error: Exception | None = None  # of each ASGI send
        self._next_error: Exception | None = None
        self.texts: list[bytes] = []
        self._frames: list[dict[str, Any]] = []
        self._rest = b""

    async def send(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        if self.send_error is not None:
            raise self.send_error
        if self._next_error is not None:
            error, self._next_error = self._next_error, None
            raise error
        await self.reply(event)

    def follow(self, stream: GroupStream, after: int | None = None) -> Position:
        position, _ = stream.follow(self.transport, after, stream.epoch)
        self.transport.follow(position)
        return position

    @property
    def received(self) -> list[dict[str, Any]]:
        """Each frame that has arrived whole, also within an array; ``texts`` has them as they came."""
        payload, self._rest = split_frame(self._rest + self.new_bytes())
        while payload is not None:
            if payload:
                self.texts.append(payload)
                frames = json.loads(payload)
                self._frames += frames if isinstance(frames, list) else [frames]
            payload, self._rest = split_frame(self._rest)
        return self._frames

    @property
    def offsets(self) -> list[Any]:
        return [fields["offset"] for fields in self.received]

    @property
    def types(self) -> list[str]:
        return [fields["type"] for fields in self.received]

    @property
    def close_codes(self) -> list[int]:
        return [event["code"] for event in self.events if event["type"] == "websocket.close"]

    def fail_next(self, error: Exception) -> None:
        """Has the next write fail in a way that nobody foresaw."""
        self._next_error = error

    async def end(self) -> None:
        await self.transport.close()


class FakePeer(Peer):
    def __init__(self) -> None:
        super().__init__()
        self.socket = FakeSocket()

    def new_bytes(self) -> bytes:
        data, self.socket.taken = self.socket.taken, b""
        return data

    @property
    def buffered(self) -> int:
        return len(self.socket.buffer)

    def take(self, room: int = ENDLESS) -> None:
        self.socket.drain(room)

    async def reply(self, event: dict[str, Any]) -> None:
        if event["type"] == "websocket.close":
            self.socket.close()
        else:
            self.socket.write(text_frame(event["text"]))

    async def leave(self) -> None:
        self.socket.close()

    @property
    def is_dropped(self) -> bool:
        return self.socket.is_dropped


class AsgiPeer(FakePeer):
    """On a server whose ``send`` waits for the client."""

    @classmethod
    async def start(cls, dialect: Dialect) -> Self:
        peer = cls()
        peer.transport = AsgiTransport(peer.send, dialect, current_process().node().scheduler)
        return peer

    async def send(self, event: dict[str, Any]) -> None:
        await super().send(event)
        while self.socket.buffer:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    def vanish(self) -> None:
        self.send_error = ConnectionResetError()


class DirectPeer(FakePeer):
    """On a fake of daphne's socket."""

    @classmethod
    async def start(cls, dialect: Dialect) -> Self:
        peer = cls()
        socket: Any = peer.socket
        peer.transport = DirectTransport(peer.send, dialect, socket, current_process().node().scheduler)
        return peer

    def fail_next(self, error: Exception) -> None:
        self.socket.error = error

    def vanish(self) -> None:
        self.socket.is_lost = True


class DaphnePeer(Peer):
    """On daphne's own objects."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = Connection("unix")

    @classmethod
    async def start(cls, dialect: Dialect) -> Self:
        peer = cls()
        await peer.connection.open()
        await peer.connection.accept()
        peer.begin(dialect)
        return peer

    async def reply(self, event: dict[str, Any]) -> None:
        await self.connection.send(event)

    def new_bytes(self) -> bytes:
        data, self.connection.received = self.connection.read(), b""
        return data

    @property
    def buffered(self) -> int:
        transport = self.connection.transport
        return len(transport.dataBuffer) - int(transport.offset) + int(transport._tempDataLen)

    def take(self, room: int = ENDLESS) -> None:
        self.connection.drain(room)

    def vanish(self) -> None:
        self.connection.client.close()

    async def leave(self) -> None:
        self.connection.say((1000).to_bytes(2), opcode=8)
        await until(lambda: self.connection.transport.disconnecting)

    @property
    def is_dropped(self) -> bool:
        return not self.connection.transport.connected

    async def end(self) -> None:
        await super().end()
        await self.connection.end()


class DirectDaphnePeer(DaphnePeer):
    def begin(self, dialect: Dialect) -> None:
        socket = DaphneSocket(self.connection.protocol)
        self.transport = DirectTransport(self.send, dialect, socket, current_process().node().scheduler)

    def fail_next(self, error: Exception) -> None:
        self.connection.kernel.error = error


class AsgiDaphnePeer(DaphnePeer):
    """On a daphne that says of every byte whether the client has taken it."""

    def begin(self, dialect: Dialect) -> None:
        self.connection.transport.bufferSize = 20  # a pong has room in it, and no message
        scheduler = current_process().node().scheduler
        self.transport = AsgiTransport(self.send, dialect, scheduler)
        self.transport.backpressure = WriteBackpressure(self.connection.transport)


PEERS: dict[str, type[Peer]] = {
    "asgi": AsgiPeer,
    "asgi with backpressure": AsgiDaphnePeer,
    "direct": DirectPeer,
    "direct on daphne": DirectDaphnePeer,
}
