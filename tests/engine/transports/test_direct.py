"""The direct transport: whole frames in order, a position instead of a queue, and an end for who takes nothing."""

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from broadcast.engine.frames import Dialect, Frame
from broadcast.engine.hints.hint import Hint
from broadcast.engine.hub import stream as stream_module
from broadcast.engine.hub.stream import GroupStream, Position
from broadcast.engine.transports.direct import DirectTransport, WriteScheduler
from broadcast.exceptions import LogUnavailable
from tests.kit.streams import frame, is_live
from tests.kit.waiting import until

ENDLESS = 10**9


class Socket:
    """A daphne socket whose kernel takes as many bytes as there is ``room`` for."""

    def __init__(self) -> None:
        self.is_open = True
        self.room = ENDLESS
        self.taken = b""
        self.buffer = b""
        self.writes = 0
        self.most_buffered = 0
        self.is_muted = False
        self.is_lost = False
        self.is_dropped = False
        self.on_drained: Callable[[], None] | None = None

    @property
    def is_clear(self) -> bool:
        return not self.buffer

    @property
    def is_ready(self) -> bool:
        return self.is_open and self.is_clear

    def write_some(self, data: bytes) -> int:
        assert self.is_open, "written to after the close"
        assert not self.buffer, "written into the middle of a frame"
        if self.is_lost:
            return 0
        self.writes += 1
        count = min(len(data), self.room)
        self.take(data[:count])
        return count

    def take(self, data: bytes) -> None:
        self.taken += data
        self.room -= len(data)

    def hand_over(self, rest: bytes) -> None:
        assert self.is_open
        assert rest
        self.buffer += rest
        self.most_buffered = max(self.most_buffered, len(self.buffer))

    def when_drained(self, callback: Callable[[], None]) -> None:
        self.on_drained = callback

    def abort_if_closing(self) -> None:
        self.is_dropped = not self.is_open

    def mute(self) -> None:
        self.is_muted = True

    def drain(self, room: int = ENDLESS) -> None:
        """The client reads, until there is room for that many bytes."""
        self.room = room
        count = min(len(self.buffer), self.room)
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        self.take(data)
        if not self.buffer and self.on_drained is not None:
            callback, self.on_drained = self.on_drained, None
            callback()


def frames_in(data: bytes) -> list[dict[str, Any]]:
    """The text frames in what a client received; fails if they are not whole and sound."""
    frames = []
    while data:
        assert data[0] == 0x81
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4]), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10]), 10
        assert len(data) >= start + size
        frames.append(json.loads(data[start : start + size]))
        data = data[start + size :]
    return frames


