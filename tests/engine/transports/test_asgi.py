"""The ASGI transport: each connection at the speed of its own socket, and no connection at another's cost."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from broadcast.engine.frames import Dialect, Frame
from broadcast.engine.hints.hint import Hint
from broadcast.engine.hub.stream import BATCH_FRAMES, Batch, GroupStream, Position
from broadcast.engine.transports.asgi import AsgiTransport
from broadcast.exceptions import LogUnavailable, NoLog
from tests.kit.streams import Client, frame
from tests.kit.waiting import until


class Log:
    """Pages of 100 messages, which fail while ``error`` is set."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.reads = 0

    async def page(self, group: str, after: int) -> list[Frame]:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return [frame(offset) for offset in range(after + 1, after + 101)]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def stream(log: Log) -> GroupStream:
    stream = GroupStream("g", log.page)
    stream.restart("e", 10, 0)
    return stream


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    client = Client()
    yield client
    await client.transport.close()


def follow(client: Client, stream: GroupStream, after: int | None = None) -> Position:
    position, _ = stream.follow(client.transport, after, stream.epoch)
    client.transport.follow(position)
    return position


def push(stream: GroupStream, *offsets: int) -> None:
    stream.take(Hint(stream.name, [frame(offset) for offset in offsets], stream.epoch, offsets[-1]))


async def quiet() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_frames_leave_in_order(client: Client, stream: GroupStream) -> None:
    follow(client, stream)
    push(stream, 11, 12)
    await until(lambda: client.offsets == [11, 12])


async def test_more_than_leaves_at_once_leaves_all_the_same(client: Client, stream: GroupStream) -> None:
    follow(client, stream)
    wanted = list(range(11, 11 + 3 * BATCH_FRAMES + 5))
    push(stream, *wanted)
    await until(lambda: client.offsets == wanted)


async def test_history_comes_first(client: Client, stream: GroupStream) -> None:
    follow(client, stream, after=4)
    push(stream, 11)
    await until(lambda: client.offsets == [5, 6, 7, 8, 9, 10, 11])


async def test_plain_clients_get_author_and_body_and_no_resets(stream: GroupStream) -> None:
    client = Client(Dialect.PLAIN)
    follow(client, stream)
    stream.restart("new", 3, 0)
    push(stream, 4)
    await until(lambda: client.received == [{"author": "Ann", "body": "hi"}], 5)
    await client.transport.close()


async def test_a_frame_for_one_connection(client: Client) -> None:
    await client.transport.write({"type": "pong"})
    assert client.received == [{"type": "pong"}]


async def test_a_slow_connection_holds_up_itself_alone(client: Client, stream: GroupStream) -> None:
    slow = Client()
    slow.socket.clear()
    follow(slow, stream)
    follow(client, stream)
    for offset in range(11, 400):
        push(stream, offset)
    await until(lambda: client.offsets == list(range(11, 400)))
    assert slow.received == []
    slow.socket.set()
    await until(lambda: slow.offsets == list(range(11, 400)))
    await slow.transport.close()


