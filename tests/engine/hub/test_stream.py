"""The feed: what follows, what is missing, and that each position gets all of it or is told."""

import asyncio
from typing import Any

import pytest

from broadcast.engine.frames import Frame
from broadcast.engine.hints.hint import Hint
from broadcast.engine.hub import pages as pages_module
from broadcast.engine.hub import ring as ring_module
from broadcast.engine.hub import stream as stream_module
from broadcast.engine.hub.stream import GroupStream, Position
from broadcast.exceptions import LogUnavailable
from tests.kit.streams import frame, is_live


class Log:
    """A log in memory: the pages that a feed reads, and how often it did."""

    def __init__(self, *offsets: int) -> None:
        self.offsets = list(offsets)
        self.reads: list[int] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def page(self, group: str, after: int) -> list[Frame]:
        self.reads.append(after)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [frame(offset) for offset in self.offsets if after < offset <= after + pages_module.PAGE]


class Listener:
    def __init__(self) -> None:
        self.notices = 0

    def notify(self) -> None:
        self.notices += 1


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "PAGE", 10)
    monkeypatch.setattr(pages_module, "MAX_PAGES", 2)
    monkeypatch.setattr(stream_module, "MAX_OUT_OF_ORDER", 3)
    monkeypatch.setattr(ring_module, "BURST_FACTOR", 1)


def feed_at(head: int, log: Log | None = None, floor: int = 0) -> GroupStream:
    stream = GroupStream("g", (log or Log()).page)
    stream.restart("e", head, floor)
    return stream


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


# Hints


async def test_what_follows_is_appended_and_everyone_is_notified() -> None:
    stream = feed_at(5)
    position = follow(stream)
    assert stream.take(hint(6, 7)) is False
    assert position.follower.notices == 1  # type: ignore[attr-defined]
    assert await everything(position) == [6, 7]


async def test_what_came_already_is_dropped() -> None:
    stream = feed_at(5)
    position = follow(stream)
    for offsets in ((6,), (5, 6), (6, 7), (7,)):
        assert stream.take(hint(*offsets)) is False
    assert await everything(position) == [6, 7]


async def test_what_comes_early_waits_for_what_is_missing() -> None:
    stream = feed_at(0)
    position = follow(stream)
    assert stream.take(hint(3)) is True
    assert stream.take(hint(2)) is True
    assert await everything(position) == []
    assert stream.take(hint(1)) is False
    assert await everything(position) == [1, 2, 3]
    assert stream.out_of_order == {}


async def test_a_hint_that_tells_less_than_there_is_asks_for_the_log() -> None:
    assert feed_at(0).take(hint(1, head=2)) is True


async def test_early_frames_are_bounded() -> None:
    stream = feed_at(0)
    stream.take(hint(2, 3, 4, 5, 6))
    assert sorted(stream.out_of_order) == [2, 3, 4]


async def test_another_epoch_is_not_appended() -> None:
    stream = feed_at(5)
    assert stream.take(hint(6, epoch="other")) is True
    assert stream.head == 5


async def test_what_the_log_gives_is_merged_with_what_came_early() -> None:
    stream = feed_at(0)
    position = follow(stream)
    stream.take(hint(3, 5))
    stream.apply_page([frame(1), frame(2), frame(3), frame(4)], 0, 4)
    assert await everything(position) == [1, 2, 3, 4, 5]
    assert stream.out_of_order == {}


async def test_a_page_that_was_overtaken_by_hints_changes_nothing() -> None:
    stream = feed_at(0)
    position = follow(stream)
    stream.take(hint(1, 2, 3))
    stream.apply_page([], 0, 2)
    stream.apply_page([frame(1), frame(2)], 0, 2)
    assert await everything(position) == [1, 2, 3]


async def test_a_frame_that_cannot_be_encoded_disturbs_nobody() -> None:
    stream = feed_at(0)
    position = follow(stream)
    with pytest.raises(TypeError):
        stream.take(Hint("g", [frame(None, at=object())]))
    stream.take(hint(1))
    assert await everything(position) == [1]


# Gaps


async def test_whoever_was_at_the_end_is_told_when_messages_are_gone() -> None:
    stream = feed_at(2, Log(6, 7))
    position = follow(stream)
    stream.apply_page([frame(6), frame(7)], 2, 7)
    assert await everything(position) == [("reset", 5), 6, 7]


async def test_whoever_was_at_the_end_reads_a_long_gap_from_the_log() -> None:
    log = Log(*range(1, 31))
    stream = feed_at(2, log)
    position = follow(stream)
    stream.skip_to(28)
    stream.apply_page([frame(29), frame(30)], 28, 30)
    assert await everything(position) == list(range(3, 31))
    assert log.reads == [0, 10, 20]


async def test_when_all_that_is_missing_is_gone_everyone_is_told() -> None:
    stream = feed_at(2)
    position = follow(stream)
    stream.apply_page([], 2, 9)
    assert await everything(position) == [("reset", 9)]


# Positions


