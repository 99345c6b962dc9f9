"""The stream of a group: what follows, what is missing, and that each position gets all of it or is told."""

import asyncio
from typing import Any

import pytest

from broadcast.engine.frames import Frame
from broadcast.engine.hints.hint import Hint
from broadcast.engine.hub import pages as pages_module
from broadcast.engine.hub import ring as ring_module
from broadcast.engine.hub import stream as stream_module
from broadcast.engine.hub.position import Position
from broadcast.engine.hub.stream import GroupStream
from tests.kit.streams import PageLog, frame


class Listener:
    def __init__(self) -> None:
        self.notices = 0

    def notify(self) -> None:
        self.notices += 1


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "PAGE", 10)
    monkeypatch.setattr(stream_module, "MAX_OUT_OF_ORDER", 3)
    monkeypatch.setattr(ring_module, "BURST_FACTOR", 1)


def stream_at(head: int, log: PageLog | None = None, floor: int = 0) -> GroupStream:
    stream = GroupStream("g", (log or PageLog()).read_for)
    stream.restart("e", head, floor)
    return stream


def live_only() -> GroupStream:
    return GroupStream("g", PageLog().read_for)


def log_to(head: int) -> PageLog:
    return PageLog(*range(1, head + 1))


def follow(stream: GroupStream, after: int | None = None, epoch: str = "e") -> Position:
    return stream.follow(Listener(), after, epoch)[0]


def hint(*offsets: int, head: int | None = None, epoch: str = "e") -> Hint:
    return Hint("g", [frame(offset) for offset in offsets], epoch, head or max(offsets))


def ephemeral(body: str = "typing") -> Hint:
    return Hint("g", [frame(None, body)])


async def next_frames(position: Position, limit: int = 64) -> list[Frame]:
    """What a position gets next, at most ``limit`` frames, which it then has passed."""
    batch = position.stream.batch(position) or await position.stream.older_batch(position)
    frames = batch.frames[:limit]
    if frames:
        position.passed(batch, len(frames))
    return frames


async def bodies(position: Position) -> list[str]:
    return [each.fields["body"] for each in await next_frames(position)]


async def everything(position: Position) -> list[Any]:
    """All that a position gets until it is at the end: offsets, and resets as ("reset", offset)."""
    got: list[Any] = []
    for _ in range(100):
        frames = await next_frames(position)
        for each in frames:
            kind = each.fields["type"]
            got.append(each.offset if kind == "message" else (kind, each.fields["offset"]))
        if not frames:
            return got
    raise AssertionError(f"never at the end: {got}")


@pytest.mark.parametrize(
    ("hints", "asks_for_the_log", "got"),
    [
        ([hint(6, 7)], [False], [6, 7]),
        ([hint(6), hint(5, 6), hint(6, 7), hint(7)], [False] * 4, [6, 7]),
        ([hint(8), hint(7), hint(6)], [True, True, False], [6, 7, 8]),
        ([hint(6, head=7)], [True], [6]),
        ([hint(6, epoch="other")], [True], []),
        ([hint(7, 8, 9, 10, 11), hint(6)], [True, False], [6, 7, 8, 9]),  # what comes early is bounded
    ],
)
async def test_what_follows_is_appended_and_what_is_missing_is_asked_for(hints, asks_for_the_log, got):
    stream = stream_at(5)
    position = follow(stream)
    assert [stream.apply_hint(each) for each in hints] == asks_for_the_log
    assert await everything(position) == got
    assert stream.out_of_order == {}
    assert (position.follower.notices > 0) is (stream.epoch == hints[0].epoch)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("early", "got"), [([3, 5], [1, 2, 3, 4, 5]), ([1, 2, 3], [1, 2, 3])], ids=["ahead", "overtaken"]
)
async def test_what_the_log_gives_is_merged_with_what_came_meanwhile(early, got):
    stream = stream_at(0)
    position = follow(stream)
    stream.apply_hint(hint(*early))
    stream.apply_page([frame(1), frame(2), frame(3)], 0, 3)
    stream.apply_page([], 0, 2)
    stream.apply_hint(hint(4)) if 5 in early else None
    assert await everything(position) == got
    assert stream.out_of_order == {}


@pytest.mark.parametrize(
    ("page", "got"), [([frame(6), frame(7)], [("reset", 5), 6, 7]), ([], [("reset", 7)])], ids=["some", "all"]
)
async def test_whoever_was_at_the_end_is_told_what_is_gone(page, got):
    stream = stream_at(2, PageLog(*(each.offset or 0 for each in page)))
    position = follow(stream)
    stream.apply_page(page, 2, 7)
    assert await everything(position) == got


@pytest.mark.parametrize(
    ("kept", "floor", "got"),
    [
        (range(21, 31), 20, [("reset", 20), *range(21, 31)]),
        (range(15, 31), 0, [("reset", 10), ("reset", 14), *range(15, 31)]),  # the hub is yet to hear of it
        ([6, 7, 8, *range(11, 31)], 0, [6, 7, 8, ("reset", 10), *range(11, 31)]),
    ],
    ids=["pruned", "pruned unnoticed", "a hole"],
)
async def test_what_the_log_no_longer_has_is_told(kept, floor, got):
    stream = stream_at(30, PageLog(*kept))
    position = follow(stream, 5)
    stream.floor = floor
    assert await everything(position) == got


@pytest.mark.parametrize(
    ("after", "epoch", "offset", "recovered"),
    [
        (None, "", 9, False),
        (9, "e", 9, True),
        (4, "e", 4, True),
        (3, "e", 4, False),
        (10, "e", 9, False),
        (5, "other", 9, False),
        (5, "", 9, False),
    ],
)
async def test_where_a_newcomer_begins(after, epoch, offset, recovered):
    stream = stream_at(9, floor=4)
    position, did = stream.follow(Listener(), after, epoch)
    assert (position.offset, did) == (offset, recovered)


