"""What is assumed of daphne, Twisted and autobahn, held against those that are installed.

A version of theirs that breaks an assumption makes a test here fail, and the app only slower.
"""

import asyncio
import errno
import functools
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from channels.auth import AuthMiddlewareStack
from channels.security.websocket import AllowedHostsOriginValidator
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.protocol import Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from broadcast.engine.frames import text_frame
from broadcast.engine.transports.daphne import behind, internals
from broadcast.engine.transports.daphne.behind import DaphneConnection, daphne_behind
from broadcast.engine.transports.daphne.internals import DaphneSocket, socket_of
from tests.kit.sockets import Connection
from tests.kit.waiting import until


def taken_by(socket: DaphneSocket, data: bytes) -> int:
    """How many bytes the kernel takes now."""
    try:
        return socket.send_now(data)
    except OSError:
        return 0


def socket_behind(send: Any) -> DaphneSocket | None:
    found = daphne_behind(send)
    return socket_of(found) if found else None


def socket_on(connection: Connection) -> DaphneSocket:
    socket = socket_behind(connection.send)
    assert socket is not None
    return socket


@pytest.fixture
def socket(opened: Connection) -> DaphneSocket:
    return socket_on(opened)


async def test_daphne_hands_out_a_partial_of_its_server_and_the_protocol(opened):
    assert isinstance(opened.send, functools.partial)
    assert opened.send.func.__name__ == "handle_reply"
    assert daphne_behind(opened.send) == DaphneConnection(opened.server, opened.protocol, is_wrapped=False)
    assert isinstance(opened.protocol, WebSocketProtocol)
    assert socket_on(opened).transport is opened.transport


async def test_it_has_all_that_is_expected_of_it(opened):
    transport = opened.transport
    assert [name for name in internals.OF_PROTOCOL if not hasattr(opened.protocol, name)] == []
    assert [name for name in internals.OF_TRANSPORT if not hasattr(transport, name)] == []
    assert (transport.dataBuffer, transport._tempDataLen, len(opened.protocol.send_queue)) == (b"", 0, 0)
    assert (transport.producerPaused, transport.streamingProducer) == (False, True)
    assert isinstance(opened.protocol.application_queue, asyncio.Queue)


async def test_without_any_one_of_them_it_is_left_alone(connection):
    for where, names in (("OF_PROTOCOL", internals.OF_PROTOCOL), ("OF_TRANSPORT", internals.OF_TRANSPORT)):
        for name in names:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(internals, where, (f"{name}_of_old", *(set(names) - {name})))
                assert socket_behind(connection.send) is None
    assert connection.transport.producer is connection.channel
    assert socket_on(connection)


@pytest.mark.django_db(transaction=True)
async def test_it_is_found_behind_the_middleware_of_channels(connection):
    sends: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        sends.append(send)

    scope = {"type": "websocket", "path": "/", "headers": [(b"origin", b"http://testserver")]}
    await AllowedHostsOriginValidator(AuthMiddlewareStack(application))(scope, connection.receive, connection.send)
    assert sends[0].__self__.real_send is connection.send
    assert daphne_behind(sends[0]) == DaphneConnection(connection.server, connection.protocol, is_wrapped=False)


class Middleware:
    """As Channels' own."""

    def __init__(self, real_send: Any) -> None:
        self.real_send = real_send

    async def send(self, event: dict[str, Any]) -> None: ...


async def test_it_is_found_behind_so_many_and_no_more(connection):
    send: Any = connection.send
    for _ in range(behind.MAX_DEPTH - 1):
        send = Middleware(send).send
    assert socket_behind(send)
    assert socket_behind(Middleware(send).send) is None
    circle = Middleware(None)
    circle.real_send = circle.send
    assert daphne_behind(circle.send) is None


def in_a_closure(send: Any) -> Any:
    async def changed(event: dict[str, Any]) -> None:
        await send(event)

    return changed


class Changing:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, event: dict[str, Any]) -> None: ...
    async def send(self, event: dict[str, Any]) -> None: ...


async def passed_on(send: Any, event: dict[str, Any]) -> None: ...


