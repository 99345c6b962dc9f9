"""What is assumed of daphne, Twisted and autobahn, held against those that are installed.

A version of theirs that breaks an assumption makes a test here fail, and the app only slower.
"""

import asyncio
import errno
import functools
import logging
import socket as sockets
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.security.websocket import AllowedHostsOriginValidator
from daphne.server import Server
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from twisted.internet import tcp, unix
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from broadcast.engine.frames import Dialect, text_frame
from broadcast.engine.transports import connect as connecting
from broadcast.engine.transports.asgi import AsgiTransport
from broadcast.engine.transports.connect import transport_for
from broadcast.engine.transports.daphne import internals as daphne_socket
from broadcast.engine.transports.daphne import receive as inbox
from broadcast.engine.transports.daphne.internals import (
    MAX_DEPTH,
    OF_ANY_TRANSPORT,
    OF_PROTOCOL,
    OF_TRANSPORT,
    UNSENT_BYTES,
    DaphneSocket,
    WriteBackpressure,
    backpressure_behind,
    below_tls,
    protocol_behind,
    reply_behind,
    server_behind,
    socket_behind,
)
from broadcast.engine.transports.daphne.receive import (
    LOOK_EVERY,
    MAX_FRAGMENTS,
    OF_INPUT,
    OF_READING,
    READ_BYTES,
    UNREAD_BYTES,
    limit_unread,
    read_little_of,
)
from broadcast.engine.transports.direct import DirectTransport
from tests.kit.waiting import until

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)


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


class Connection:
    """A connection of a real daphne, autobahn and Twisted transport, without a server that listens."""

    def __init__(self, ours: sockets.socket, theirs: sockets.socket, kind: type = tcp.Server) -> None:
        self.client = theirs
        self.client.setblocking(False)
        self.reactor = LoopReactor()
        self.server = Server(self.application, endpoints=["tcp:0"])
        self.server.connections = {}
        self.server.ws_factory = WebSocketFactory(self.server, server="daphne")
        self.server.ws_factory.setProtocolOptions(autoPingTimeout=30, allowNullOrigin=True, openHandshakeTimeout=0)
        self.protocol = self.server.ws_factory.buildProtocol(None)
        self.protocol._raw_query_string = b""
        self.transport = kind(ours, self.protocol, ("", 0), None, 0, self.reactor)
        self.transport.repstr = "test"
        self.transport.getHost = self.transport.getPeer = lambda: IPv4Address("TCP", "127.0.0.1", 1)
        self.channel = Producer()
        self.transport.registerProducer(self.channel, True)
        self.send: Any = None
        self.receive: Any = None
        self.received = b""

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        self.send, self.receive = send, receive
        await asyncio.Event().wait()

    async def open(self) -> None:
        """Hands over to autobahn as daphne does, up to the accept."""
        self.protocol.makeConnection(self.transport)
        self.protocol.dataReceived(HANDSHAKE)
        await until(lambda: self.send)
        assert await self.receive() == {"type": "websocket.connect"}

    async def accept(self) -> None:
        await self.send({"type": "websocket.accept"})
        await until(lambda: b"\r\n\r\n" in self.read())
        self.received = self.received.partition(b"\r\n\r\n")[2]

    def read(self) -> bytes:
        """All that the client has received so far."""
        try:
            while data := self.client.recv(1024 * 1024):
                self.received += data
        except (BlockingIOError, ConnectionError):
            pass
        return self.received

    def say(self, payload: bytes, opcode: int = 1) -> None:
        self.client.sendall(masked(payload, opcode))

    async def end(self) -> None:
        self.client.close()
        await until(lambda: not self.transport.connected)
        for details in self.server.connections.values():
            details["application_instance"].cancel()
            await asyncio.wait([details["application_instance"]])


def masked(payload: bytes, opcode: int = 1) -> bytes:
    """A frame of a client's; the mask is zero."""
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2)
    return bytes([0x80 | opcode]) + size + bytes(4) + payload