@pytest.mark.parametrize(
    ("after", "epoch", "offset", "recovered"),
    [
        (None, "", 9, False),
        (9, "e", 9, True),
        (5, "e", 5, True),
        (4, "e", 4, True),
        (3, "e", 4, False),
        (10, "e", 9, False),
        (5, "other", 9, False),
        (5, "", 9, False),
    ],
)
async def test_where_a_newcomer_begins(after: int | None, epoch: str, offset: int, recovered: bool) -> None:
    stream = feed_at(9, floor=4)
    position, did = stream.follow(Listener(), after, epoch)
    assert (position.offset, did) == (offset, recovered)


async def test_a_returning_reader_goes_on_in_the_ring_without_asking_the_log() -> None:
    log = Log()
    stream = feed_at(5, log)
    stream.take(hint(6, 7, 8))
    assert await everything(follow(stream, 6)) == [7, 8]
    assert await everything(follow(stream, 8)) == []
    assert log.reads == []


async def test_a_reader_further_back_goes_from_the_log_into_the_ring() -> None:
    log = Log(*range(1, 26))
    stream = feed_at(23, log)
    stream.take(hint(24, 25))
    assert await everything(follow(stream, 4)) == list(range(5, 26))
    assert log.reads == [0, 10, 20]


async def test_a_reader_that_falls_out_of_the_ring_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "MAX_FRAMES", 5)
    stream = feed_at(0, Log(*range(1, 41)))
    position = follow(stream)
    stream.take(hint(1, 2))
    assert [each.offset for each in await next_frames(position, 1)] == [1]
    stream.take(hint(*range(3, 41)))
    assert await everything(position) == list(range(2, 41))


async def test_at_most_so_many_frames_at_a_time() -> None:
    stream = feed_at(0)
    position = follow(stream)
    stream.take(hint(1, 2, 3))
    assert len(await next_frames(position, 2)) == 2
    assert not is_live(position)


async def test_pruned_history_is_told_and_skipped() -> None:
    stream = feed_at(30, Log(*range(21, 31)))
    position = follow(stream, 5)
    stream.floor = 20
    assert await everything(position) == [("reset", 20), *range(21, 31)]


async def test_history_that_was_pruned_unnoticed_is_told_page_by_page() -> None:
    stream = feed_at(30, Log(*range(15, 31)))
    assert await everything(follow(stream, 5)) == [("reset", 10), ("reset", 14), *range(15, 31)]


async def test_a_hole_in_the_log_is_told() -> None:
    stream = feed_at(9, Log(1, 2, 3, 6, 7, 8, 9))
    assert await everything(follow(stream, 0)) == [1, 2, 3, ("reset", 5), 6, 7, 8, 9]


async def test_a_reader_does_not_run_ahead_of_its_feed() -> None:
    """The log may have more than the hub has heard of; it comes when the hub has."""
    log = Log(*range(1, 9))
    stream = feed_at(5, log)
    position = follow(stream, 2)
    assert await everything(position) == [3, 4, 5]
    stream.take(hint(6, 7, 8))
    assert await everything(position) == [6, 7, 8]


async def test_those_who_want_the_same_page_share_one_read() -> None:
    log = Log(*range(1, 26))
    stream = feed_at(25, log)
    log.gate.clear()
    readers = [asyncio.ensure_future(everything(follow(stream, after))) for after in [0, 3, 5, 9] * 10]
    for _ in range(3):
        await asyncio.sleep(0)
    log.gate.set()
    got = await asyncio.gather(*readers)
    assert [each[0] for each in got[:4]] == [1, 4, 6, 10]
    assert all(each[-1] == 25 for each in got)
    assert log.reads == [0, 10, 20]


async def test_a_page_that_has_grown_since_is_read_again() -> None:
    log = Log(*range(1, 14))
    stream = feed_at(13, log)
    assert await everything(follow(stream, 11)) == [12, 13]
    log.offsets += [14, 15]
    stream.skip_to(15)
    assert await everything(follow(stream, 11)) == [12, 13, 14, 15]
    assert log.reads == [10, 10]


async def test_only_some_pages_are_kept() -> None:
    stream = feed_at(95, Log(*range(1, 96)))
    assert await everything(follow(stream, 0)) == list(range(1, 96))
    assert len(stream._pages._pages) == 2


