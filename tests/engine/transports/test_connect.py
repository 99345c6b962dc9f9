"""Which way a connection is written to, and how the ASGI way waits where daphne itself does not.

What daphne hands out is tried in test_daphne_socket.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from broadcast.engine.frames import Dialect, Frame
from broadcast.engine.hints.hint import Hint
from broadcast.engine.hub.stream import GroupStream, Position
from broadcast.engine.transports import connect as connecting
from broadcast.engine.transports.asgi import AsgiTransport
from broadcast.engine.transports.connect import say, transport_for
from tests.kit.streams import frame, is_live
from tests.kit.waiting import until


class WriteBackpressure:
    """daphne's buffer: full after so many frames, until it is drained."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.is_full = False
        self.on_drained: Callable[[], None] | None = None
        self.events: list[dict[str, Any]] = []

    async def send(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self.room -= 1
        self.is_full = self.room <= 0

    def when_drained(self, callback: Callable[[], None]) -> None:
        self.on_drained = callback

    def drain(self, room: int) -> None:
        self.room, self.is_full = room, False
        callback, self.on_drained = self.on_drained, None
        if callback is not None:
            callback()

    def abort_if_closing(self) -> None: ...

    @property
    def count(self) -> int:
        return sum(event["type"] == "websocket.send" for event in self.events)


async def no_page(group: str, after: int) -> list[Frame]:
    raise AssertionError("the log is not needed")


@pytest.fixture
def stream() -> GroupStream:
    stream = GroupStream("g", no_page)
    stream.restart("e", 0, 0)
    return stream


@pytest.fixture
def flow() -> WriteBackpressure:
    return WriteBackpressure(room=5)


@pytest.fixture
async def transport(flow: WriteBackpressure) -> AsyncIterator[AsgiTransport]:
    transport = AsgiTransport(flow.send, Dialect.V1, flow)  # type: ignore[arg-type]
    yield transport
    await transport.close()


def follow(stream: GroupStream, transport: AsgiTransport) -> Position:
    position, _ = stream.follow(transport, None, "")
    transport.follow(position)
    return position


def push(stream: GroupStream, count: int) -> None:
    frames = [frame(stream.head + number) for number in range(1, count + 1)]
    stream.take(Hint("g", frames, "e", stream.head + count))


async def quiet() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_what_the_client_does_not_take_is_not_sent_and_comes_when_it_does(
    stream: GroupStream, flow: WriteBackpressure, transport: AsgiTransport
) -> None:
    position = follow(stream, transport)
    push(stream, 12)
    await until(lambda: flow.on_drained)
    push(stream, 8)
    await quiet()
    assert (flow.count, position.offset) == (5, 5)
    for wanted in (10, 15, 20):
        flow.drain(5)
        await until(lambda wanted=wanted: flow.count == wanted)
    flow.drain(5)
    await until(lambda: is_live(position))
    assert flow.count == 20


async def test_who_takes_nothing_for_long_is_closed(
    stream: GroupStream, flow: WriteBackpressure, transport: AsgiTransport, settings: Any
) -> None:
    settings.BROADCAST = {"STALLED_TIMEOUT": 0.02}
    follow(stream, transport)
    push(stream, 12)
    await until(lambda: flow.events[-1:] == [{"type": "websocket.close", "code": 4001}])
    flow.drain(100)
    push(stream, 1)
    await quiet()
    assert flow.count == 5


async def test_a_close_ends_the_wait(stream: GroupStream, flow: WriteBackpressure, transport: AsgiTransport) -> None:
    follow(stream, transport)
    push(stream, 12)
    await until(lambda: flow.on_drained)
    await transport.close()
    flow.drain(100)
    await quiet()
    assert flow.count == 5
    assert not stream.positions


async def test_a_server_that_says_nothing_of_its_buffers_is_sent_everything(stream: GroupStream) -> None:
    flow = WriteBackpressure(room=5)
    transport = transport_for(flow.send, Dialect.V1)
    assert isinstance(transport, AsgiTransport)
    follow(stream, transport)
    push(stream, 12)
    await until(lambda: flow.count == 12)
    await transport.close()


def test_each_way_is_said_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "said", set())
    caplog.set_level("INFO", "broadcast")
    for way in ("by foot", "by foot", "by train", "by foot"):
        say(way)
    assert [record.getMessage() for record in caplog.records] == ["by foot", "by train"]
