"""What only direct writes do: one write for all that is there, no task for who keeps up, reads beside writes."""

import asyncio
from typing import Any

import pytest

from broadcast.conf import conf
from broadcast.engine.frames import STALLED
from broadcast.engine.hub import stream as stream_module
from tests.engine.transports.conftest import push, quiet
from tests.kit.waiting import until


@pytest.fixture
def kind() -> str:
    return "direct"


async def test_what_is_there_together_leaves_in_one_write_and_needs_no_task(peer, stream):
    peer.follow(stream)
    await quiet()
    tasks = asyncio.all_tasks()
    push(stream, 11, 12)
    push(stream, 13)
    await until(lambda: peer.offsets == [11, 12, 13])
    assert len(peer.socket.writes) == 1
    assert asyncio.all_tasks() == tasks
    assert peer.events == []


async def test_more_than_that_leaves_in_as_many_writes_as_it_takes(peer, stream, monkeypatch):
    monkeypatch.setattr(stream_module, "BATCH_FRAMES", 5)
    peer.follow(stream)
    push(stream, *range(11, 100))
    await until(lambda: peer.offsets == list(range(11, 100)))
    assert len(peer.socket.writes) == 18


async def test_bytes_are_made_once_for_all(connect, stream):
    peers: list[Any] = [await connect() for _ in range(3)]
    for peer in peers:
        peer.follow(stream)
    push(stream, 11)
    await until(lambda: all(peer.socket.writes for peer in peers))
    assert len({id(data) for peer in peers for data in peer.socket.writes}) == 1


async def test_an_answer_goes_past_the_server_unless_something_waits_before_it(peer, stream):
    peer.follow(stream)
    await peer.transport.write({"type": "pong"})
    assert (peer.types, peer.events) == (["pong"], [])
    peer.take(10)
    push(stream, 11)
    await until(lambda: peer.buffered)
    await peer.transport.write({"type": "pong"})
    assert [event["type"] for event in peer.events] == ["websocket.send"]
    peer.take()
    await until(lambda: peer.types == ["pong", "message", "pong"])


async def test_nothing_is_written_after_the_close_and_nothing_heard(peer, stream):
    peer.follow(stream)
    await peer.transport.disconnect(4000)
    push(stream, 11)
    await quiet()
    await peer.transport.close()
    assert (peer.socket.writes, peer.socket.buffer, peer.socket.is_muted) == ([], b"", True)


async def test_a_stall_ends_a_read_of_the_log_as_well(peer, stream, other, log, clock):
    before = asyncio.all_tasks()
    log.gate.clear()
    peer.follow(stream, after=4)
    await until(lambda: log.reads)
    peer.follow(other)
    peer.take(0)
    for offset in range(11, 20):
        push(other, offset)
        await quiet()
    assert len(peer.socket.writes) == 1  # it is not tried again before it has drained
    clock.advance(conf.STALLED_TIMEOUT + 1)
    await until(lambda: peer.close_codes == [STALLED])
    await peer.transport.close()
    log.gate.set()
    await quiet()
    assert asyncio.all_tasks() == before
