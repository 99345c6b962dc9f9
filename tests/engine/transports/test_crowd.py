"""Connections that share one place: each gets everything once and in order, whatever happens in the midst of a loop."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from broadcast.engine.frames import INTERNAL_ERROR, Dialect
from broadcast.engine.hints.hint import Hint
from broadcast.engine.hub import crowd as crowd_module
from broadcast.engine.hub.crowd import Crowd
from broadcast.engine.hub.stream import GroupStream
from broadcast.engine.transports import direct
from tests.engine.transports.conftest import Connect, quiet
from tests.kit.sockets import Peer
from tests.kit.streams import frame
from tests.kit.waiting import until


@pytest.fixture(params=["direct", "direct on daphne"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Gather = Callable[..., Awaitable[list[Peer]]]


@pytest.fixture
def gather(connect: Connect) -> Gather:
    """`await gather(3, stream)` makes three connections that are in the crowds of these streams."""

    async def gather(count: int, *streams: GroupStream) -> list[Peer]:
        peers = [await connect() for _ in range(count)]
        for peer in peers:
            for stream in streams:
                peer.follow(stream)
        await until(lambda: all(is_in(peer, stream) for stream in streams for peer in peers[1:]))
        for stream in streams:
            push(stream, 11)
            await all_hear(peers, stream, 11)
        await until(lambda: all(is_in(peer, stream) for stream in streams for peer in peers))
        return peers

    return gather


@pytest.fixture
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn of the event loop is over after one member."""
    monkeypatch.setattr(crowd_module, "SLICE", 1)
    monkeypatch.setattr(direct, "MAX_TURN", 0.0)


def push(stream: GroupStream, *offsets: int, body: str = "hi") -> None:
    frames = [frame(offset, body, group=stream.name) for offset in offsets]
    stream.apply_hint(Hint(stream.name, frames, stream.epoch, offsets[-1]))


def push_ephemeral(stream: GroupStream) -> None:
    stream.apply_hint(Hint(stream.name, [frame(None, group=stream.name)]))


def is_in(peer: Peer, stream: GroupStream) -> bool:
    crowd = peer.transport.positions[stream.name].crowd
    assert crowd in (None, stream.crowds.get(peer.transport.dialect))
    return crowd is not None


def heard(peer: Peer, stream: GroupStream) -> list[Any]:
    """The offsets of a group's messages; a reset is told as its reason."""
    frames = [fields for fields in peer.received if "offset" in fields and fields.get("group", "g") == stream.name]
    return [fields["offset"] if fields["type"] == "message" else fields["type"] for fields in frames]


async def all_hear(peers: list[Peer], stream: GroupStream, *offsets: Any) -> None:
    await until(lambda: all(heard(peer, stream)[-len(offsets) :] == [*offsets] for peer in peers))


async def test_a_message_is_one_loop_and_no_visit(gather, stream, monkeypatch):
    peers = await gather(5, stream)
    visits: list[Any] = []
    for peer in peers:
        monkeypatch.setattr(type(peer.transport), "write_ready", lambda self: visits.append(self))
    push(stream, 12, 13)
    await all_hear(peers, stream, 11, 12, 13)
    assert visits == []
    assert len(stream.positions) == 1


async def test_who_is_alone_needs_no_crowd(connect, stream):
    peer = await connect()
    peer.follow(stream)
    push(stream, 11)
    await until(lambda: peer.offsets == [11])
    assert stream.crowds == {}


async def test_the_dialects_have_crowds_of_their_own(gather, connect, stream):
    peers = await gather(2, stream)
    plain = [await connect(Dialect.PLAIN) for _ in range(2)]
    for peer in plain:
        peer.follow(stream)
    await until(lambda: all(is_in(peer, stream) for peer in plain))
    push(stream, 12)
    await all_hear(peers, stream, 12)
    await until(lambda: [len(peer.received) for peer in plain] == [1, 1])
    assert set(plain[0].received[0]) == {"author", "body"}
    assert len(stream.crowds) == 2