WRAPPINGS: dict[str, Callable[[Any], Any]] = {
    "closure": in_a_closure,
    "decorator": lambda send: functools.wraps(send.func)(in_a_closure(send)),
    "object": Changing,
    "method": lambda send: Changing(send).send,
    "partial": lambda send: functools.partial(passed_on, send),
    "keyword": lambda send: functools.partial(passed_on, send=send),
    "several": lambda send: in_a_closure(Changing(functools.partial(passed_on, in_a_closure(send))).send),
    "below Channels": lambda send: Middleware(in_a_closure(send)).send,
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
async def test_what_middleware_of_another_kind_wraps_is_watched_and_never_written_past(connection, wrapping):
    """It may change what it passes on; without being watched, who reads nothing would fill the memory."""
    found = daphne_behind(WRAPPINGS[wrapping](connection.send))
    assert found == DaphneConnection(connection.server, connection.protocol, is_wrapped=True)
    assert socket_of(found) is None
    flow = internals.backpressure_of(found)
    assert flow is not None
    assert flow.transport.producer is flow


async def test_a_wrapper_that_holds_itself_or_nothing_yet_is_no_failure(connection):
    circle = Changing(None)
    circle.inner = circle

    async def early(event: dict[str, Any]) -> None:
        await later(event)

    assert (daphne_behind(circle), daphne_behind(early)) == (None, None)
    later = connection.send


async def plain_send(event: dict[str, Any]) -> None: ...


def test_others_have_none():
    wrapped = [Middleware(None).send, Middleware(plain_send).send, functools.partial(plain_send, {})]
    others = [plain_send, functools.partial(plain_send), asyncio.Queue().put, lambda event: None, None, object()]
    assert [daphne_behind(send) for send in wrapped + others] == [None] * 9


async def test_a_server_without_a_protocol_or_with_another_has_none(connection):
    server = connection.server
    for args in ((), (None,), (object(),), (Protocol(),), (server,)):
        found = daphne_behind(functools.partial(server.handle_reply, *args))
        assert found == DaphneConnection(server, None, is_wrapped=False)
        assert (socket_of(found), internals.backpressure_of(found)) == (None, None)


async def test_without_daphne_there_is_none(connection, monkeypatch):
    for module in ("daphne.ws_protocol", "daphne.server"):
        monkeypatch.delitem(sys.modules, module)
        assert socket_behind(connection.send) is None


async def test_tls_is_never_written_to(connection):
    """daphne's TLS transport passes unknown attributes on: only its type tells."""
    factory = TLSMemoryBIOFactory.__new__(TLSMemoryBIOFactory)
    wrapper = TLSMemoryBIOProtocol.__new__(TLSMemoryBIOProtocol)
    wrapper.factory, wrapper.wrappedProtocol = factory, connection.protocol
    wrapper.transport = connection.transport
    connection.protocol.transport = wrapper
    assert wrapper._tempDataLen == 0
    assert socket_behind(connection.send) is None
    connection.protocol.transport = connection.transport
    assert connection.transport.TLS is False
    connection.transport.TLS = True  # as when it has switched
    assert socket_behind(connection.send) is None
    connection.transport.TLS = False


async def test_a_client_that_is_gone_before_the_accept_is_no_failure(connection):
    connection.client.close()
    await until(lambda: not connection.transport.connected)
    socket = socket_on(connection)
    assert not socket.is_open
    socket.when_drained(lambda: None)
    socket.mute()


BIG = text_frame("x" * 50_000)


def fill(socket: DaphneSocket) -> list[bool]:
    """Writes until a frame does not fit and its rest waits; whether it was clear at each time that it drained."""
    while (taken := taken_by(socket, BIG)) == len(BIG):
        pass
    socket.write_buffered(BIG[taken:])
    drained: list[bool] = []
    socket.when_drained(lambda: drained.append(socket.is_clear))
    return drained


async def test_it_is_ready_from_the_accept_to_the_close_while_nothing_of_the_servers_waits(connection):
    socket = socket_on(connection)
    assert not socket.is_ready()
    assert not socket.is_open
    await connection.send({"type": "websocket.accept"})
    assert socket.is_open  # in the same turn
    assert not socket.is_ready()
    await until(lambda: socket.is_ready())
    await connection.send({"type": "websocket.close", "code": 4000})
    assert not socket.is_open
    await until(lambda: connection.read().endswith(b"\x88\x02" + (4000).to_bytes(2)))
    connection.say((4000).to_bytes(2), opcode=8)
    await until(lambda: not connection.transport.connected)
    assert not socket.is_ready()


@pytest.mark.parametrize("how", ["closes", "vanishes"])
async def test_it_shuts_when_the_client_goes(opened, socket, how):
    await until(lambda: socket.is_ready())
    if how == "closes":
        opened.say((1000).to_bytes(2), opcode=8)
        await until(lambda: opened.read().endswith(b"\x88\x02" + (1000).to_bytes(2)))
        assert not socket.is_ready()
    else:
        opened.client.close()
    await until(lambda: not opened.transport.connected)
    assert not socket.is_open


async def test_compression_is_not_agreed_upon(connection):
    """The client of these tests offers it."""
    await connection.send({"type": "websocket.accept"})
    await until(lambda: b"\r\n\r\n" in connection.read())
    assert b"permessage" not in connection.received.lower()


async def test_bytes_are_with_the_client_at_once(opened):
    data = text_frame('{"body":"hi"}')
    assert taken_by(socket_on(opened), data) == len(data)
    assert opened.read() == data


async def test_what_the_server_writes_is_with_the_client_at_once_and_is_no_news(opened, socket):
    await until(lambda: socket.is_ready())
    socket.on_news = Mock()
    await opened.send({"type": "websocket.send", "text": "hi"})
    assert opened.read() == text_frame("hi")
    for own in (opened.protocol.sendPing, opened.protocol.sendPong):
        own(b"alive")
        assert opened.read().endswith(b"\x05alive")
    assert not socket.on_news.called
    await opened.send({"type": "websocket.close", "code": 4000})
    assert opened.read().endswith(b"\x88\x02" + (4000).to_bytes(2))
    assert (socket.is_ready(), socket.on_news.call_count) == (False, 1)


@pytest.mark.parametrize("room", [0, 3])
async def test_what_the_server_writes_waits_for_the_loop_where_the_kernel_does_not_take_it_and_that_is_news(
    opened, socket, room
):
    """So whoever writes directly must let it go first."""
    drained: list[bytes] = []
    await until(lambda: socket.is_ready())
    opened.kernel.room = room
    told = socket.on_news = Mock()
    await opened.send({"type": "websocket.send", "text": "first"})
    await opened.send({"type": "websocket.send", "text": "second"})
    assert (socket.is_clear, told.call_count) == (False, 2)
    socket.when_drained(lambda: drained.append(opened.read()))
    opened.drain()
    await until(lambda: drained)
    assert socket.is_clear
    assert drained == [text_frame("first") + text_frame("second")]


@pytest.mark.parametrize("is_late", [False, True])
async def test_the_answer_to_the_handshake_leaves_with_the_welcome_or_at_the_end_of_the_turn(connection, is_late):
    socket = socket_on(connection)
    assert not connection.read()
    await connection.send({"type": "websocket.accept"})
    assert not connection.read()
    if is_late:
        await until(lambda: socket.is_ready())
        assert connection.read().endswith(b"\r\n\r\n")
    writes = Mock(wraps=socket.send_now)
    socket.send_now = writes
    await connection.send({"type": "websocket.send", "text": "Welcome!"})
    assert connection.read().endswith(b"\r\n\r\n" + text_frame("Welcome!"))
    assert writes.call_count == 1


async def test_the_parts_of_a_sequence_leave_together(opened, socket):
    opened.transport.writeSequence([b"\x81\x02", b"hi"])
    assert opened.read() == text_frame("hi")


async def test_after_what_a_full_kernel_takes_come_the_rest_and_the_servers_own_and_it_is_drained_once(opened, socket):
    drained = fill(socket)
    await opened.send({"type": "websocket.send", "text": "pong"})
    await asyncio.sleep(0)
    assert (socket.is_clear, drained) == (False, [])
    pong = text_frame("pong")
    await until(lambda: opened.read().endswith(pong) and drained == [True])
    count, rest = divmod(len(opened.received) - len(pong), len(BIG))
    assert (opened.received, rest) == (BIG * count + pong, 0)
    assert len(BIG) * count <= 8 * internals.UNSENT_BYTES
    await opened.send({"type": "websocket.send", "text": "hi"})
    await until(lambda: opened.read().endswith(text_frame("hi")))
    assert drained == [True]


async def test_one_that_is_lost_is_noticed_by_the_server_also_while_it_is_not_read(opened, socket):
    opened.transport.pauseProducing()
    opened.client.close()
    frame = text_frame("x" * 1000)
    while taken_by(socket, frame):
        pass
    socket.write_buffered(frame)
    await until(lambda: not opened.transport.connected)


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.EAGAIN])
async def test_a_kernel_that_is_short_of_memory_takes_nothing_and_the_server_tries_again(opened, socket, number):
    frame = text_frame("hi")
    opened.kernel.error = OSError(number, "try again")
    assert taken_by(socket, frame) == 0
    socket.write_buffered(frame)
    opened.kernel.error = OSError(number, "try again")
    assert opened.transport.doWrite() is None
    await until(lambda: opened.read() == frame)


@pytest.mark.parametrize("by", ["server", "client", "server while it is full"])
async def test_the_closing_handshake_works_after_a_drain_and_before(opened, socket, by):
    drained = fill(socket)
    if by != "server while it is full":
        await until(lambda: opened.read() and drained)
    if by != "client":
        await opened.send({"type": "websocket.close", "code": 4000})
        await until(lambda: opened.read().endswith(b"\x88\x02" + (4000).to_bytes(2)))
    opened.say((1000).to_bytes(2), opcode=8)
    await until(lambda: not opened.transport.connected)
    assert opened.protocol.wasClean
    assert opened.transport.producer is None


async def test_one_that_is_lost_while_it_waits_calls_nobody(opened, socket):
    drained = fill(socket)
    opened.client.close()
    await until(lambda: not opened.transport.connected)
    assert drained == []
    assert opened.transport.producer is None
