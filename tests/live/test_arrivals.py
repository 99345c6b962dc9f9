"""The line in which handshakes wait at a real daphne: nobody is forgotten in it, and nobody can stop it."""

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.link import request
from broadcast.engine.transports.daphne.receive import AT_ONCE
from tests.kit.waiting import wait_until
from tests.live.serving import Client, Server
from tests.live.test_daphne import tracebacks

RESET = struct.pack("ii", 1, 0)


@pytest.fixture(params=["tcp", "unix", "tls"])
def server(request: pytest.FixtureRequest, database: Path) -> Iterator[Server]:
    """A server that has seen a client of ours."""
    server = Server(database, request.param)
    server.start()
    with Client(server) as first:
        first.hear()
    yield server
    server.end()
    print(server.log)


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
    with Client(server) as client:
        assert client.hear()["type"] == "welcome"
    assert seen(server, "/never") == hanging
    assert tracebacks(server.log) == []


def test_a_page_is_answered_before_who_waits_in_line(server: Server) -> None:
    waiting = 30 * AT_ONCE  # for three seconds and more
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
    with Client(server) as client:
        assert client.hear()["type"] == "welcome"
    wait_until(lambda: server.log.count("WSDISCONNECT /ws") == seen(server, "/ws"))
    assert tracebacks(server.log) == []


def test_all_of_a_crowd_are_let_in(server: Server, ask: Callable[[str], socket.socket]) -> None:
    crowd = [ask("/ws?v=1") for _ in range(10 * AT_ONCE)]
    for client in crowd:
        data = b""
        while b'"welcome"' not in data:
            data += client.recv(1 << 16)
    assert tracebacks(server.log) == []