@pytest.mark.parametrize("room", [0, 1, 100])
async def test_who_takes_only_a_part_goes_on_alone_and_comes_back(gather, stream, other, room):
    """In its other groups, too: otherwise a frame of theirs would get into the midst of its frame."""
    slow, *others = await gather(4, stream, other)
    slow.take(room)
    push(stream, 12, 13)
    push(other, 12)
    await all_hear(others, stream, 12, 13)
    await all_hear(others, other, 12)
    assert not is_in(slow, stream)
    assert not is_in(slow, other)
    push(other, 13)
    await all_hear(others, other, 13)
    slow.take()
    await all_hear([slow], stream, 11, 12, 13)
    await all_hear([slow], other, 11, 12, 13)
    await until(lambda: is_in(slow, stream) and is_in(slow, other))


async def test_who_vanishes_in_the_midst_of_the_loop_costs_nobody_else(gather, stream, caplog):
    peers = await gather(6, stream)
    for peer in peers[1:4]:
        peer.vanish()
    push(stream, 12)
    push(stream, 13)
    staying = [peers[0], *peers[4:]]
    await all_hear(staying, stream, 12, 13)
    assert caplog.records == []
    await asyncio.gather(*(peer.transport.close() for peer in peers[1:4]))
    push(stream, 14)
    await all_hear(staying, stream, 14)
    assert all(is_in(peer, stream) for peer in staying)


async def test_one_that_fails_in_a_way_that_nobody_foresaw_is_sent_away_and_no_other(gather, stream, caplog):
    failing, *others = await gather(3, stream)
    failing.fail_next(ValueError("unforeseen"))
    with caplog.at_level(logging.ERROR, "broadcast"):
        push(stream, 12)
        await all_hear(others, stream, 12)
        await until(lambda: failing.close_codes)
    assert "unforeseen" in caplog.text


async def test_a_batch_that_cannot_be_made_fails_each_by_itself(gather, stream, monkeypatch, caplog):
    peers = await gather(3, stream)
    monkeypatch.setattr(GroupStream, "batch", lambda stream, position: 1 / 0)
    push(stream, 12)
    await until(lambda: all(peer.close_codes for peer in peers))


async def test_one_whose_rest_cannot_be_handed_over_is_sent_away_and_no_other(gather, stream, monkeypatch, caplog):
    failing, slow, *others = await gather(6, stream)
    monkeypatch.setattr(type(failing.transport._socket), "hand_over", failing_for(failing.transport._socket))
    for peer in (failing, slow):
        peer.take(10)
    push(stream, 12)
    push(stream, 13)
    await all_hear(others, stream, 11, 12, 13)
    await until(lambda: failing.close_codes)
    slow.take()
    await all_hear([slow], stream, 11, 12, 13)


def failing_for(socket: Any) -> Any:
    hand_over = type(socket).hand_over

    def fails(self: Any, *args: Any) -> Any:
        if self is socket:
            raise ValueError("unforeseen")
        return hand_over(self, *args)

    return fails


@pytest.mark.parametrize("kind", ["direct"])
async def test_a_message_that_cannot_be_encoded_does_not_silence_the_crowd(gather, stream, caplog):
    peers = await gather(3, stream)
    push(stream, 12, body="\ud800")
    await until(lambda: all(peer.close_codes == [INTERNAL_ERROR] for peer in peers))


async def test_what_the_server_writes_costs_nobody_its_place(gather, stream):
    peers = await gather(2, stream)
    await peers[0].transport.write({"type": "pong"})
    assert is_in(peers[0], stream)
    push(stream, 12)
    await all_hear(peers, stream, 12)
    assert peers[0].types == ["message", "pong", "message"]


async def test_unless_it_waits(gather, stream):
    peers = await gather(2, stream)
    peers[0].take(3)
    await peers[0].transport.write({"type": "pong"})
    assert not is_in(peers[0], stream)
    push(stream, 12)
    await all_hear(peers[1:], stream, 12)
    peers[0].take()
    await until(lambda: peers[0].types == ["message", "pong", "message"])


