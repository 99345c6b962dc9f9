"""How much of what clients say may wait in a daphne, and the line in which their handshakes do."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from unittest.mock import Mock

import pytest
from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.server import Server
from django.test import override_settings
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOProtocol

from broadcast.conf import conf
from broadcast.engine.transports.daphne import receive
from broadcast.engine.transports.daphne.internals import OF_ANY_TRANSPORT, UNSENT_BYTES, DaphneSocket, below_tls
from broadcast.engine.transports.daphne.receive import throttle_handshakes
from tests.engine.transports.conftest import limit_input, quiet
from tests.kit.sockets import masked
from tests.kit.waiting import until


@pytest.fixture(autouse=True)
def generous() -> Iterator[None]:
    """Budgets that nobody spends."""
    with override_settings(BROADCAST={"LIMITS": {"MESSAGE_RATE": 10**6, "MESSAGE_BURST": 10**6}}):
        yield


async def test_who_was_muted_is_not_heard(opened):
    opened.say(b"one")
    assert (await opened.receive())["text"] == "one"
    DaphneSocket(opened.protocol).mute()
    opened.say(b"two")
    opened.say(b"", opcode=9)
    await until(lambda: b"\x8a\x00" in opened.read())  # the answer to the ping, which came later
    assert opened.protocol.application_queue.empty()


async def test_who_does_not_take_the_answers_is_not_read_until_it_does(opened):
    """Each ping makes autobahn answer, whatever the application does."""
    socket = DaphneSocket(opened.protocol)
    sending = opened.flood(masked(b"p" * 125, opcode=9) * 100_000)
    await until(lambda: not opened.is_read)
    assert opened.transport._tempDataLen + len(opened.transport.dataBuffer) < 4 * UNSENT_BYTES
    sending.cancel()
    drained: list[None] = []
    socket.when_drained(lambda: drained.append(None))
    await until(lambda: opened.read() and drained and opened.is_read)


async def test_of_who_floods_little_waits_and_nothing_is_lost(opened, clock):
    limit_input(opened.protocol)
    wanted = [f"{number:05}" + "x" * 5000 for number in range(1000)]
    sending = opened.flood(b"".join(masked(text.encode()) for text in wanted))
    await until(lambda: not opened.is_read)
    for _ in range(3):
        clock.advance(receive.UNREAD_CHECK_SECONDS)
        await quiet()
    assert not opened.is_read
    assert opened.protocol.application_queue._queue.qsize() * 5000 < receive.UNREAD_BYTES + 2 * UNSENT_BYTES
    async with asyncio.timeout(20):
        assert [(await opened.receive())["text"] for _ in wanted] == wanted
    await sending
    await until(lambda: opened.is_read)


async def test_who_floods_with_nothing_is_bounded_too(opened):
    limit_input(opened.protocol)
    sending = opened.flood(masked(b"") * 100_000)
    await until(lambda: not opened.is_read)
    assert opened.protocol.application_queue._queue.qsize() < 15_000  # those of one more read
    sending.cancel()
    opened.protocol.muted = True  # as when its consumer has ended
    await until(lambda: opened.is_read)


async def test_who_vanishes_while_it_is_not_read_is_looked_after_no_more(opened):
    limit_input(opened.protocol)
    limit = opened.protocol.application_queue
    sending = opened.flood(masked(b"x" * 5000) * 200)
    await until(lambda: not opened.is_read)
    sending.cancel()
    opened.transport.abortConnection()
    await until(lambda: limit._look is None)
    assert not opened.transport.connected


async def test_a_message_of_very_many_frames_ends_the_connection(opened):
    """They may be empty: autobahn limits the bytes of a message and keeps all of its frames until it ends."""
    limit_input(opened.protocol)
    begin, more = masked(b"").replace(b"\x81", b"\x01", 1), masked(b"", opcode=0).replace(b"\x80", b"\x00", 1)
    opened.say(b"one")
    assert (await opened.receive())["text"] == "one"
    allowed = begin + more * (receive.MAX_FRAGMENTS - 2) + masked(b"two", opcode=0)
    sending = opened.flood(allowed + begin + more * (receive.MAX_FRAGMENTS + 10_000))
    assert (await opened.receive())["text"] == "two"
    await until(lambda: not opened.transport.connected)
    assert len(opened.protocol.message_data) == receive.MAX_FRAGMENTS + 1
    with suppress(OSError):
        await sending


async def test_of_who_floods_little_is_read_at_a_time(opened, monkeypatch):
    """Each frame is parsed in Python, also those that nobody hears of, and everybody else waits meanwhile."""
    limit_input(opened.protocol)
    reads: list[int] = []
    parse = opened.protocol.dataReceived
    monkeypatch.setattr(opened.protocol, "dataReceived", lambda data: (reads.append(len(data)), parse(data)))
    flood = masked(b"", opcode=10) * 5_000 + masked(b"heard")
    sending = opened.flood(flood)
    assert (await opened.receive())["text"] == "heard"
    await sending
    assert sum(reads) == len(flood)
    assert max(reads) <= receive.READ_BYTES


async def test_below_tls_it_is_the_socket_that_is_read_little_by_little(connection):
    wrapper = TLSMemoryBIOProtocol.__new__(TLSMemoryBIOProtocol)
    wrapper.transport = connection.transport
    receive.read_little_of(below_tls(wrapper))
    assert connection.transport.bufferSize == receive.READ_BYTES
    assert "bufferSize" not in vars(wrapper)


async def test_a_transport_that_reads_in_another_way_is_left_alone(connection, monkeypatch):
    assert [name for name in receive.OF_READING if not hasattr(connection.transport, name)] == []
    monkeypatch.setattr(receive, "OF_READING", ("doRead_of_old",))
    limit_input(connection.protocol)
    assert type(connection.protocol.application_queue) is receive.ReceiveLimit
    assert "bufferSize" not in vars(connection.transport)


async def test_input_is_bounded_only_where_all_is_as_expected(connection):
    for where, names in (("OF_INPUT", receive.OF_INPUT), ("OF_ANY_TRANSPORT", OF_ANY_TRANSPORT)):
        for name in names:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(receive, where, (f"{name}_of_old", *(set(names) - {name})))
                limit_input(connection.protocol)
            assert type(connection.protocol.application_queue) is asyncio.Queue
    limit_input(None)
    limit_input(connection.protocol)
    assert type(connection.protocol.application_queue) is receive.ReceiveLimit


@pytest.fixture
def server() -> Server:
    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    server = Server(application, endpoints=["tcp:0"])
    server.http_factory = HTTPFactory(server)
    return server


def test_requests_of_daphne_learn_to_wait_in_one_line(server):
    throttle_handshakes(server)
    throttle_handshakes(server)
    build = server.http_factory.buildProtocol
    assert isinstance(build.__self__, receive.HandshakeThrottle)
    kinds = {build(None).requestFactory for _ in range(3)}
    assert [(kind is not WebRequest, kind.mro()[1]) for kind in kinds] == [(True, WebRequest)]


@pytest.fixture
async def served(server, clock, monkeypatch) -> tuple[StringTransport, list[bytes]]:
    """A connection whose client does not take what it is sent, and the requests that were begun."""
    begun: list[bytes] = []

    def process(request: WebRequest) -> None:
        begun.append(request.uri)
        request.finish()

    monkeypatch.setattr(WebRequest, "process", process)
    server.connections = {}
    throttle_handshakes(server)
    protocol, transport = server.http_factory.buildProtocol(None), StringTransport()
    protocol.makeConnection(transport)
    transport.producer.pauseProducing()
    protocol.dataReceived(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
    return transport, begun


async def test_a_request_waits_until_the_answers_before_it_are_taken(served, clock):
    transport, begun = served
    clock.advance(receive.UNTAKEN_CHECK_SECONDS)
    await quiet()
    assert begun == []
    transport.producer.resumeProducing()
    clock.advance(receive.UNTAKEN_CHECK_SECONDS)
    await until(lambda: begun == [b"/1", b"/2"])


async def test_who_takes_no_answer_while_more_is_asked_is_cut_off_in_the_end(served, clock):
    transport, begun = served
    clock.advance(conf.STALLED_TIMEOUT + receive.UNTAKEN_CHECK_SECONDS)
    await until(lambda: transport.disconnected)
    assert begun == []


async def test_who_says_much_before_it_is_answered_is_cut_off(server, connection):
    throttle = receive.HandshakeThrottle(server.http_factory)
    throttle._begin(Mock(transport=connection.transport), lambda: None)
    connection.protocol.dataReceived(b"x" * receive.EARLY_BYTES)
    assert connection.transport.connected
    connection.protocol.dataReceived(b"x")
    await until(lambda: not connection.transport.connected)


async def test_the_handshake_of_who_has_left_the_line_is_not_begun(server, connection):
    begun: list[None] = []
    throttle = receive.HandshakeThrottle(server.http_factory)
    connection.client.close()
    throttle._begin(Mock(transport=connection.transport), lambda: begun.append(None))
    await until(lambda: not connection.transport.connected)
    assert begun == []
    assert throttle._room() > 0


async def test_who_leaves_a_long_line_is_noticed_before_its_turn(server, connection, monkeypatch):
    monkeypatch.setattr(receive, "MANY_WAITING", 2)
    throttle = receive.HandshakeThrottle(server.http_factory)
    monkeypatch.setattr(throttle, "_room", lambda *_: 0)
    throttle.arrive(Mock(transport=connection.transport), Mock())
    connection.client.close()
    for _ in range(3):
        throttle.arrive(Mock(), Mock())
    await until(lambda: not connection.transport.connected)
    assert len(throttle._line) == 3
    throttle._look.cancel()


class Bare:
    """A protocol of another make."""


def test_a_protocol_that_makes_its_requests_otherwise_is_left_alone(server):
    protocol = Bare()
    server.http_factory.buildProtocol = lambda address: protocol
    throttle_handshakes(server)
    assert server.http_factory.buildProtocol(None) is protocol
    assert vars(protocol) == {}


def test_another_server_has_no_line():
    throttle_handshakes(None)
    throttle_handshakes(Bare())
