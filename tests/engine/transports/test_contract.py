"""What is promised of a connection whichever way it is written to: whole frames in order, at its own socket's speed."""

import asyncio
import gc
import json
import logging
from itertools import product
from typing import Any
from unittest.mock import Mock

import pytest

from broadcast.conf import conf
from broadcast.engine import frames as frames_module
from broadcast.engine.frames import INTERNAL_ERROR, STALLED, Dialect
from broadcast.engine.hints.hint import Hint
from broadcast.engine.hub.stream import BATCH_FRAMES, GroupStream
from broadcast.exceptions import LogUnavailable, NoLog
from tests.engine.transports.conftest import push, quiet
from tests.kit.sockets import PEERS, Peer
from tests.kit.streams import frame, is_live
from tests.kit.waiting import until

FRAME = 200  # bytes; no frame of these tests has more
REPORTED = "could not be written to"

drops_stalled = pytest.mark.parametrize("kind", [kind for kind in PEERS if kind != "asgi"])


async def stall(peer: Peer, stream: GroupStream, *offsets: int) -> None:
    """Has a client that takes nothing follow a stream, and waits until something waits for it."""
    peer.take(0)
    peer.follow(stream)
    push(stream, *offsets)
    await until(lambda: peer.buffered)


async def test_history_comes_first_and_then_everything_once_and_in_order(peer, stream):
    peer.follow(stream, after=4)
    end = 11 + 3 * BATCH_FRAMES + 5
    push(stream, *range(11, end))
    await until(lambda: len(peer.offsets) >= end - 5)
    push(stream, end)
    await until(lambda: peer.offsets == list(range(5, end + 1)))
    assert peer.close_codes == []


async def test_plain_clients_get_author_and_body_and_nothing_else(connect, stream):
    peer = await connect(Dialect.PLAIN)
    position = peer.follow(stream)
    stream.restart("new", 3, 0)
    await until(lambda: is_live(position))
    await peer.transport.write({"type": "pong"})
    push(stream, 4)
    await until(lambda: peer.received)
    assert peer.received == [{"author": "Ann", "body": "hi"}]


async def test_who_takes_batches_gets_what_leaves_together_as_one_array(connect, stream, monkeypatch):
    peer = await connect(Dialect.BATCH)
    position = peer.follow(stream)
    push(stream, 11, 12)
    push(stream, 13)
    await until(lambda: peer.offsets == [11, 12, 13])
    assert [text[:1] for text in peer.texts] == [b"["]
    push(stream, 14)
    await until(lambda: peer.offsets == [11, 12, 13, 14])
    assert json.loads(peer.texts[1])["offset"] == 14
    assert is_live(position)
    monkeypatch.setattr(frames_module, "ARRAY_CHARACTERS", 3 * FRAME)
    push(stream, *range(15, 80))
    await until(lambda: peer.offsets == list(range(11, 80)))
    assert max(map(len, peer.texts)) < 4 * FRAME


async def test_wherever_a_client_stops_in_a_batch_it_gets_each_frame_once(connect, stream):
    peer = await connect(Dialect.BATCH)
    peer.follow(stream)
    for room in range(0, 4 * FRAME, 7):
        peer.take(room)
        push(stream, *range(stream.head + 1, stream.head + 5))
        await quiet()
        peer.take()
        await quiet()
    await until(lambda: peer.offsets == list(range(11, stream.head + 1)))


async def test_a_connection_at_the_end_sleeps(peer, stream, monkeypatch):
    """Told for ever that there is something to read, it would keep a processor busy."""
    looks = Mock(side_effect=stream.batch)
    monkeypatch.setattr(GroupStream, "batch", lambda stream, position: looks(position))
    position = peer.follow(stream, after=4)
    stream.apply_hint(Hint("g", [frame(None)]))
    push(stream, 11)
    stream.skip_to(40)
    stream.restart("new", 3, 0)
    await until(lambda: is_live(position) and peer.types[-1:] == ["reset"])
    await quiet()
    before = looks.call_count
    await quiet()
    assert looks.call_count == before