class Producer:
    """What had the transport's place for a producer: daphne's HTTP channel."""

    def resumeProducing(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def stopProducing(self) -> None: ...


def tcp_pair() -> tuple[sockets.socket, sockets.socket]:
    with sockets.create_server(("127.0.0.1", 0)) as listening:
        theirs = sockets.socket()
        theirs.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, UNSENT_BYTES)
        theirs.connect(listening.getsockname())
        return listening.accept()[0], theirs


@pytest.fixture(params=["tcp", "unix"])
async def connection(request: pytest.FixtureRequest) -> AsyncIterator[Connection]:
    """A connection that daphne has handed to the application, not yet accepted."""
    found = Connection(*tcp_pair()) if request.param == "tcp" else Connection(*sockets.socketpair(), kind=unix.Server)
    await found.open()
    yield found
    await found.end()


@pytest.fixture
async def tcp_connection() -> AsyncIterator[Connection]:
    found = Connection(*tcp_pair())
    await found.open()
    yield found
    await found.end()


def found(connection: Connection) -> DaphneSocket:
    socket = socket_behind(connection.send)
    assert socket is not None
    return socket


def whole(data: bytes) -> bool:
    """Whether these are whole frames of ours, one after another."""
    while data:
        assert data[0] == 0x81
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4]), 4
        if len(data) < start + size:
            return False
        data = data[start + size :]
    return True


# Finding it


async def test_daphne_hands_out_a_partial_of_its_server_and_the_protocol(connection: Connection) -> None:
    assert isinstance(connection.send, functools.partial)
    assert connection.send.func.__name__ == "handle_reply"
    assert reply_behind(connection.send) is connection.send
    assert server_behind(connection.send) is connection.server
    assert protocol_behind(connection.send) is connection.protocol
    assert isinstance(connection.protocol, WebSocketProtocol)


async def test_it_has_all_that_is_expected_of_it(connection: Connection) -> None:
    assert [name for name in OF_PROTOCOL if not hasattr(connection.protocol, name)] == []
    assert [name for name in OF_TRANSPORT if not hasattr(connection.transport, name)] == []
    assert connection.transport.dataBuffer == b""
    assert connection.transport._tempDataLen == 0
    assert len(connection.protocol.send_queue) == 0
    assert (connection.transport.producerPaused, connection.transport.streamingProducer) == (False, True)
    assert isinstance(connection.protocol.application_queue, asyncio.Queue)
    assert found(connection).transport is connection.transport


@pytest.mark.parametrize("name", sorted({*OF_PROTOCOL, *OF_TRANSPORT}))
async def test_without_any_one_of_them_it_is_left_alone(
    tcp_connection: Connection, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(daphne_socket, "OF_PROTOCOL" if name in OF_PROTOCOL else "OF_TRANSPORT", (f"{name}_of_old",))
    assert socket_behind(tcp_connection.send) is None
    assert tcp_connection.transport.producer is tcp_connection.channel


@pytest.mark.django_db(transaction=True)
async def test_it_is_found_behind_the_middleware_of_channels(tcp_connection: Connection) -> None:
    sends: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        sends.append(send)

    scope = {"type": "websocket", "path": "/", "headers": [(b"origin", b"http://testserver")]}
    stack = AllowedHostsOriginValidator(AuthMiddlewareStack(application))
    await stack(scope, tcp_connection.receive, tcp_connection.send)
    assert sends[0] is not tcp_connection.send
    assert sends[0].__self__.real_send is tcp_connection.send
    assert protocol_behind(sends[0]) is tcp_connection.protocol


class Middleware:
    def __init__(self, real_send: Any) -> None:
        self.real_send = real_send

    async def send(self, event: dict[str, Any]) -> None: ...


async def test_it_is_found_behind_so_many_and_no_more(tcp_connection: Connection) -> None:
    send: Any = tcp_connection.send
    for _ in range(MAX_DEPTH - 1):
        send = Middleware(send).send
    assert protocol_behind(send) is tcp_connection.protocol
    assert protocol_behind(Middleware(send).send) is None
    circle = Middleware(None)
    circle.real_send = circle.send
    assert socket_behind(circle.send) is None


def in_a_closure(send: Any) -> Any:
    async def changed(event: dict[str, Any]) -> None:
        await send(event)

    return changed


def in_a_decorator(send: Any) -> Any:
    return functools.wraps(send.func)(in_a_closure(send))


class Changing:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, event: dict[str, Any]) -> None: ...
    async def send(self, event: dict[str, Any]) -> None: ...


