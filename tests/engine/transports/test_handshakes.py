"""The line of handshakes: without what it expects of Twisted, daphne goes on as if there were none."""

from typing import Any

import pytest
from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.server import Server

from broadcast.engine.transports.daphne.receive import HandshakeThrottle, throttle_handshakes


async def application(scope: Any, receive: Any, send: Any) -> None: ...


@pytest.fixture
def server() -> Server:
    server = Server(application, endpoints=["tcp:0"])
    server.http_factory = HTTPFactory(server)
    return server


def test_requests_of_daphne_learn_to_wait(server: Server) -> None:
    arrivals = HandshakeThrottle(server.http_factory)
    kinds = {arrivals.build_protocol(None).requestFactory for _ in range(3)}
    assert [(kind is not WebRequest, kind.mro()[1]) for kind in kinds] == [(True, WebRequest)]


class Bare:
    """A protocol of another make."""


def test_a_protocol_that_makes_its_requests_otherwise_is_left_alone(server: Server) -> None:
    protocol = Bare()
    server.http_factory.buildProtocol = lambda address: protocol
    assert HandshakeThrottle(server.http_factory).build_protocol(None) is protocol
    assert vars(protocol) == {}


@pytest.mark.parametrize("send", [None, application])
def test_another_server_has_no_line(send: Any) -> None:
    throttle_handshakes(send)
