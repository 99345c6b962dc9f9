"""The budget of one client of a daphne: what it may send, and what becomes of who pours on."""

import asyncio

import pytest
from django.test import override_settings

from broadcast.conf import limits
from broadcast.engine import throttle
from broadcast.engine.commands import max_frame
from broadcast.engine.transports.daphne import gate
from broadcast.engine.transports.daphne.internals import UNSENT, DaphneSocket, pause_reading, resume_reading
from broadcast.engine.transports.pacing import FLOODED, paced
from tests.engine.transports.conftest import limit_input, quiet
from tests.kit.sockets import masked
from tests.kit.waiting import until


def piece(payload: bytes, opcode: int = 0) -> bytes:
    """A frame that does not end its message."""
    whole = masked(payload, opcode)
    return bytes([whole[0] & 0x7F]) + whole[1:]


FLOODS = {
    "pings": masked(b"", opcode=9) * 20_000,
    "pongs": masked(b"", opcode=10) * 20_000,
    "pieces": piece(b"", opcode=1) + piece(b"") * 20_000,
    "texts": masked(b"") * 20_000,
    "bytes": masked(b"x" * 65_000) * 100,
}


async def pass_time(clock, seconds, step=0.1):
    for _ in range(round(seconds / step)):
        clock.advance(step)
        await quiet()


@pytest.mark.parametrize("kind", FLOODS)
@override_settings(BROADCAST={"LIMITS": {"MESSAGE_RATE": 1, "MESSAGE_BURST": 1}})
async def test_who_pours_on_is_held_up_and_then_reported_and_not_read_any_more(opened, clock, monkeypatch, kind):
    monkeypatch.setattr(throttle.Pool, "draw", lambda pool, size: 0.0)
    limit_input(opened.protocol)
    socket = DaphneSocket(opened.protocol)
    sending = opened.flood(FLOODS[kind] * 2)
    await until(lambda: not opened.is_read)
    events = []
    while not events or events[-1] != {"type": FLOODED}:
        await pass_time(clock, 0.1)
        opened.read()
        while not opened.protocol.application_queue._queue.empty():
            events.append(await opened.receive())
    left = len(opened.protocol.data)
    socket.resumeProducing()  # as when it has taken the answers
    await pass_time(clock, gate.LAST_SECONDS - 0.5)
    assert (opened.is_read, len(opened.protocol.data), opened.transport.connected) == (False, left, 1)
    await pass_time(clock, 1)
    await until(lambda: not opened.transport.connected)  # its consumer did nothing
    sending.cancel()


@override_settings(BROADCAST={"LIMITS": {"MESSAGE_RATE": 1, "MESSAGE_BURST": 1}})
async def test_who_pours_on_after_it_was_told_to_go_is_not_read_any_more(opened, clock):
    limit_input(opened.protocol)
    sending = opened.flood(FLOODS["texts"])
    await until(lambda: not opened.is_read)
    await opened.send({"type": "websocket.close", "code": 4501})
    await pass_time(clock, 0.2)
    left = len(opened.protocol.data)
    await pass_time(clock, gate.LAST_SECONDS - 0.5)
    assert (opened.is_read, len(opened.protocol.data)) == (False, left)
    await pass_time(clock, 1)
    await until(lambda: not opened.transport.connected)
    sending.cancel()


async def test_only_a_few_frames_of_one_client_are_parsed_in_a_turn_and_none_is_lost(opened, clock):
    limit_input(opened.protocol)
    heard: list[int] = []
    opened.protocol.onPong = lambda payload: heard.append(len(heard))
    opened.protocol.dataReceived(masked(b"", opcode=10) * 100 + masked(b"last"))
    assert len(heard) == gate.FRAMES_PER_TURN
    assert not opened.is_read
    await until(lambda: opened.is_read)
    assert len(heard) == 100
    assert (await opened.receive())["text"] == "last"


async def test_who_keeps_to_its_messages_is_never_held_up_however_large_they_are(opened, clock, monkeypatch):
    monkeypatch.setattr(gate, "FRAMES_PER_TURN", 10_000)
    monkeypatch.setattr(throttle.Pool, "draw", lambda pool, size: 0.0)
    limit_input(opened.protocol)
    frame = b"\xff" + max_frame().to_bytes(8) + bytes(4) + b"x" * max_frame()
    largest = [piece(b"", opcode=1)[:1] + frame, masked(b"", opcode=0), masked(b"still there", opcode=9)]
    for number in range(limits.MESSAGE_BURST + 10 * int(limits.MESSAGE_RATE)):
        if number >= limits.MESSAGE_BURST:
            clock.advance(1 / limits.MESSAGE_RATE)
        for part in largest:
            for start in range(0, len(part), 8192):
                opened.protocol.dataReceived(part[start : start + 8192])
        assert opened.is_read, number
        assert len((await opened.receive())["text"]) == max_frame()


async def test_the_large_frames_of_many_take_turns_and_small_ones_do_not(opened, clock, monkeypatch):
    monkeypatch.setattr(throttle, "POOL_SECONDS", 0.0)
    limit_input(opened.protocol)
    opened.protocol.dataReceived(masked(b"x" * 8000))
    assert not opened.is_read
    await pass_time(clock, 0.1)
    assert opened.is_read
    opened.protocol.dataReceived(masked(b"x" * 100) * 5)
    assert opened.is_read


async def test_who_dribbles_a_frame_pays_for_each_read(opened, clock):
    limit_input(opened.protocol)
    opened.protocol.dataReceived(masked(b"x" * 1000)[:8])
    for _ in range(1000):
        opened.protocol.dataReceived(b"x")
    assert not opened.is_read


async def test_no_reason_to_read_a_client_overrules_one_not_to(opened, clock):
    limit_input(opened.protocol)
    socket = DaphneSocket(opened.protocol)
    opened.protocol.dataReceived(masked(b"", opcode=10) * 50)
    assert not opened.is_read
    socket.pauseProducing()
    socket.resumeProducing()
    assert not opened.is_read
    socket.pauseProducing()
    await pass_time(clock, 0.2)
    assert not opened.is_read
    socket.resumeProducing()
    assert opened.is_read
    pause_reading(opened.transport, UNSENT)
    resume_reading(opened.transport, UNSENT)
    assert opened.is_read


async def test_who_vanishes_while_it_is_held_up_is_looked_after_no_more(opened, clock):
    limit_input(opened.protocol)
    opened.protocol.dataReceived(FLOODS["pongs"][:6000])
    assert not opened.is_read
    opened.transport.abortConnection()
    await until(lambda: not opened.transport.connected)
    rest = opened.protocol.data
    await pass_time(clock, 1)
    assert opened.protocol.data == rest


async def test_elsewhere_who_pours_is_listened_to_more_and_more_slowly_and_then_reported(clock):
    async def receive():
        return {"type": "websocket.receive", "text": "x"}

    listen = paced(receive)
    waits = []
    event = {"type": ""}
    while event["type"] != FLOODED:
        hearing = asyncio.ensure_future(listen())
        await quiet()
        waits.append(0)
        while not hearing.done():
            waits[-1] += 1
            await pass_time(clock, 0.1)
        event = await hearing
    free = throttle.allowance().frames
    assert not any(waits[: int(free) - 1])
    assert sum(waits) * 0.1 > throttle.PATIENCE / 2  # the clock runs beside it