async def passed_on(send: Any, event: dict[str, Any]) -> None: ...


WRAPPINGS: dict[str, Callable[[Any], Any]] = {
    "closure": in_a_closure,
    "decorator": in_a_decorator,
    "object": Changing,
    "method": lambda send: Changing(send).send,
    "partial": lambda send: functools.partial(passed_on, send),
    "keyword": lambda send: functools.partial(passed_on, send=send),
    "several": lambda send: in_a_closure(Changing(functools.partial(passed_on, in_a_closure(send))).send),
    "below Channels": lambda send: Middleware(in_a_closure(send)).send,
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
async def test_what_middleware_of_another_kind_wraps_is_watched_and_never_written_past(
    tcp_connection: Connection, wrapping: str
) -> None:
    """It may change what it passes on; without being watched, who reads nothing would fill the memory."""
    send = WRAPPINGS[wrapping](tcp_connection.send)
    assert socket_behind(send) is None
    assert server_behind(send) is tcp_connection.server
    limit_unread(send)
    assert type(tcp_connection.protocol.application_queue) is inbox.ReceiveLimit
    flow = backpressure_behind(send)
    assert flow is not None
    assert flow.transport.producer is flow


async def test_a_wrapper_that_holds_itself_or_nothing_yet_is_no_failure(tcp_connection: Connection) -> None:
    circle = Changing(None)
    circle.inner = circle

    async def out_of_order(event: dict[str, Any]) -> None:
        await later(event)

    assert (backpressure_behind(circle), backpressure_behind(out_of_order)) == (None, None)
    later = tcp_connection.send


async def _plain_send(event: dict[str, Any]) -> None: ...


@pytest.mark.parametrize(
    "send",
    [
        _plain_send,
        functools.partial(_plain_send, {}),
        functools.partial(_plain_send),
        asyncio.Queue().put,
        Middleware(None).send,
        Middleware(_plain_send).send,
        lambda event: None,
        None,
        object(),
    ],
)
def test_others_have_none(send: Any) -> None:
    assert socket_behind(send) is None
    assert server_behind(send) is None
    assert backpressure_behind(send) is None
    limit_unread(send)


async def test_a_server_without_a_protocol_or_with_another_has_none(tcp_connection: Connection) -> None:
    server = tcp_connection.server
    for args in ((), (None,), (object(),), (Protocol(),), (server,)):
        assert socket_behind(functools.partial(server.handle_reply, *args)) is None
        assert server_behind(functools.partial(server.handle_reply, *args)) is server


async def test_without_daphne_there_is_none(tcp_connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("daphne.ws_protocol", "daphne.server"):
        monkeypatch.delitem(sys.modules, module)
        assert socket_behind(tcp_connection.send) is None


async def test_tls_is_never_written_to(tcp_connection: Connection) -> None:
    """daphne's TLS transport passes unknown attributes on: only its type tells."""
    factory = TLSMemoryBIOFactory.__new__(TLSMemoryBIOFactory)
    wrapper = TLSMemoryBIOProtocol.__new__(TLSMemoryBIOProtocol)
    wrapper.factory, wrapper.wrappedProtocol = factory, tcp_connection.protocol
    wrapper.transport = tcp_connection.transport
    tcp_connection.protocol.transport = wrapper
    assert wrapper.writeSomeData
    assert wrapper._tempDataLen == 0
    assert socket_behind(tcp_connection.send) is None
    tcp_connection.protocol.transport = tcp_connection.transport


async def test_a_transport_that_has_switched_to_tls_is_never_written_to(tcp_connection: Connection) -> None:
    assert tcp_connection.transport.TLS is False
    tcp_connection.transport.TLS = True
    assert socket_behind(tcp_connection.send) is None
    tcp_connection.transport.TLS = False


async def test_a_client_that_is_gone_before_the_accept_is_no_failure(tcp_connection: Connection) -> None:
    tcp_connection.client.close()
    await until(lambda: not tcp_connection.transport.connected)
    socket = found(tcp_connection)
    assert not socket.is_open
    socket.when_drained(lambda: None)
    socket.mute()


# Which way


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    monkeypatch.setattr(connecting, "said", set())
    caplog.set_level(logging.INFO, "broadcast")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "broadcast"]


async def test_daphne_is_written_to_directly_and_the_log_says_so_once(
    tcp_connection: Connection, said: Callable[[], list[str]]
) -> None:
    for _ in range(3):
        assert isinstance(transport_for(tcp_connection.send, Dialect.V1), DirectTransport)
    assert said() == ["Connections are written to directly (daphne)"]


async def test_a_setting_turns_it_off(tcp_connection: Connection, said: Callable[[], list[str]], settings: Any) -> None:
    settings.BROADCAST = {"DIRECT_WRITES": False}
    for _ in range(3):
        assert isinstance(transport_for(tcp_connection.send, Dialect.V1), AsgiTransport)
    assert said() == ["Connections are written to by the server (ASGI send)"]
    assert type(tcp_connection.transport.producer) is WriteBackpressure


async def test_another_server_is_written_to_by_asgi(said: Callable[[], list[str]]) -> None:
    assert isinstance(transport_for(_plain_send, Dialect.V1), AsgiTransport)
    assert said() == ["Connections are written to by the server (ASGI send)"]


# Writing


async def test_it_opens_with_the_accept_and_shuts_with_the_close(connection: Connection) -> None:
    socket = found(connection)
    assert not socket.is_open
    await connection.send({"type": "websocket.accept"})
    assert socket.is_open  # in the same turn
    await connection.send({"type": "websocket.close", "code": 4000})
    assert not socket.is_open
    connection.say((4000).to_bytes(2), opcode=8)
    await until(lambda: not connection.transport.connected)
    assert not socket.is_open


@pytest.mark.parametrize("frame", ["sendPing", "sendPong"])
async def test_it_is_not_ready_while_the_servers_own_frames_wait(connection: Connection, frame: str) -> None:
    socket = found(connection)
    await connection.accept()
    assert socket.is_ready
    getattr(connection.protocol, frame)(b"alive")
    assert not socket.is_ready
    await until(lambda: connection.read().endswith(b"\x05alive"))
    await until(lambda: socket.is_ready)


async def test_it_is_never_ready_again_when_the_client_has_closed(connection: Connection) -> None:
    socket = found(connection)
    await connection.accept()
    assert socket.is_ready
    connection.say((1000).to_bytes(2), opcode=8)
    await until(lambda: connection.read().endswith(b"\x88\x02" + (1000).to_bytes(2)))
    assert not socket.is_ready
    await until(lambda: not connection.transport.connected)
    assert not socket.is_ready


async def test_it_is_ready_from_the_accept_to_the_close(connection: Connection) -> None:
    socket = found(connection)
    assert not socket.is_ready
    await connection.send({"type": "websocket.accept"})
    assert not socket.is_ready
    await until(lambda: socket.is_ready)
    await connection.send({"type": "websocket.send", "text": "hi"})
    assert not socket.is_ready
    await until(lambda: socket.is_ready)
    await connection.send({"type": "websocket.close", "code": 4000})
    assert not socket.is_ready
    await until(lambda: connection.read().endswith(b"\x88\x02" + (4000).to_bytes(2)))
    assert not socket.is_ready


async def test_it_shuts_when_the_client_closes_or_vanishes(connection: Connection) -> None:
    socket = found(connection)
    await connection.accept()
    connection.client.close()
    await until(lambda: not socket.is_open)


async def test_compression_is_not_agreed_upon(connection: Connection) -> None:
    """The client of these tests offers it."""
    await connection.send({"type": "websocket.accept"})
    await until(lambda: b"\r\n\r\n" in connection.read())
    assert b"permessage" not in connection.received.lower()
    assert connection.protocol._perMessageCompress is None


async def test_bytes_are_with_the_client_at_once(connection: Connection) -> None:
    socket = found(connection)
    await connection.accept()
    data = text_frame('{"body":"hi"}')
    assert socket.write_some(data) == len(data)
    assert connection.read() == data


async def test_what_asgi_sends_waits_for_the_loop_and_can_be_seen(connection: Connection) -> None:
    """So whoever writes directly must let it go first."""
    socket = found(connection)
    await connection.accept()
    assert socket.is_clear
    drained: list[bytes] = []
    await connection.send({"type": "websocket.send", "text": "first"})
    assert not socket.is_clear
    socket.when_drained(lambda: drained.append(connection.read()))
    await until(lambda: drained)
    assert socket.is_clear
    assert drained == [text_frame("first")]


async def test_a_full_kernel_takes_a_part_the_rest_follows_and_then_it_is_drained(connection: Connection) -> None:
    socket = found(connection)
    await connection.accept()
    frame = text_frame("x" * 50_000)
    taken, total = len(frame), 0
    while taken == len(frame):
        taken = socket.write_some(frame)
        total += len(frame)
    socket.hand_over(frame[taken:])
    drained: list[bool] = []
    socket.when_drained(lambda: drained.append(socket.is_clear))
    assert not socket.is_clear
    await asyncio.sleep(0.01)
    assert drained == []
    await until(lambda: len(connection.read()) == total)
    assert whole(connection.received)
    await until(lambda: drained == [True])
    await connection.send({"type": "websocket.send", "text": "hi"})
    await until(lambda: connection.read().endswith(text_frame("hi")))
    assert drained == [True]  # once


async def test_a_frame_sent_by_asgi_meanwhile_comes_after_the_rest(connection: Connection) -> None:
    socket = found(connection)
    await connection.accept()
    frame = text_frame("x" * 50_000)
    while (taken := socket.write_some(frame)) == len(frame):
        pass
    socket.hand_over(frame[taken:])
    await connection.send({"type": "websocket.send", "text": "pong"})
    await until(lambda: connection.read().endswith(text_frame("pong")))
    assert whole(connection.received)


async def test_the_kernel_holds_little(connection: Connection) -> None:
    socket = found(connection)
    await connection.accept()
    written = 0
    while taken := socket.write_some(b"x" * 32_768):
        written += taken
    assert written <= 6 * UNSENT_BYTES


async def test_one_that_is_lost_is_noticed_by_the_server_also_while_it_is_not_read(connection: Connection) -> None:
    socket = found(connection)
    await connection.accept()
    connection.transport.pauseProducing()
    connection.client.close()
    frame = text_frame("x" * 1000)
    while socket.write_some(frame):
        pass
    socket.hand_over(frame)
    await until(lambda: not connection.transport.connected)


class Short:
    """A socket whose kernel is short of memory for a while."""

    def __init__(self, real: sockets.socket, number: int) -> None:
        self.real = real
        self.number: int | None = number

    def send(self, data: bytes) -> int:
        if self.number is not None:
            raise OSError(self.number, "try again")
        return self.real.send(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.EAGAIN])