async def test_wherever_the_client_stops_frames_stay_whole_and_in_order(peer, stream):
    peer.follow(stream)
    for room in range(2 * FRAME):
        head = stream.head
        peer.take(room)
        push(stream, head + 1, head + 2, head + 3, body="x" * (room % 120))
        await quiet()
        peer.take(room // 2)
        await quiet()
        assert peer.buffered < FRAME
        peer.take()
        await until(lambda head=head: len(peer.offsets) == head + 3 - 10)
    assert peer.offsets == list(range(11, stream.head + 1))


async def test_who_reads_nothing_holds_up_nobody_keeps_a_position_and_gets_everything_later(connect, stream):
    slow, peer = await connect(), await connect()
    slow.take(50)
    slow.follow(stream)
    peer.follow(stream)
    for offset in range(11, 400):
        push(stream, offset)
        await asyncio.sleep(0)
    await until(lambda: peer.offsets == list(range(11, 400)))
    assert slow.received == []
    assert 0 < slow.buffered < FRAME
    slow.take()
    await until(lambda: slow.offsets == list(range(11, 400)))


async def test_what_the_ring_no_longer_has_comes_from_the_log(peer, stream, log, monkeypatch):
    monkeypatch.setattr("broadcast.engine.hub.ring.MAX_FRAMES", 10)
    monkeypatch.setattr("broadcast.engine.hub.ring.BURST_FACTOR", 1)
    peer.take(0)
    peer.follow(stream)
    for offset in range(11, 300):
        push(stream, offset)
        await asyncio.sleep(0)
    peer.take()
    await until(lambda: peer.offsets == list(range(11, 300)))
    assert 0 < len(log.reads) <= 4


async def test_what_nobody_has_any_more_is_told_by_a_reset(peer, stream):
    await stall(peer, stream, 11)
    stream.restart("new", 3, 0)
    peer.take()
    await until(lambda: peer.types == ["message", "reset"])


async def test_an_answer_that_waits_goes_before_what_comes_later(peer, stream):
    peer.take(10)
    peer.follow(stream)
    answering = asyncio.create_task(peer.transport.write({"type": "pong"}))
    await until(lambda: peer.buffered)
    push(stream, 11)
    await quiet()
    peer.take()
    await until(lambda: peer.types == ["pong", "message"])
    await answering


async def test_a_far_resume_on_a_slow_socket(peer, stream, log):
    stream.restart("e", 1000, 0)
    peer.follow(stream, after=0)
    async with asyncio.timeout(10):
        while len(peer.received) < 1000:
            peer.take(300)
            await asyncio.sleep(0)
            assert peer.buffered < FRAME
    assert peer.offsets == list(range(1, 1001))
    assert len(log.reads) == 10


async def test_nothing_more_comes_of_a_group_that_is_left_while_the_socket_is_slow(peer, stream):
    await stall(peer, stream, *range(11, 20))
    peer.transport.unfollow("g")
    peer.transport.unfollow("g")
    assert not stream.positions
    peer.take()
    await until(lambda: peer.offsets == [11])  # it was on its way
    await peer.transport.write({"type": "pong"})
    await until(lambda: peer.types == ["message", "pong"])


async def test_what_an_earlier_position_was_about_to_deliver_does_not_mix_with_the_new_one(peer, stream):
    await stall(peer, stream, *range(11, 20))
    position = peer.follow(stream, after=12)
    peer.take()
    await until(lambda: peer.offsets == [11, *range(13, 20)])
    assert list(stream.positions) == [position]


async def test_following_again_while_the_log_is_read(peer, stream, log):
    log.gate.clear()
    peer.follow(stream, after=4)
    await until(lambda: log.reads)
    peer.follow(stream, after=8)
    log.gate.set()
    await until(lambda: peer.offsets == [9, 10])


async def test_a_busy_group_does_not_starve_another_on_a_slow_socket(peer, stream, other):
    peer.follow(stream)
    peer.follow(other)
    peer.take(150)
    push(stream, *range(11, 31), body="busy" * 25)
    push(other, 11, body="other")
    async with asyncio.timeout(10):
        while "other" not in [fields["body"] for fields in peer.received]:
            assert len(peer.received) < 50
            push(stream, stream.head + 1, body="busy" * 25)  # there is always more of it
            peer.take(150)
            await quiet()


async def test_a_group_that_is_far_behind_does_not_keep_another_from_the_log(peer, stream, other):
    stream.restart("e", 2000, 0)
    peer.follow(stream, after=100)
    peer.follow(other, after=4)
    await until(lambda: len(peer.received) == 1906)
    assert sorted(peer.offsets) == [*range(5, 11), *range(101, 2001)]
    assert peer.offsets.index(5) < 300


async def test_a_log_that_is_away_holds_up_no_other_group_and_is_asked_by_one_timer(peer, stream, other, log, clock):
    log.error = LogUnavailable("away")
    peer.follow(stream, after=4)
    peer.follow(other)
    await until(lambda: log.reads)
    push(other, 11)
    await until(lambda: peer.offsets == [11])
    for error in (LogUnavailable("away"), NoLog("none")):
        log.error = error
        for _ in range(5):
            peer.transport.notify()
            await quiet()
        before = len(log.reads)
        clock.advance(conf.POLL_INTERVAL + 1)
        await until(lambda before=before: len(log.reads) > before)
        await quiet()
        assert len(log.reads) == before + 1
    log.error = None
    clock.advance(conf.POLL_INTERVAL + 1)
    await until(lambda: peer.offsets == [11, 5, 6, 7, 8, 9, 10])


async def test_a_log_whose_failure_looks_like_that_of_a_socket_silences_nobody(peer, stream, log, caplog):
    """The client comes back and goes on where it was."""
    log.error = TimeoutError("of a database")
    peer.follow(stream, after=4)
    await until(lambda: peer.close_codes == [INTERNAL_ERROR])
    assert REPORTED in caplog.text


async def test_one_whose_write_fails_is_closed_once_and_costs_nobody_else(connect, stream, caplog):
    failing, peer = await connect(), await connect()
    failing.fail_next(AttributeError("broken"))
    failing.follow(stream)
    peer.follow(stream)
    with caplog.at_level(logging.ERROR, "broadcast"):
        push(stream, 11)
        await until(lambda: failing.close_codes == [INTERNAL_ERROR])
    push(stream, 12)
    await until(lambda: peer.offsets == [11, 12])
    assert REPORTED in caplog.text
    assert (failing.close_codes, failing.received) == ([INTERNAL_ERROR], [])


async def test_one_that_cannot_even_be_closed_leaves_no_exception_behind(connect, stream):
    unhandled: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context))
    peer = await connect()
    peer.follow(stream)
    peer.fail_next(ValueError("broken"))
    peer.send_error = RuntimeError("closed")
    push(stream, 11)
    await until(lambda: peer.close_codes)
    await quiet()
    await peer.transport.close()
    gc.collect()
    assert unhandled == []


