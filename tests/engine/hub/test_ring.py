"""The ring: what it keeps, what it forgets, and from where one may read on in it."""

import pytest

from broadcast.engine.hub import ring as ring_module
from broadcast.engine.hub.ring import Ring
from tests.kit.streams import frame


def ring_of(*offsets: int | None) -> Ring:
    ring = Ring()
    for offset in offsets:
        ring.append(frame(offset))
    return ring


def offsets(ring: Ring, index: int | None = None, limit: int = 100) -> list[int | None]:
    return [each.offset for each, _ in ring.after(ring.start if index is None else index, limit)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "BURST_FACTOR", 1)
    monkeypatch.setattr(ring_module, "MAX_FRAMES", 20)


def test_frames_are_read_in_the_order_of_their_arrival():
    ring = ring_of(1, 2, None, 3)
    assert offsets(ring, 0) == [1, 2, None, 3]
    assert offsets(ring, 1, 2) == [2, None]
    assert offsets(ring, ring.end) == []


@pytest.mark.parametrize(
    ("frames", "indexes"),
    [
        ([], [0, None, None, None]),
        ([None, 1, None, None, 2, None], [1, 4, 6, None]),  # not the ephemeral frames before the next offset
        ([3], [None, None, 1, 2]),  # after a gap, by which every index before it lies before the start
    ],
)
def test_a_reader_may_read_on_where_it_misses_nothing(frames, indexes):
    ring = ring_of(*frames)
    assert [ring.index_after(offset) for offset in range(4)] == indexes


def test_a_ring_of_ephemeral_frames_knows_only_its_last_offset():
    ring = Ring()
    ring.clear(7)
    ring.append(frame(None))
    assert (ring.index_after(6), ring.index_after(7)) == (None, ring.end)


def test_frames_with_a_gap_before_them_empty_the_ring_and_whoever_was_at_its_end_is_before_its_start():
    ring = ring_of(1, 2)
    end = ring.end
    ring.append(frame(9))
    assert end < ring.start
    assert (ring.last, ring.size, offsets(ring)) == (9, frame(9).size, [9])
    assert [ring.index_after(offset) for offset in (2, 7, 8, 9)] == [None, None, ring.start, ring.end]


def test_too_many_frames_drop_a_tenth_of_them_the_oldest():
    ring = ring_of(*range(1, 22))
    assert (ring.start, offsets(ring)) == (2, list(range(3, 22)))
    assert (ring.index_after(1), ring.index_after(2)) == (None, 2)
    assert ring.size == sum(each.size for each in ring.frames)
    assert ring.marks[0] == 3


def test_too_large_frames_drop_the_oldest_but_never_the_last(monkeypatch):
    monkeypatch.setattr(ring_module, "MAX_CHARACTERS", 500)
    ring = Ring()
    for offset in range(1, 6):
        ring.append(frame(offset, "x" * 150))
    assert (ring.size <= 500, offsets(ring)) == (True, [4, 5])
    ring.append(frame(6, "x" * 1000))
    assert offsets(ring) == [6]


def test_messages_that_went_before_ephemeral_frames_can_no_longer_be_read(monkeypatch):
    monkeypatch.setattr(ring_module, "MAX_FRAMES", 3)
    ring = ring_of(1, 2, None, None, 3)
    assert offsets(ring) == [None, None, 3]
    assert (ring.index_after(1), ring.index_after(2)) == (None, ring.end - 1)


def test_what_is_new_stays_whole_beside_what_is_old(monkeypatch):
    monkeypatch.setattr(ring_module, "MAX_FRAMES", 5)
    monkeypatch.setattr(ring_module, "BURST_FACTOR", 8)
    ring = ring_of(1, 2)
    ring.settle()
    for _ in range(38):
        ring.append(frame(None))
    ring.settle()
    assert offsets(ring) == [None] * 38
    ring.settle()
    assert len(ring.frames) <= 5


def test_a_frame_that_cannot_be_encoded_leaves_the_ring_as_it_was():
    ring = ring_of(1)
    with pytest.raises(TypeError):
        ring.append(frame(2, data={"at": object()}))
    assert (ring.last, ring.end, len(ring.marks)) == (1, 1, 1)