async def test_a_kernel_that_is_short_of_memory_takes_nothing_and_the_server_tries_again(
    connection: Connection, number: int
) -> None:
    await connection.accept()
    connection.transport.socket = short = Short(connection.transport.socket, number)
    socket = found(connection)
    frame = text_frame("hi")
    assert socket.write_some(frame) == 0
    socket.hand_over(frame)
    assert connection.transport.doWrite() is None
    short.number = None
    await until(lambda: connection.read() == frame)


@pytest.mark.parametrize("by", ["server", "client"])
async def test_the_closing_handshake_works_after_a_drain(connection: Connection, by: str) -> None:
    socket = found(connection)
    await connection.accept()
    frame = text_frame("x" * 50_000)
    while (taken := socket.write_some(frame)) == len(frame):
        pass
    socket.hand_over(frame[taken:])
    drained: list[None] = []
    socket.when_drained(lambda: drained.append(None))
    await until(lambda: connection.read() and drained)
    if by == "server":
        await connection.send({"type": "websocket.close", "code": 4000})
        await until(lambda: connection.read().endswith(b"\x88\x02" + (4000).to_bytes(2)))
    connection.say((1000).to_bytes(2), opcode=8)
    await until(lambda: not connection.transport.connected)
    assert connection.protocol.wasClean