class Client:
    """A connection that is written to directly; what its server sends by ASGI is in ``events``."""

    def __init__(self, scheduler: WriteScheduler, dialect: Dialect = Dialect.V1) -> None:
        self.socket = Socket()
        self.events: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.transport = DirectTransport(self.send, dialect, self.socket, scheduler)  # type: ignore[arg-type]

    async def send(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        if self.error is not None:
            raise self.error
        if event["type"] == "websocket.close":
            self.socket.is_open = False

    def follow(self, stream: GroupStream, after: int | None = None) -> Position:
        position, _ = stream.follow(self.transport, after, stream.epoch)
        self.transport.follow(position)
        return position

    @property
    def received(self) -> list[dict[str, Any]]:
        return frames_in(self.socket.taken)

    @property
    def offsets(self) -> list[Any]:
        return [fields["offset"] for fields in self.received]


class Log:
    """Pages of a log in memory, which fail while ``error`` is set and wait while the gate is shut."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def page(self, group: str, after: int) -> list[Frame]:
        self.reads += 1
        await self.gate.wait()
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
def other(log: Log) -> GroupStream:
    stream = GroupStream("h", log.page)
    stream.restart("e", 10, 0)
    return stream


@pytest.fixture
async def scheduler() -> WriteScheduler:
    return WriteScheduler(asyncio.get_running_loop())


@pytest.fixture
async def client(scheduler: WriteScheduler) -> AsyncIterator[Client]:
    client = Client(scheduler)
    yield client
    await client.transport.close()


def push(stream: GroupStream, *offsets: int, size: int = 2) -> None:
    frames = [frame(offset, "x" * size) for offset in offsets]
    stream.take(Hint(stream.name, frames, stream.epoch, offsets[-1]))


async def quiet() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


# Keeping up


async def test_what_is_there_together_leaves_in_one_write_and_needs_no_task(
    client: Client, stream: GroupStream
) -> None:
    client.follow(stream)
    await quiet()
    tasks = asyncio.all_tasks()
    push(stream, 11, 12)
    push(stream, 13)
    await until(lambda: client.offsets == [11, 12, 13])
    assert client.socket.writes == 1
    assert asyncio.all_tasks() == tasks
    assert client.events == []


async def test_bytes_are_made_once_for_all_of_a_dialect(stream: GroupStream, scheduler: WriteScheduler) -> None:
    clients = [Client(scheduler) for _ in range(3)]
    seen: list[bytes] = []
    for client in clients:
        client.follow(stream)
        client.socket.write_some = lambda data: seen.append(data) or len(data)  # type: ignore[method-assign,func-returns-value]
    push(stream, 11)
    await until(lambda: len(seen) == 3)
    assert seen[0] is seen[1] is seen[2]


async def test_plain_clients_are_told_of_no_reset_and_go_on(stream: GroupStream, scheduler: WriteScheduler) -> None:
    client = Client(scheduler, Dialect.PLAIN)
    position = client.follow(stream)
    stream.restart("new", 3, 0)
    await quiet()
    assert client.socket.writes == 0
    assert is_live(position)
    push(stream, 4)
    await until(lambda: client.received == [{"author": "Ann", "body": "xx"}])


async def test_history_comes_first_then_what_is_live(client: Client, stream: GroupStream) -> None:
    client.follow(stream, after=4)
    push(stream, 11)
    await until(lambda: client.offsets == list(range(5, 12)))


async def test_a_connection_at_the_end_sleeps(
    client: Client, stream: GroupStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits = 0
    write_ready = DirectTransport.write_ready

    def counted(transport: DirectTransport) -> None:
        nonlocal visits
        visits += 1
        write_ready(transport)

    monkeypatch.setattr(DirectTransport, "write_ready", counted)
    client.follow(stream, after=4)
    stream.take(Hint("g", [frame(None)]))
    push(stream, 11)
    stream.restart("new", 3, 0)
    await until(lambda: client.received and client.received[-1]["type"] == "reset")
    await asyncio.sleep(0.02)
    before = visits
    await asyncio.sleep(0.02)
    assert visits == before


# Behind


async def test_of_a_frame_that_was_begun_only_the_rest_is_left_to_the_server(
    client: Client, stream: GroupStream
) -> None:
    client.follow(stream)
    client.socket.room = 50
    push(stream, *range(11, 60), size=1000)
    await until(lambda: client.socket.buffer)
    assert client.socket.most_buffered < 1200
    client.socket.drain()
    await until(lambda: client.socket.taken and client.offsets == list(range(11, 60)))


@pytest.mark.parametrize("room", [*range(40), 137, 138, 139, 275, 276, 277, 278])
async def test_wherever_the_kernel_stops_frames_stay_whole_and_in_order(
    client: Client, stream: GroupStream, room: int
) -> None:
    position = client.follow(stream)
    client.socket.room = room
    wanted: list[int] = []
    for offset in range(11, 31):
        push(stream, offset, size=offset)
        wanted.append(offset)
        await quiet()
        if client.socket.buffer and offset % 3 == 0:
            client.socket.drain(room)
    while not (is_live(position) and client.socket.is_clear):
        client.socket.drain(max(room, 10))
        await asyncio.sleep(0)
    assert client.offsets == wanted


@pytest.mark.parametrize("room", range(0, 300, 7))
async def test_frames_that_plain_clients_do_not_get_take_no_room(
    stream: GroupStream, scheduler: WriteScheduler, room: int
) -> None:
    client = Client(scheduler, Dialect.PLAIN)
    position = client.follow(stream)
    client.socket.room = room
    for number in range(11, 15):
        push(stream, number, size=20)
        retract = Frame({"type": "retract", "group": "g", "offset": None, "target": number})
        stream.take(Hint("g", [retract, retract]))
    while not (is_live(position) and client.socket.is_clear):
        client.socket.drain(room + 5)
        await asyncio.sleep(0)
    assert len(client.received) == 4


async def test_who_reads_nothing_holds_up_nobody_and_gets_everything_later(
    client: Client, stream: GroupStream, scheduler: WriteScheduler
) -> None:
    stuck = Client(scheduler)
    stuck.socket.room = 0
    stuck.follow(stream)
    client.follow(stream)
    for offset in range(11, 200):
        push(stream, offset)
        await asyncio.sleep(0)
    await until(lambda: client.offsets == list(range(11, 200)))
    assert stuck.socket.writes == 1
    assert stuck.socket.most_buffered < 200
    stuck.socket.drain()
    await until(lambda: stuck.offsets == list(range(11, 200)))
    await stuck.transport.close()


async def test_what_the_ring_no_longer_has_comes_from_the_log(
    client: Client, stream: GroupStream, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broadcast.engine.hub.ring.MAX_FRAMES", 10)
    monkeypatch.setattr("broadcast.engine.hub.ring.BURST", 1)
    client.follow(stream)
    client.socket.room = 0
    for offset in range(11, 300):
        push(stream, offset)
        await asyncio.sleep(0)
    client.socket.drain()
    await until(lambda: client.offsets == list(range(11, 300)))
    assert log.reads <= 4


async def test_what_nobody_has_any_more_is_told_by_a_reset(client: Client, stream: GroupStream) -> None:
    client.follow(stream)
    client.socket.room = 0
    push(stream, 11)
    await until(lambda: client.socket.buffer)
    stream.restart("new", 3, 0)
    client.socket.drain()
    await until(
        lambda: client.socket.is_clear and [fields["type"] for fields in client.received] == ["message", "reset"]
    )


async def test_what_waits_in_the_servers_buffer_goes_first(client: Client, stream: GroupStream) -> None:
    """Such as the welcome, a pong or an error: written by ASGI, not yet with the kernel."""
    client.follow(stream)
    client.socket.buffer = frame(None, "welcome").data(Dialect.V1)
    push(stream, 11)
    await quiet()
    assert client.socket.writes == 0
    client.socket.drain()
    await until(lambda: [fields["body"] for fields in client.received] == ["welcome", "xx"])


async def test_a_far_resume_on_a_slow_socket(client: Client, stream: GroupStream, log: Log) -> None:
    stream.restart("e", 1000, 0)
    position = client.follow(stream, after=0)
    client.socket.room = 300
    while not (is_live(position) and client.socket.is_clear):
        client.socket.drain(300)
        await asyncio.sleep(0)
    assert client.offsets == list(range(1, 1001))
    assert client.socket.most_buffered < 200
    assert log.reads == 10


# Several groups


async def test_a_busy_group_does_not_starve_another_on_a_slow_socket(
    client: Client, stream: GroupStream, other: GroupStream
) -> None:
    client.follow(stream)
    client.follow(other)
    client.socket.room = 150
    push(stream, *range(11, 31), size=100)
    push(other, 11)
    for offset in range(31, 35):
        await until(lambda: client.socket.on_drained)
        push(stream, offset, size=100)  # there is always more of it
        client.socket.drain(150)
    await until(lambda: client.socket.on_drained)
    client.socket.drain(0)
    assert "xx" in [fields["body"] for fields in frames_in(client.socket.taken + client.socket.buffer)]


async def test_a_group_whose_history_is_being_read_does_not_hold_up_another(
    client: Client, stream: GroupStream, other: GroupStream, log: Log
) -> None:
    log.gate.clear()
    client.follow(stream, after=4)
    client.follow(other)
    await until(lambda: log.reads)
    push(other, 11)
    await until(lambda: client.offsets == [11])
    log.gate.set()
    await until(lambda: client.offsets == [11, 5, 6, 7, 8, 9, 10])


async def test_a_log_that_is_away_holds_up_no_other_group(
    client: Client, stream: GroupStream, other: GroupStream, log: Log, settings: Any
) -> None:
    settings.BROADCAST = {"POLL_INTERVAL": 60}
    log.error = LogUnavailable("away")
    client.follow(stream, after=4)
    client.follow(other)
    await until(lambda: log.reads)
    await quiet()
    push(other, 11)
    await until(lambda: client.offsets == [11])
    assert log.reads == 1


async def test_a_log_that_is_away_is_asked_again(client: Client, stream: GroupStream, log: Log, settings: Any) -> None:
    settings.BROADCAST = {"POLL_INTERVAL": 0.01}
    log.error = LogUnavailable("away")
    client.follow(stream, after=4)
    await until(lambda: log.reads > 2)
    log.error = None
    await until(lambda: client.offsets == [5, 6, 7, 8, 9, 10])


async def test_two_groups_can_both_be_behind(client: Client, stream: GroupStream, other: GroupStream) -> None:
    client.follow(stream, after=4)
    client.follow(other, after=8)
    await until(lambda: sorted(client.offsets) == [5, 6, 7, 8, 9, 9, 10, 10])


async def test_a_group_that_is_far_behind_does_not_keep_another_from_the_log(
    client: Client, stream: GroupStream, other: GroupStream
) -> None:
    stream.restart("e", 20_000, 0)
    position = client.follow(stream, after=100)
    client.follow(other, after=4)
    await until(lambda: 5 in client.offsets)
    assert not is_live(position)
    await until(lambda: is_live(position))
    assert sorted(client.offsets) == [*range(5, 11), *range(101, 20_001)]


async def test_what_was_read_for_a_position_that_has_moved_on_is_not_written(
    client: Client, stream: GroupStream, log: Log
) -> None:
    """Hints fill the gap while the log is still being read, and the ring is emptied again right after."""
    position = client.follow(stream, after=4)
    log.gate.clear()
    await until(lambda: log.reads)
    for frames in (range(5, 11), range(11, 13)):
        stream.ring.clear(frames[0] - 1)
        for offset in frames:
            stream.ring.append(frame(offset))
        stream.notify()
        client.transport.write_ready()
    assert client.offsets == list(range(5, 13))
    stream.skip_to(20)
    log.gate.set()
    await until(lambda: position.offset == 20)
    assert client.offsets == list(range(5, 21))


# Going away


async def test_who_takes_nothing_for_long_is_closed(client: Client, stream: GroupStream, settings: Any) -> None:
    settings.BROADCAST = {"STALLED_TIMEOUT": 0.02}
    client.follow(stream)
    client.socket.room = 0
    push(stream, 11)
    await until(lambda: client.events == [{"type": "websocket.close", "code": 4001}])
    push(stream, 12)
    client.socket.drain()
    await quiet()
    assert client.offsets == [11]


async def test_who_has_closed_and_takes_nothing_for_long_is_dropped(
    client: Client, stream: GroupStream, settings: Any
) -> None:
    settings.BROADCAST = {"STALLED_TIMEOUT": 0.02}
    client.follow(stream)
    client.socket.room = 0
    push(stream, 11)
    await until(lambda: client.socket.buffer)
    client.socket.is_open = False
    await until(lambda: client.socket.is_dropped)


async def test_who_takes_a_little_now_and_then_stays(client: Client, stream: GroupStream, settings: Any) -> None:
    settings.BROADCAST = {"STALLED_TIMEOUT": 0.4}
    client.follow(stream)
    client.socket.room = 0
    for offset in range(11, 31):
        push(stream, offset)
        await asyncio.sleep(0.03)
        client.socket.drain(150)
    assert client.events == []


async def test_a_stall_ends_a_read_of_the_log_as_well(
    client: Client, stream: GroupStream, other: GroupStream, log: Log, settings: Any
) -> None:
    settings.BROADCAST = {"STALLED_TIMEOUT": 0.02}
    log.gate.clear()
    client.follow(stream, after=4)
    await until(lambda: log.reads)
    client.follow(other)
    client.socket.room = 0
    push(other, 11)
    await until(lambda: client.events == [{"type": "websocket.close", "code": 4001}])
    tasks = asyncio.all_tasks()
    await client.transport.close()
    log.gate.set()
    await quiet()
    assert len(asyncio.all_tasks()) <= len(tasks) - 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_close_that_fails_leaves_no_exception_behind(
    stream: GroupStream, scheduler: WriteScheduler, settings: Any
) -> None:
    settings.BROADCAST = {"STALLED_TIMEOUT": 0.01}
    unhandled: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context))
    client = Client(scheduler)
    client.error = RuntimeError("closed")
    client.follow(stream)
    client.socket.room = 0
    push(stream, 11)
    events = client.events
    await until(lambda: events)
    await quiet()
    await client.transport.close()
    del client
    gc.collect()
    assert unhandled == []


async def test_nothing_is_written_after_the_close(client: Client, stream: GroupStream) -> None:
    client.follow(stream)
    client.socket.is_open = False
    push(stream, 11)
    await quiet()
    assert client.socket.taken == b""


async def test_a_connection_that_is_lost_is_left_alone(
    client: Client, stream: GroupStream, scheduler: WriteScheduler
) -> None:
    there = Client(scheduler)
    client.follow(stream)
    there.follow(stream)
    client.socket.is_lost = True
    push(stream, 11)
    push(stream, 12)
    await until(lambda: there.offsets == [11, 12])
    push(stream, 13)
    await until(lambda: there.offsets == [11, 12, 13])
    assert (client.socket.writes, client.events) == (0, [])


async def test_one_whose_server_fails_is_closed_and_costs_nobody_else(
    client: Client, stream: GroupStream, scheduler: WriteScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(data: bytes) -> int:
        raise AttributeError("writeSomeData")

    there = Client(scheduler)
    client.socket.write_some = broken  # type: ignore[method-assign]
    client.follow(stream)
    there.follow(stream)
    with caplog.at_level(logging.ERROR, "broadcast"):
        push(stream, 11)
        await until(lambda: client.events == [{"type": "websocket.close", "code": 1011}])
    await until(lambda: there.offsets == [11])
    assert "could not be written to" in caplog.text
    push(stream, 12)
    await quiet()
    assert len(client.events) == 1


async def test_closing_leaves_nothing_behind(stream: GroupStream, scheduler: WriteScheduler, settings: Any) -> None:
    """Neither a position, nor a timer, nor a task, nor a place in the rounds, whatever it was doing."""
    settings.BROADCAST = {"STALLED_TIMEOUT": 0.01}
    client = Client(scheduler)
    client.follow(stream)
    client.socket.room = 0
    push(stream, 11)
    await until(lambda: client.socket.on_drained)
    await client.transport.close()
    assert (stream.positions, scheduler._waiting, client.socket.is_muted) == ({}, {}, True)
    await asyncio.sleep(0.03)
    client.socket.drain()
    await quiet()
    assert client.events == []


async def test_closing_while_the_log_is_read(client: Client, stream: GroupStream, log: Log) -> None:
    log.gate.clear()
    client.follow(stream, after=4)
    await until(lambda: log.reads)
    await client.transport.close()
    log.gate.set()
    await quiet()
    assert client.socket.taken == b""
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_following_again_while_the_log_is_read(client: Client, stream: GroupStream, log: Log) -> None:
    log.gate.clear()
    client.follow(stream, after=4)
    await until(lambda: log.reads)
    client.follow(stream, after=8)
    log.gate.set()
    await until(lambda: client.offsets == [9, 10])


async def test_more_than_leaves_at_once_leaves_all_the_same(
    client: Client, stream: GroupStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "BATCH_FRAMES", 5)
    client.follow(stream)
    push(stream, *range(11, 100))
    await until(lambda: client.offsets == list(range(11, 100)))
    assert client.socket.writes == 18