@pytest.mark.parametrize(
    ("after", "reads"), [(23, []), (25, []), (4, [0, 10, 20])], ids=["in the ring", "at the end", "in the log"]
)
async def test_a_reader_asks_the_log_for_what_the_ring_does_not_have(after, reads):
    log = log_to(25)
    stream = stream_at(23, log)
    stream.apply_hint(hint(24, 25))
    assert await everything(follow(stream, after)) == list(range(after + 1, 26))
    assert log.reads == reads


async def test_a_reader_does_not_run_ahead_of_its_stream():
    """The log may have more than the hub has heard of; it comes when the hub has."""
    stream = stream_at(5, log_to(8))
    position = follow(stream, 2)
    assert await everything(position) == [3, 4, 5]
    stream.apply_hint(hint(6, 7, 8))
    assert await everything(position) == [6, 7, 8]


async def test_those_at_the_same_place_share_a_batch_and_its_bytes():
    stream = stream_at(0)
    first, second = follow(stream), follow(stream)
    stream.apply_hint(hint(1, 2))
    batch = stream.batch(first)
    assert batch is not None
    assert stream.batch(second) is batch
    assert batch.is_last
    stream.apply_hint(hint(3))
    assert stream.batch(second) is not batch


async def test_a_new_epoch_is_told_to_everyone_wherever_they_were():
    stream = stream_at(9, log_to(9))
    live, behind = follow(stream), follow(stream, 2)
    stream.restart("new", 4, 0)
    assert live.follower.notices == 1  # type: ignore[attr-defined]
    stream.apply_hint(hint(5, epoch="new"))
    assert await everything(live) == await everything(behind) == [("reset", 4), 5]
    assert live.epoch == "new"


async def test_an_old_page_that_arrives_after_a_new_epoch_is_dropped():
    log = log_to(9)
    stream = stream_at(9, log)
    position = follow(stream, 2)
    log.gate.clear()
    reading = asyncio.ensure_future(next_frames(position))
    await asyncio.sleep(0)
    stream.restart("new", 4, 0)
    log.gate.set()
    assert await reading == []
    assert await everything(position) == [("reset", 4)]


async def test_without_a_log_a_position_gets_what_comes_from_now_on():
    stream = live_only()
    stream.apply_hint(ephemeral("before"))
    position, recovered = stream.follow(Listener(), 3, "e")
    assert not recovered
    assert await everything(position) == []
    stream.apply_hint(ephemeral("after"))
    assert await bodies(position) == ["after"]


async def test_without_a_log_a_slow_reader_goes_on_with_what_is_left(monkeypatch):
    monkeypatch.setattr(ring_module, "MAX_FRAMES", 2)
    stream = live_only()
    position = follow(stream)
    for body in "abc":
        stream.apply_hint(ephemeral(body))
    assert await bodies(position) == ["b", "c"]


async def test_when_a_log_comes_into_being_those_who_are_live_are_told():
    stream = live_only()
    position = follow(stream)
    assert stream.apply_hint(hint(1)) is True
    stream.restart("e", 1, 0)
    stream.apply_hint(hint(2))
    assert await everything(position) == [("reset", 1), 2]


async def test_a_reset_without_a_log_names_no_offset():
    told = {"type": "reset", "group": "g", "epoch": "", "offset": None, "reason": "why"}
    assert live_only().reset(0, "why").frames[0].fields == told


async def test_ephemeral_frames_are_for_those_who_were_there():
    stream = stream_at(0, PageLog(1))
    early = follow(stream)
    stream.apply_hint(ephemeral())
    late = follow(stream, 0)
    stream.apply_hint(hint(1))
    stream.apply_hint(ephemeral())
    assert await everything(early) == [None, 1, None]
    assert await everything(late) == [1, None]


@pytest.mark.parametrize("head", [0, 7])
async def test_of_too_many_ephemeral_frames_the_newest_arrive(monkeypatch, head):
    monkeypatch.setattr(ring_module, "MAX_FRAMES", 5)
    stream = stream_at(head, log_to(head))
    position, newcomer = follow(stream), follow(stream, 0)
    for number in range(40):
        stream.apply_hint(ephemeral(str(number)))
    assert await bodies(position) == ["35", "36", "37", "38", "39"]
    assert await everything(newcomer) == list(range(1, head + 1)) + [None] * 5 * (head == 0)


async def test_a_stream_is_idle_from_its_last_leaver_to_its_next_newcomer():
    stream = stream_at(0)
    first, second = follow(stream), follow(stream)
    first.leave()
    assert stream.idle_since is None
    second.leave()
    second.leave()
    assert stream.idle_since is not None
    follow(stream)
    assert stream.idle_since is None


async def test_what_comes_while_a_page_is_read_that_is_pruned_is_not_skipped() -> None:
    log = log_to(46)
    stream = stream_at(32, log, floor=32)
    position = follow(stream, 26)
    position.place.offset, stream.floor = 26, 39  # the log has been pruned beyond what this hub has heard of
    log.gate.clear()
    reading = asyncio.ensure_future(position.stream.older_batch(position))
    await asyncio.sleep(0)
    stream.apply_page([frame(offset) for offset in range(40, 47)], 32, 46)
    log.gate.set()
    batch = await reading
    assert [each.fields["offset"] for each in batch.frames] == [39]


async def test_a_position_that_goes_on_in_another_epoch_has_joined_where_that_begins() -> None:
    stream = stream_at(9)
    position = follow(stream)
    stream.restart("older", 4, 0)
    stream.apply_hint(hint(5, epoch="older"))
    assert await everything(position) == [("reset", 4), 5]
    assert position.joined_at == 4