async def test_one_that_vanishes_is_no_error_and_costs_nobody_else(connect, stream, kind, caplog):
    gone, peer = await connect(), await connect()
    gone.follow(stream)
    peer.follow(stream)
    gone.vanish()
    for offset in (11, 12, 13):
        push(stream, offset)
        await until(lambda offset=offset: peer.offsets[-1:] == [offset])
    assert (gone.close_codes, caplog.records) == ([], [])
    assert kind != "asgi" or len(gone.events) == 1  # it was told, and does not try again
    await gone.transport.close()
    assert len(stream.positions) == 1


@drops_stalled
async def test_who_takes_nothing_for_long_is_sent_away(peer, stream, clock):
    await stall(peer, stream, 11, 12)
    clock.advance(conf.STALLED_TIMEOUT + 1)
    await until(lambda: peer.close_codes == [STALLED])
    peer.take()
    push(stream, 13)
    await until(lambda: not peer.buffered)
    await quiet()
    assert (peer.offsets, peer.close_codes) == ([11], [STALLED])


@drops_stalled
async def test_who_takes_a_little_now_and_then_stays(peer, stream, clock):
    peer.follow(stream)
    for offset in range(11, 16):
        peer.take(10)
        push(stream, offset)
        await until(lambda: peer.buffered)
        clock.advance(conf.STALLED_TIMEOUT * 0.8)
        await quiet()
        peer.take()
        await until(lambda offset=offset: peer.offsets[-1:] == [offset])
    assert peer.close_codes == []


@pytest.mark.parametrize(
    ("kind", "first"),
    [("asgi with backpressure", "close"), *product(("direct", "direct on daphne"), ("message", "close"))],
)
async def test_who_says_that_it_goes_and_takes_nothing_is_dropped(peer, stream, clock, first, caplog):
    """The server has answered its close; that waits behind what it does not take."""
    peer.take(0)
    peer.follow(stream)
    if first == "message":
        push(stream, 11)
        await until(lambda: peer.buffered)
    await peer.transport.write({"type": "pong"})
    await peer.leave()
    push(stream, stream.head + 1)
    await quiet()
    clock.advance(conf.STALLED_TIMEOUT + 1)
    await until(lambda: peer.is_dropped)
    assert caplog.records == []


@pytest.mark.parametrize("moment", ["new", "idle", "in a write", "in a read"])
async def test_closing_leaves_nothing_behind(peer, stream, log, clock, moment):
    """Neither a position, nor a timer, nor a task, whatever it was doing."""
    before = asyncio.all_tasks()
    log.gate.clear()
    if moment != "new":
        peer.follow(stream, after=4 if moment == "in a read" else None)
    if moment == "in a write":
        peer.take(0)
        push(stream, 11, 12)
    await until(lambda: bool(peer.buffered) == (moment == "in a write") and bool(log.reads) == (moment == "in a read"))
    await peer.transport.close()
    assert not stream.positions
    log.gate.set()
    push(stream, stream.head + 1)
    clock.advance(conf.STALLED_TIMEOUT + 1)
    peer.take()
    await until(lambda: not peer.buffered)
    await quiet()
    assert peer.close_codes == []
    assert peer.offsets == ([11] if moment == "in a write" else [])
    assert asyncio.all_tasks() == before
