"""The line in which handshakes wait at a real daphne: nobody is forgotten in it, and nobody can stop it."""

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from bench.link import request
from broadcast.engine.transports.daphne.receive import AT_ONCE
from tests.kit.servers import Server
from tests.kit.waiting import wait_until

RESET = struct.pack("ii", 1, 0)


@pytest.fixture(params=["tcp", "unix", "tls"])
def server(request: pytest.FixtureRequest, serve: Callable[..., Server]) -> Server:
    """A server that has seen a client of ours."""
    server = serve(request.param)
    server.visit()
    return server


@pytest.fixture
def ask(server: Server) -> Iterator[Callable[[str], socket.socket]]:
    """`ask(path)` asks for a WebSocket and does not wait for the answer."""
    with ExitStack() as asked:

        def ask(path: str) -> socket.socket:
            client = asked.enter_context(server.socket())
            client.sendall(request(server.port, path))
            return client

        yield ask


def seen(server: Server, path: str) -> int:
    return server.log.count(f"WSCONNECTING {path}")


def test_handshakes_that_hang_do_not_stop_the_line(server: Server, ask: Callable[[str], socket.socket]) -> None:
    hanging = 2 * AT_ONCE + 1
    for _ in range(hanging):
        ask("/never")
    assert server.visit().welcome["type"] == "welcome"
    assert seen(server, "/never") == hanging
    assert server.failures == []


def test_a_page_is_answered_before_who_waits_in_line(server: Server) -> None:
    waiting = 25 * AT_ONCE  # for two seconds and more
    with ExitStack() as opened:
        clients = [opened.enter_context(server.socket()) for _ in range(waiting)]
        for client in clients:
            client.sendall(request(server.port, "/never"))
        assert server.get("/large?bytes=10") == b"x" * 10
        assert seen(server, "/never") < waiting


def test_who_goes_while_it_waits_leaves_no_trace(server: Server, ask: Callable[[str], socket.socket]) -> None:
    for _ in range(AT_ONCE):
        ask("/never")
    for number in range(2 * AT_ONCE):
        gone = ask("/ws?v=1")
        if number % 2:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        gone.close()
    staying = [server.visit().welcome, "whom the fixture let in"]
    wait_until(lambda: server.log.count("WSDISCONNECT /ws") == seen(server, "/ws") - len(staying))
    assert server.failures == []


def test_all_of_a_crowd_are_let_in(server: Server, ask: Callable[[str], socket.socket]) -> None:
    crowd = [ask("/ws?v=1") for _ in range(4 * AT_ONCE)]
    for client in crowd:
        data = b""
        while b'"welcome"' not in data:
            data += client.recv(1 << 16)
    assert server.failures == []
