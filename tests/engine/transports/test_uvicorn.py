"""Which connections of uvicorn are written to directly: those that are exactly as they are known."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from channels.auth import AuthMiddlewareStack
from uvicorn.config import Config
from uvicorn.protocols.websockets import websockets_sansio_impl
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from uvicorn.server import ServerState

from broadcast.engine.frames import text_frame
from broadcast.engine.transports import uvicorn
from broadcast.engine.transports.uvicorn import UvicornSocket, socket_behind
from tests.kit.sockets import HANDSHAKE, tcp_pair
from tests.kit.waiting import until


class Line:
    """A connection of uvicorn's, accepted, and the client's end of it."""

    def __init__(self, kind: Any = WebSocketsSansIOProtocol, way: str = "tcp") -> None:
        self.kind = kind
        self.way = way

    async def open(self, wrap: Any = lambda application: application) -> Any:
        sends: asyncio.Queue[Any] = asyncio.Queue()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            sends.put_nowait(send)
            await asyncio.Event().wait()

        config = Config(wrap(application), ws="none", lifespan="off", log_config=None)
        config.load()
        ours, self.client = tcp_pair() if self.way == "tcp" else socket.socketpair()
        self.client.setblocking(False)
        self.protocol = self.kind(config=config, server_state=ServerState(), app_state={})
        await asyncio.get_running_loop().connect_accepted_socket(lambda: self.protocol, ours)
        self.client.sendall(HANDSHAKE)
        self.send = await sends.get()
        await until(lambda: b"\r\n\r\n" in self.read())
        return self.send

    def read(self) -> bytes:
        try:
            return self.client.recv(1 << 20)
        except BlockingIOError:
            return b""

    def end(self) -> None:
        self.client.close()
        self.protocol.transport.abort()
        for task in self.protocol.tasks:
            task.cancel()


@pytest.fixture
async def line() -> Any:
    line = Line()
    await line.open()
    yield line
    line.end()


async def test_a_send_of_uvicorns_is_recognised_also_below_the_middleware_of_channels():
    for wrap in (lambda application: application, AuthMiddlewareStack):
        line = Line()
        assert isinstance(socket_behind(await line.open(wrap)), UvicornSocket)
        line.end()


class Subclass(WebSocketsSansIOProtocol):
    """One that may do anything."""


@pytest.mark.parametrize(("kind", "way"), [(Subclass, "tcp"), (WSProtocol, "tcp"), (WebSocketsSansIOProtocol, "unix")])
async def test_another_kind_of_protocol_or_socket_is_left_to_asgi(kind, way):
    line = Line(kind, way)
    assert socket_behind(await line.open()) is None
    line.end()


@pytest.mark.parametrize(
    "what", ["wrapped", "replaced", "hooked", "a missing attribute", "another transport", "unknown"]
)
async def test_what_is_not_as_it_is_known_is_left_to_asgi(line, monkeypatch, what):
    send, transport = line.send, line.protocol.transport
    match what:
        case "wrapped":

            async def send(event: Any) -> None: ...

        case "replaced":
            send = line.protocol.send = Mock()
        case "hooked":
            line.protocol.pause_writing = lambda: None
        case "an attribute":
            monkeypatch.setattr(uvicorn, "OF_CONNECTION", ("data_to_send_of_old",))
        case "another transport":
            line.protocol.transport = SimpleNamespace(**dict.fromkeys(uvicorn.OF_TRANSPORT))
        case _:
            monkeypatch.delattr(websockets_sansio_impl, "WebSocketsSansIOProtocol")
    assert socket_behind(send) is None
    line.protocol.transport = transport


async def test_it_says_when_something_waits_and_when_nothing_does(line):
    found = socket_behind(line.send)
    assert found is not None
    assert found.is_ready()
    found.on_news = Mock()
    frame = text_frame("x" * 5000)
    while (taken := found.send_now(frame)) == len(frame):
        pass
    assert (found.is_ready(), found.on_news.called) == (False, False)  # who asked knows
    assert found.hand_over(frame, taken, [len(frame)]) == 1
    found.on_news.assert_called_once_with()
    assert found.send_now(frame) == 0
    drained: list[bool] = []
    found.when_drained(lambda: drained.append(found.is_ready()))
    await until(lambda: line.read() == b"" and drained)
    assert drained == [True]


async def test_what_the_server_writes_is_news_if_it_waits(line):
    found = socket_behind(line.send)
    assert found is not None
    assert found.is_ready()
    found.on_news = Mock()
    await line.send({"type": "websocket.send", "text": "hi"})
    assert not found.on_news.called
    while not found.on_news.called:
        await asyncio.wait_for(line.send({"type": "websocket.send", "text": "x" * 100_000}), 1)
    assert not found.is_ready()


@pytest.mark.parametrize("who", ["the client", "the server"])
async def test_after_a_close_nothing_is_written(line, who):
    found = socket_behind(line.send)
    assert found is not None
    if who == "the client":
        line.client.sendall(b"\x88\x82\0\0\0\0\x03\xe8")
    else:
        await line.send({"type": "websocket.close", "code": 4000})
    await until(lambda: not found.is_open)
    assert found.send_now(text_frame("hi")) == 0
    assert found.hand_over(text_frame("hi"), 0, [4]) == 0
    await until(lambda: line.read()[:1] == b"\x88")


async def test_an_ended_connection_is_let_go(line):
    found = socket_behind(line.send)
    assert found is not None
    found.mute()
    assert not {"pause_writing", "resume_writing"} & vars(line.protocol).keys()