async def test_a_close_goes_out_behind_what_waits(connection: Connection) -> None:
    """Closed while a rest waits for the kernel, and while somebody waits for the drain."""
    socket = found(connection)
    await connection.accept()
    frame = text_frame("x" * 50_000)
    while (taken := socket.write_some(frame)) == len(frame):
        pass
    socket.hand_over(frame[taken:])
    socket.when_drained(lambda: None)
    await connection.send({"type": "websocket.close", "code": 4001})
    await until(lambda: connection.read().endswith(b"\x88\x02" + (4001).to_bytes(2)))
    connection.say((4001).to_bytes(2), opcode=8)
    await until(lambda: not connection.transport.connected)
    assert connection.protocol.wasClean
    assert connection.transport.producer is None


async def test_one_that_is_lost_while_it_waits_calls_nobody(connection: Connection) -> None:
    socket = found(connection)
    await connection.accept()
    frame = text_frame("x" * 50_000)
    while (taken := socket.write_some(frame)) == len(frame):
        pass
    socket.hand_over(frame[taken:])
    drained: list[None] = []
    socket.when_drained(lambda: drained.append(None))
    connection.client.close()
    await until(lambda: not connection.transport.connected)
    assert drained == []
    assert connection.transport.producer is None
    assert socket._on_drained is None


