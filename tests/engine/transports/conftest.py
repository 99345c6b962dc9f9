"""Streams over a log in memory, and connections of each kind that follow them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from broadcast.engine.frames import Dialect
from broadcast.engine.hints.hint import Hint
from broadcast.engine.hub.stream import GroupStream
from broadcast.engine.process import current_process
from broadcast.engine.throttle import Pool
from broadcast.engine.transports.daphne import receive
from tests.kit.clock import Clock
from tests.kit.sockets import PEERS, Connection, Peer
from tests.kit.streams import PageLog, frame

Connect = Callable[..., Awaitable[Peer]]


@pytest.fixture
def log() -> PageLog:
    return PageLog(*range(1, 3001))


def stream_of(name: str, log: PageLog) -> GroupStream:
    """A stream whose head is at offset 10."""
    stream = GroupStream(name, log.read_for)
    stream.restart("e", 10, 0)
    return stream


@pytest.fixture
def stream(log: PageLog) -> GroupStream:
    return stream_of("g", log)


@pytest.fixture
def other(log: PageLog) -> GroupStream:
    return stream_of("h", log)


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture(params=PEERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def connect(kind: str) -> AsyncIterator[Connect]:
    """`await connect()` makes one more connection of the kind."""
    peers: list[Peer] = []

    async def connect(dialect: Dialect = Dialect.V1) -> Peer:
        peers.append(await PEERS[kind].start(dialect))
        return peers[-1]

    yield connect
    for peer in peers:
        await peer.end()


@pytest.fixture
async def peer(connect: Connect) -> Peer:
    return await connect()


@pytest.fixture(params=["tcp", "unix"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    """A connection that daphne has handed to the application, not yet accepted."""
    connection = await Connection().open()
    yield connection
    await connection.end()


@pytest.fixture
async def opened(way: str) -> AsyncIterator[Connection]:
    """An accepted connection, by each way."""
    connection = await Connection(way).open()
    await connection.accept()
    yield connection
    await connection.end()


def push(stream: GroupStream, *offsets: int, body: str = "hi") -> None:
    stream.apply_hint(Hint(stream.name, [frame(offset, body) for offset in offsets], stream.epoch, offsets[-1]))


async def quiet() -> None:
    """Lets everybody do what can be done at once."""
    for _ in range(20):
        await asyncio.sleep(0)


def limit_input(protocol: Any) -> bool:
    return receive.limit_input(protocol, Pool(current_process().node()))