async def test_one_reader_that_leaves_does_not_end_the_read_of_the_others() -> None:
    log = Log(1, 2, 3)
    stream = feed_at(3, log)
    log.gate.clear()
    leaving, staying = (asyncio.ensure_future(everything(follow(stream, 0))) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    log.gate.set()
    assert await staying == [1, 2, 3]
    assert log.reads == [0]


async def test_a_read_that_fails_is_tried_again_by_the_next_who_asks() -> None:
    log = Log(1, 2, 3)
    stream = feed_at(3, log)
    log.error = LogUnavailable("away")
    position = follow(stream, 0)
    for _ in range(2):
        with pytest.raises(LogUnavailable):
            await next_frames(position, 64)
    log.error = None
    assert await everything(position) == [1, 2, 3]
    assert log.reads == [0, 0, 0]


async def test_a_read_that_was_cancelled_is_tried_again() -> None:
    log = Log(1, 2, 3)
    stream = feed_at(3, log)
    log.gate.clear()
    asyncio.get_running_loop().call_soon(lambda: stream._pages._pages[0].cancel())
    with pytest.raises(asyncio.CancelledError):
        await stream._pages.after(0, 3)
    log.gate.set()
    assert await everything(follow(stream, 0)) == [1, 2, 3]


# Epochs


async def test_a_new_epoch_is_told_to_everyone_wherever_they_were() -> None:
    stream = feed_at(9, Log(*range(1, 10)))
    live, behind = follow(stream), follow(stream, 2)
    stream.restart("new", 4, 0)
    assert live.follower.notices == 1  # type: ignore[attr-defined]
    stream.take(hint(5, epoch="new"))
    assert await everything(live) == [("reset", 4), 5]
    assert await everything(behind) == [("reset", 4), 5]
    assert live.epoch == "new"


async def test_an_old_page_that_arrives_after_a_new_epoch_is_dropped() -> None:
    log = Log(*range(1, 10))
    stream = feed_at(9, log)
    position = follow(stream, 2)
    log.gate.clear()
    reading = asyncio.ensure_future(next_frames(position, 64))
    await asyncio.sleep(0)
    stream.restart("new", 4, 0)
    log.gate.set()
    assert await reading == []
    assert await everything(position) == [("reset", 4)]


async def test_a_new_epoch_reaches_those_who_are_far_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "MAX_FRAMES", 3)
    log = Log(*range(1, 25))
    stream = feed_at(9, log)
    position = follow(stream)
    stream.restart("new", 4, 0)
    stream.take(hint(*range(5, 25), epoch="new"))
    assert await everything(position) == [("reset", 4), *range(5, 25)]


# Live only


async def test_without_a_log_a_position_gets_what_comes_from_now_on() -> None:
    stream = GroupStream("g", Log().page)
    stream.take(ephemeral("before"))
    position, recovered = stream.follow(Listener(), 3, "e")
    assert not recovered
    assert await everything(position) == []
    stream.take(ephemeral("after"))
    assert [each.fields["body"] for each in await next_frames(position, 9)] == ["after"]


async def test_without_a_log_a_slow_reader_goes_on_with_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "MAX_FRAMES", 2)
    stream = GroupStream("g", Log().page)
    position = follow(stream)
    for body in "abc":
        stream.take(ephemeral(body))
    assert [each.fields["body"] for each in await next_frames(position, 9)] == ["b", "c"]


async def test_when_a_log_comes_into_being_those_who_are_live_are_told() -> None:
    stream = GroupStream("g", Log().page)
    position = follow(stream)
    assert stream.take(hint(1)) is True
    stream.restart("e", 1, 0)
    stream.take(hint(2))
    assert await everything(position) == [("reset", 1), 2]


async def test_a_reset_without_a_log_names_no_offset() -> None:
    stream = GroupStream("g", Log().page)
    assert stream.reset(0, "why").frames[0].fields == {
        "type": "reset",
        "group": "g",
        "epoch": "",
        "offset": None,
        "reason": "why",
    }


async def test_ephemeral_frames_are_for_those_who_were_there() -> None:
    stream = feed_at(0, Log(1))
    out_of_order = follow(stream)
    stream.take(ephemeral())
    late = follow(stream, 0)
    stream.take(hint(1))
    stream.take(ephemeral())
    assert await everything(out_of_order) == [None, 1, None]
    assert await everything(late) == [1, None]


async def test_a_burst_of_ephemeral_frames_arrives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "MAX_FRAMES", 5)
    monkeypatch.setattr(ring_module, "BURST_FACTOR", 8)
    stream = feed_at(7)
    position = follow(stream)
    for number in range(40):
        stream.take(ephemeral(str(number)))
    assert [each.fields["body"] for each in await next_frames(position)] == [str(number) for number in range(40)]
    stream.ring.settle()
    assert len(stream.ring.frames) == 40  # it is new
    stream.ring.settle()
    assert len(stream.ring.frames) <= 5
    stream.take(ephemeral("next"))
    assert [each.fields["body"] for each in await next_frames(position)] == ["next"]


@pytest.mark.parametrize("head", [0, 7])
async def test_of_too_many_ephemeral_frames_the_newest_arrive(monkeypatch: pytest.MonkeyPatch, head: int) -> None:
    monkeypatch.setattr(ring_module, "MAX_FRAMES", 5)
    stream = feed_at(head, Log(*range(1, head + 1)))
    position, newcomer = follow(stream), follow(stream, 0)
    for number in range(40):
        stream.take(ephemeral(str(number)))
    assert [each.fields["body"] for each in await next_frames(position)] == ["35", "36", "37", "38", "39"]
    assert await everything(newcomer) == list(range(1, head + 1)) + [None] * 5 * (head == 0)


# Leaving


async def test_a_feed_is_idle_from_its_last_leaver_to_its_next_newcomer() -> None:
    stream = feed_at(0)
    first, second = follow(stream), follow(stream)
    first.leave()
    assert stream.idle_since is None
    second.leave()
    second.leave()
    assert stream.idle_since is not None
    follow(stream)
    assert stream.idle_since is None