# Input


async def test_who_was_muted_is_not_heard(connection: Connection) -> None:
    socket = found(connection)
    await connection.accept()
    connection.say(b"one")
    assert (await connection.receive())["text"] == "one"
    socket.mute()
    connection.say(b"two")
    connection.say(b"", opcode=9)
    await until(lambda: b"\x8a\x00" in connection.read())  # the answer to the ping, which came later
    assert connection.protocol.application_queue.empty()


async def test_who_does_not_take_the_answers_is_not_read_until_it_does(connection: Connection) -> None:
    """Each ping makes autobahn answer, whatever the application does."""
    socket = found(connection)
    await connection.accept()
    flood = masked(b"p" * 125, opcode=9) * 100_000
    sending = asyncio.create_task(connection.reactor.loop.sock_sendall(connection.client, flood))
    await until(lambda: connection.transport not in connection.reactor.readers)
    waiting = connection.transport._tempDataLen + len(connection.transport.dataBuffer)
    assert waiting < 4 * UNSENT_BYTES
    sending.cancel()
    drained: list[None] = []
    socket.when_drained(lambda: drained.append(None))
    await until(lambda: connection.read() and drained and connection.transport in connection.reactor.readers)


async def test_of_who_floods_little_waits_and_nothing_is_lost(connection: Connection) -> None:
    limit_unread(connection.send)
    await connection.accept()
    wanted = [f"{number:05}" + "x" * 5000 for number in range(1000)]
    flood = b"".join(masked(text.encode()) for text in wanted)
    sending = asyncio.create_task(connection.reactor.loop.sock_sendall(connection.client, flood))
    await until(lambda: connection.transport not in connection.reactor.readers)
    await asyncio.sleep(3 * LOOK_EVERY)
    assert connection.transport not in connection.reactor.readers
    waiting = connection.protocol.application_queue._queue.qsize()
    assert waiting * 5000 < UNREAD_BYTES + 2 * UNSENT_BYTES
    async with asyncio.timeout(20):
        assert [(await connection.receive())["text"] for _ in wanted] == wanted
    await sending
    await until(lambda: connection.transport in connection.reactor.readers)


