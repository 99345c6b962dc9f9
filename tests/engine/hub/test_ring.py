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


def offsets(ring: Ring, index: int, limit: int = 100) -> list[int | None]:
    return [each.offset for each in ring.since(index, limit)]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "BURST_FACTOR", 1)


def test_an_empty_ring_is_at_its_own_end() -> None:
    ring = Ring()
    assert (ring.start, ring.end, ring.last) == (0, 0, 0)
    assert ring.index_after(0) == 0
    assert ring.index_after(1) is None


def test_frames_are_read_in_the_order_of_their_arrival() -> None:
    ring = ring_of(1, 2, None, 3)
    assert offsets(ring, 0) == [1, 2, None, 3]
    assert offsets(ring, 1, 2) == [2, None]
    assert offsets(ring, ring.end) == []


def test_reading_after_an_offset_leaves_out_the_ephemeral_frames_before_the_next_one() -> None:
    ring = ring_of(None, 1, None, None, 2, None)
    assert [ring.index_after(offset) for offset in (0, 1, 2, 3)] == [1, 4, 6, None]


def test_a_ring_of_ephemeral_frames_knows_only_its_last_offset() -> None:
    ring = Ring()
    ring.clear(7)
    ring.append(frame(None))
    assert ring.index_after(7) == ring.end
    assert ring.index_after(6) is None


def test_frames_with_a_gap_before_them_empty_the_ring() -> None:
    ring = ring_of(1, 2)
    ring.append(frame(9))
    assert (ring.last, ring.size) == (9, frame(9).size)
    assert offsets(ring, ring.start) == [9]
    assert [ring.index_after(offset) for offset in (2, 7, 9)] == [None, None, ring.end]
    assert ring.index_after(8) == ring.start


def test_whoever_was_at_the_end_of_a_ring_that_was_emptied_is_before_its_start() -> None:
    ring = ring_of(1, 2)
    end = ring.end
    ring.clear(8)
    assert end < ring.start == ring.end


def test_too_many_frames_drop_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "MAX_FRAMES", 20)
    ring = ring_of(*range(1, 22))
    assert (ring.start, ring.end) == (2, 21)
    assert offsets(ring, ring.start) == list(range(3, 22))
    assert (ring.index_after(1), ring.index_after(2)) == (None, 2)
    assert ring.size == sum(each.size for each in ring.frames)


def test_too_large_frames_drop_the_oldest_but_never_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "MAX_CHARACTERS", 500)
    ring = Ring()
    for offset in range(1, 6):
        ring.append(frame(offset, "x" * 150))
    assert ring.size <= 500
    assert offsets(ring, ring.start) == [4, 5]
    ring.append(frame(6, "x" * 1000))
    assert offsets(ring, ring.start) == [6]


def test_evicted_messages_before_ephemeral_frames_can_no_longer_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "MAX_FRAMES", 3)
    ring = ring_of(1, 2, None, None, 3)
    assert offsets(ring, ring.start) == [None, None, 3]
    assert ring.index_after(1) is None
    assert ring.index_after(2) == ring.end - 1


def test_what_is_new_stays_whole_beside_what_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "MAX_FRAMES", 5)
    monkeypatch.setattr(ring_module, "BURST_FACTOR", 8)
    ring = ring_of(1, 2)
    ring.settle()
    for _ in range(38):
        ring.append(frame(None))
    ring.settle()
    assert offsets(ring, ring.start) == [None] * 38
    ring.settle()
    assert len(ring.frames) <= 5


def test_a_frame_that_cannot_be_encoded_leaves_the_ring_as_it_was() -> None:
    ring = ring_of(1)
    with pytest.raises(TypeError):
        ring.append(frame(2, data={"at": object()}))
    assert (ring.last, ring.end, len(ring.marks)) == (1, 1, 1)