async def test_whoever_closes_gets_nothing_more(gather, stream):
    leaving, closed, *others = await gather(4, stream)
    await leaving.leave()
    await closed.transport.disconnect(4000)
    push(stream, 12)
    await all_hear(others, stream, 12)
    await quiet()
    assert heard(leaving, stream) == heard(closed, stream) == [11]


async def test_a_newcomer_gets_nothing_from_before_it_came(gather, connect, stream):
    peers = await gather(2, stream)
    push_ephemeral(stream)
    newcomer = await connect()
    newcomer.follow(stream)
    push(stream, 12)
    await all_hear(peers, stream, 11, None, 12)
    await all_hear([newcomer], stream, 12)
    await until(lambda: is_in(newcomer, stream))
    assert heard(newcomer, stream) == [12]


async def test_who_reads_the_log_comes_in_when_it_has_caught_up(gather, connect, stream, other, log):
    peers = await gather(2, stream, other)
    reading = await connect()
    log.gate.clear()
    reading.follow(stream, after=4)
    reading.follow(other)
    await until(lambda: len(log.reads) == 1)
    push(stream, 12)
    push(other, 12)
    await all_hear(peers, other, 12)
    assert not is_in(reading, stream)
    log.gate.set()
    await all_hear([reading], stream, *range(5, 13))
    await until(lambda: is_in(reading, stream) and is_in(reading, other))
    assert heard(reading, other) == [12]


@pytest.mark.parametrize("what", ["a new epoch", "a gap"])
async def test_what_each_has_to_be_told_is_told_to_each(gather, stream, what):
    peers = await gather(3, stream)
    if what == "a new epoch":
        stream.restart("new", 3, 0)
        push(stream, 4)
        await all_hear(peers, stream, 11, "reset", 4)
    else:
        stream.skip_to(14)  # what lies between is in the log
        stream.notify()
        await all_hear(peers, stream, 11, 12, 13, 14)
        push(stream, 15)
        await all_hear(peers, stream, 15)
    await until(lambda: all(is_in(peer, stream) for peer in peers[1:]))


@pytest.mark.usefixtures("short_turns")
@pytest.mark.parametrize("seed", range(12))
async def test_come_and_go_in_the_midst_of_a_loop(connect, stream, other, log, seed):
    """Whoever leaves has the batch or has it not; whoever comes gets all from where it came."""
    chance = random.Random(seed)
    streams = [stream, other]
    peers: list[Peer] = []
    since: list[dict[str, int]] = []
    for _ in range(200):
        match chance.choice(["come", "send", "send", "send", "ephemeral", "shut", "open", "open", "ping", "turn"]):
            case "come" if len(peers) < 8:
                peers.append(await connect())
                since.append({})
                for each in chance.sample(streams, chance.choice([1, 2])):
                    after = each.head if chance.random() < 0.7 else max(10, each.head - 2)
                    peers[-1].follow(each, after=after)
                    since[-1][each.name] = after
            case "send":
                each = chance.choice(streams)
                push(each, *range(each.head + 1, each.head + chance.randint(2, 5)), body="x" * chance.randint(0, 150))
            case "ephemeral":
                push_ephemeral(chance.choice(streams))
            case "shut" if peers:
                chance.choice(peers).take(chance.randint(0, 600))
            case "open" if peers:
                chance.choice(peers).take()
            case "ping" if peers:
                await chance.choice(peers).transport.write({"type": "pong"})
            case _:
                await asyncio.sleep(0)
    for peer in peers:
        peer.take()
    for peer, joined in zip(peers, since, strict=True):
        for each in streams:
            if each.name in joined:
                wanted = list(range(joined[each.name] + 1, each.head + 1))
                await until(lambda peer=peer, each=each, wanted=wanted: [n for n in heard(peer, each) if n] == wanted)
    await quiet()
    crowds: list[Crowd] = [crowd for each in streams for crowd in each.crowds.values()]
    members = [position for crowd in crowds for position in crowd._members]
    assert len(members) == len(set(members))