async def test_who_floods_with_nothing_is_bounded_too(connection: Connection) -> None:
    limit_unread(connection.send)
    await connection.accept()
    flood = masked(b"") * 100_000
    sending = asyncio.create_task(connection.reactor.loop.sock_sendall(connection.client, flood))
    await until(lambda: connection.transport not in connection.reactor.readers)
    assert connection.protocol.application_queue._queue.qsize() < 15_000  # those of one more read
    sending.cancel()
    connection.protocol.muted = True  # as when its consumer has ended
    await until(lambda: connection.transport in connection.reactor.readers)


async def test_who_vanishes_while_it_is_not_read_is_looked_after_no_more(connection: Connection) -> None:
    limit_unread(connection.send)
    await connection.accept()
    inbox = connection.protocol.application_queue
    flood = masked(b"x" * 5000) * 200
    sending = asyncio.create_task(connection.reactor.loop.sock_sendall(connection.client, flood))
    await until(lambda: connection.transport not in connection.reactor.readers)
    sending.cancel()
    connection.transport.abortConnection()
    await until(lambda: inbox._look is None)
    assert not connection.transport.connected


async def test_a_message_of_very_many_frames_ends_the_connection(connection: Connection) -> None:
    """They may be empty: autobahn limits the bytes of a message and keeps all of its frames until it ends."""
    limit_unread(connection.send)
    await connection.accept()
    begin, more = masked(b"").replace(b"\x81", b"\x01", 1), masked(b"", opcode=0).replace(b"\x80", b"\x00", 1)
    connection.say(b"one")
    assert (await connection.receive())["text"] == "one"
    flood = begin + more * (MAX_FRAGMENTS - 2) + masked(b"two", opcode=0) + begin + more * (MAX_FRAGMENTS + 10_000)
    sending = asyncio.create_task(connection.reactor.loop.sock_sendall(connection.client, flood))
    assert (await connection.receive())["text"] == "two"
    await until(lambda: not connection.transport.connected)
    assert len(connection.protocol.message_data) == MAX_FRAGMENTS + 1
    with suppress(OSError):
        await sending


async def test_of_who_floods_little_is_read_at_a_time(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each frame is parsed in Python, also those that nobody hears of, and everybody else waits meanwhile."""
    limit_unread(connection.send)
    await connection.accept()
    reads: list[int] = []
    parse = connection.protocol.dataReceived
    monkeypatch.setattr(connection.protocol, "dataReceived", lambda data: (reads.append(len(data)), parse(data)))
    flood = masked(b"", opcode=10) * 5_000 + masked(b"heard")
    sending = asyncio.create_task(connection.reactor.loop.sock_sendall(connection.client, flood))
    assert (await connection.receive())["text"] == "heard"
    await sending
    assert sum(reads) == len(flood)
    assert max(reads) <= READ_BYTES


async def test_below_tls_it_is_the_socket_that_is_read_little_by_little(tcp_connection: Connection) -> None:
    wrapper = TLSMemoryBIOProtocol.__new__(TLSMemoryBIOProtocol)
    wrapper.transport = tcp_connection.transport
    read_little_of(below_tls(wrapper))
    assert tcp_connection.transport.bufferSize == READ_BYTES
    assert "bufferSize" not in vars(wrapper)


async def test_a_transport_that_reads_in_another_way_is_left_alone(
    tcp_connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [name for name in OF_READING if not hasattr(tcp_connection.transport, name)] == []
    monkeypatch.setattr(inbox, "OF_READING", ("doRead_of_old",))
    limit_unread(tcp_connection.send)
    assert type(tcp_connection.protocol.application_queue) is inbox.ReceiveLimit
    assert "bufferSize" not in vars(tcp_connection.transport)


@pytest.mark.parametrize("name", sorted({*OF_INPUT, *OF_ANY_TRANSPORT}))
async def test_input_is_bounded_only_where_all_is_as_expected(
    tcp_connection: Connection, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    bound = "OF_INPUT" if name in OF_INPUT else "OF_ANY_TRANSPORT"
    assert [each for each in OF_INPUT if not hasattr(tcp_connection.protocol, each)] == []
    monkeypatch.setattr(inbox, bound, (f"{name}_of_old",))
    limit_unread(tcp_connection.send)
    assert type(tcp_connection.protocol.application_queue) is asyncio.Queue