async def test_a_connection_at_the_end_sleeps(
    client: Client, stream: GroupStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is told for ever that there is something to read would keep a processor busy."""
    scheduler = 0
    batch = stream.batch

    def counted(position: Position) -> Batch | None:
        nonlocal scheduler
        scheduler += 1
        return batch(position)

    monkeypatch.setattr(stream, "batch", counted)
    follow(client, stream, after=4)
    stream.take(Hint("g", [frame(None)]))
    push(stream, 11)
    stream.skip_to(40)
    stream.restart("new", 3, 0)
    await until(lambda: client.resets)
    await quiet()
    before = scheduler
    await quiet()
    assert scheduler == before


async def test_two_groups_on_one_connection(client: Client, stream: GroupStream, log: Log) -> None:
    other = GroupStream("h", log.page)
    other.restart("e", 0, 0)
    follow(client, stream)
    follow(client, other)
    push(stream, 11)
    push(other, 1)
    await until(lambda: sorted(client.offsets) == [1, 11])  # type: ignore[type-var]


async def test_following_a_group_again_ends_the_earlier_position(client: Client, stream: GroupStream) -> None:
    first = follow(client, stream)
    second = follow(client, stream, after=8)
    assert first not in stream.positions
    assert list(stream.positions) == [second]
    push(stream, 11)
    await until(lambda: client.offsets == [9, 10, 11])


async def test_nothing_is_delivered_of_a_group_that_is_no_longer_followed(client: Client, stream: GroupStream) -> None:
    client.socket.clear()
    follow(client, stream)
    push(stream, *range(11, 20))
    await quiet()
    client.transport.unfollow("g")
    client.transport.unfollow("g")
    client.socket.set()
    await quiet()
    assert client.offsets == [11]  # it was on its way
    assert not stream.positions


async def test_what_an_earlier_position_was_about_to_deliver_does_not_mix_with_the_new_one(
    client: Client, stream: GroupStream
) -> None:
    client.socket.clear()
    follow(client, stream)
    push(stream, *range(11, 20))
    await quiet()
    follow(client, stream, after=12)
    client.socket.set()
    await until(lambda: client.offsets == [11, *range(13, 20)])


# Failures


async def test_a_log_that_is_away_is_asked_again(client: Client, stream: GroupStream, log: Log, settings: Any) -> None:
    settings.BROADCAST = {"POLL_INTERVAL": 0.01}
    log.error = LogUnavailable("away")
    follow(client, stream, after=4)
    await until(lambda: log.reads > 2)
    log.error = NoLog("none")
    reads = log.reads
    await until(lambda: log.reads > reads)
    log.error = None
    await until(lambda: client.offsets == [5, 6, 7, 8, 9, 10])


async def test_a_log_whose_failure_looks_like_that_of_a_socket_silences_nobody(
    stream: GroupStream, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    """The client comes back and goes on where it was."""
    client = Client()
    log.error = TimeoutError("of a database")
    follow(client, stream, after=4)
    await until(lambda: client.close_code == 1011)
    assert "could not be written to" in caplog.text
    await client.transport.close()


async def test_however_often_it_is_notified_a_log_that_is_away_is_asked_again_by_one_timer(
    client: Client, stream: GroupStream, log: Log, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BROADCAST = {"POLL_INTERVAL": 60}
    log.error = LogUnavailable("away")
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    call_later = loop.call_later

    def counted(*args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        timers.append(call_later(*args, **kwargs))
        return timers[-1]

    monkeypatch.setattr(loop, "call_later", counted)
    follow(client, stream, after=4)
    for number in range(1, 6):
        client.transport.notify()
        await quiet()
        assert log.reads >= number
    assert len(timers) == 1
    await client.transport.close()
    assert timers[0].cancelled()


async def test_a_client_that_went_away_is_written_to_no_more(stream: GroupStream) -> None:
    writes = 0

    async def send(event: dict[str, Any]) -> None:
        nonlocal writes
        writes += 1
        raise ConnectionResetError

    transport = AsgiTransport(send, Dialect.V1)
    position, _ = stream.follow(transport, None, "")
    transport.follow(position)
    push(stream, 11, 12)
    await until(lambda: writes)
    push(stream, 13)
    await quiet()
    assert writes == 1
    await transport.close()
    assert not stream.positions


async def test_a_connection_whose_send_fails_is_closed_and_costs_nobody_else(
    client: Client, stream: GroupStream, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[dict[str, Any]] = []

    async def send(event: dict[str, Any]) -> None:
        events.append(event)
        if event["type"] == "websocket.send":
            raise ValueError("broken")

    transport = AsgiTransport(send, Dialect.V1)
    position, _ = stream.follow(transport, None, "")
    transport.follow(position)
    follow(client, stream)
    with caplog.at_level(logging.ERROR, "broadcast"):
        push(stream, 11, 12)
        await until(lambda: client.offsets == [11, 12])
        await until(lambda: events[-1] == {"type": "websocket.close", "code": 1011})
    assert "could not be written to" in caplog.text
    await transport.close()


async def test_a_send_that_always_fails_leaves_no_exception_behind(stream: GroupStream) -> None:
    async def send(event: dict[str, Any]) -> None:
        raise RuntimeError("closed")

    transport = AsgiTransport(send, Dialect.V1)
    position, _ = stream.follow(transport, None, "")
    transport.follow(position)
    push(stream, 11)
    writing = transport._writing
    assert writing is not None
    await until(writing.done)
    assert writing.exception() is None
    await transport.close()


async def test_closing_ends_a_write_that_hangs(stream: GroupStream) -> None:
    client = Client()
    client.socket.clear()
    follow(client, stream)
    push(stream, 11)
    await quiet()
    tasks = asyncio.all_tasks()
    await client.transport.close()
    assert asyncio.all_tasks() < tasks
    assert not stream.positions


async def test_closing_what_never_followed_anything() -> None:
    await Client().transport.close()
