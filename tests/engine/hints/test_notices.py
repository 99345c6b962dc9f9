"""Notices: what is put together, what is left out, and what of it a node is told."""

import json
from typing import Any

import pytest

from broadcast.engine.hints.hint import Hint
from broadcast.engine.hints.notices import MAX_EVENTS, MAX_HEADS, NoticeReader, NoticeWriter, Outbox
from broadcast.engine.process import Process
from tests.kit.streams import frame

EVENT = {"type": "broadcast.test", "n": 1}


class Node:
    """What a node of another process hears."""

    def __init__(self) -> None:
        self.hints: list[Hint] = []
        self.events: list[Any] = []
        self.reader = NoticeReader(Process(), self.hints.append, self.events.append)


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def writer() -> NoticeWriter:
    return NoticeWriter(Process(), 1000)


def outbox_of(*whats: Any) -> Outbox:
    outbox = Outbox()
    for what in whats:
        outbox.add(Outbox.of_hint(what) if isinstance(what, Hint) else Outbox.of_event(what))
    return outbox


def head(number: int, group: str = "broadcast", epoch: str = "e") -> Hint:
    return Hint(group, [], epoch, number)


def test_of_each_group_the_newest_head_is_told_and_of_an_epoch_the_last(node, writer):
    told = outbox_of(head(3), head(2), head(9, "other", "old"), head(1, "other", "new"))
    node.reader.read(notice.data for notice in writer.notices(told))
    assert node.hints == [head(3), head(1, "other", "new")]
    many = [notice.data for number in (5, 7, 6) for notice in writer.notices(outbox_of(head(number)))]
    node.reader.read(many)
    assert node.hints[2:] == [head(7)]


def test_no_body_of_the_log_leaves_and_each_ephemeral_frame_does(node, writer):
    logged = Hint("broadcast", [frame(1, "secret")], "e", 1)
    (notice,) = writer.notices(outbox_of(logged, Hint("broadcast", [frame(None, "typing")]), EVENT))
    assert b"secret" not in notice.data
    node.reader.read([notice.data])
    ephemeral, told = node.hints
    assert [frame.fields["body"] for frame in ephemeral.frames] == ["typing"]
    assert (told, node.events) == (head(1), [EVENT])


def test_it_is_split_at_the_size_and_what_is_too_large_is_left_out(node, writer):
    events = [{**EVENT, "n": number, "text": "ä" * 30} for number in range(20)]
    notices = writer.notices(outbox_of(*events, {**EVENT, "text": "x" * 1000}))
    assert len(notices) > 3
    assert all(len(notice.data) <= 1000 for notice in notices)
    node.reader.read(notice.data for notice in notices)
    assert node.events == events


def test_what_is_not_of_the_site_or_unsound_or_its_own_or_came_before_is_passed_over(node, writer, settings, caplog):
    (notice,) = writer.notices(outbox_of(EVENT))
    own = NoticeWriter(node.reader._process, 1000).notices(outbox_of(EVENT))[0]
    unsound = writer._process.seal.close(json.dumps(["origin", 1, ["broadcast"]]).encode())
    settings.SECRET_KEY, key = "another", settings.SECRET_KEY
    (foreign,) = writer.notices(outbox_of(EVENT))
    settings.SECRET_KEY = key
    node.reader.read([foreign.data, b"", b"\xff" * 100, own.data, unsound, notice.data, notice.data])
    assert node.events == [EVENT]
    assert len(caplog.records) == 1


def test_what_waits_is_bounded():
    told = outbox_of(*({**EVENT, "n": number} for number in range(MAX_EVENTS + 5)))
    told.heads = {f"g{number}": ("e", 1) for number in range(MAX_HEADS)}
    told.add(outbox_of(head(1, "newest")))
    assert (len(told.heads), "newest" in told.heads, "g0" in told.heads) == (MAX_HEADS, True, False)
    assert (len(told.events), told.events[-1]["n"]) == (MAX_EVENTS, MAX_EVENTS + 4)
