"""Hints as events of the channel layer: what they say, what fits, and what is not believed."""

from typing import Any

import pytest

from broadcast.engine.frames import Frame
from broadcast.engine.hints import hint as module
from broadcast.engine.hints.hint import EVENT, Hint, ephemeral_hints, event_of, hint_of
from broadcast.engine.hints.layer import CONTROL_GROUP
from broadcast.exceptions import InvalidMessage
from broadcast.groups import channels_group
from tests.kit import streams
from tests.kit.streams import foreign_event

PLAIN = {"type": EVENT, "author": "Ann", "body": "hi"}  # of code that knows nothing of this app
LOGGED = foreign_event(group="news", offset=5, epoch="e", head=5)


def frame(offset: int | None, body: str = "hi", **more: Any) -> Frame:
    return streams.frame(offset, body, group="news", **more)


def arrived(hint: Hint) -> Hint:
    """The hint as another process reads it from its event."""
    read = hint_of(event_of(hint))
    assert read is not None
    return read


@pytest.mark.parametrize(
    ("group", "name"), [("broadcast", "broadcast"), ("staff", "broadcast.staff"), (CONTROL_GROUP, "broadcast.")]
)
def test_channels_groups_never_meet_those_of_the_site(group, name):
    assert channels_group(group) == name


def test_an_event_has_author_and_body_at_the_top():
    message = {"type": "broadcast.message", "author": "Ann", "body": "hi", "group": "news", "offset": 7}
    of_the_hint = {"epoch": "e", "head": 7}
    assert event_of(Hint("news", [frame(7, data={"a": 1})], "e", 7)) == message | {"data": {"a": 1}} | of_the_hint


@pytest.mark.parametrize(
    "hint",
    [
        Hint("news", [frame(7, "a"), frame(8, "b", data={"x": [1]}), frame(9, "c")], "e", 9),
        Hint("news", [frame(None, "a", data={"typing": True}), frame(None, "b")]),
    ],
    ids=["logged", "ephemeral"],
)
def test_a_hint_arrives_as_it_was_sent(hint):
    read = arrived(hint)
    assert (read.group, read.epoch, read.head) == (hint.group, hint.epoch, hint.head)
    assert [each.fields for each in read.frames] == [each.fields for each in hint.frames]
    assert [each.offset for each in read.frames] == [each.offset for each in hint.frames]


@pytest.mark.parametrize("event", [{**PLAIN, "type": "chat.message"}, {}])
def test_other_events_are_no_hints(event):
    assert hint_of(event) is None


def test_a_frame_says_nothing_of_how_it_came():
    hint = hint_of(foreign_event())
    assert hint is not None
    assert set(hint.frames[0].fields) == {"type", "author", "body", "group", "offset"}


@pytest.mark.parametrize(
    ("size", "fields", "fit"),
    [
        (150, {}, module.MAX_EVENT_MESSAGES),
        (8, {"body": "x" * 70_000}, 3),
        (8, {"data": {"x": "x" * 70_000}}, 3),
        (2, {"body": "x" * 300_000}, 1),  # the first always fits
    ],
)
def test_what_does_not_fit_into_an_event_is_left_to_the_log(size, fields, fit):
    frames = [Frame({**frame(number).fields, **fields}) for number in range(1, size + 1)]
    read = arrived(Hint("news", frames, "e", size))
    assert [each.offset for each in read.frames] == list(range(1, fit + 1))
    assert read.head == size


def test_ephemeral_frames_go_into_as_many_events_as_they_need(monkeypatch):
    monkeypatch.setattr(module, "MAX_EVENT_MESSAGES", 4)
    frames = [frame(None, str(number)) for number in range(10)]
    hints = [arrived(hint) for hint in ephemeral_hints("news", frames)]
    assert [len(hint.frames) for hint in hints] == [4, 4, 2]
    assert [each.fields for hint in hints for each in hint.frames] == [each.fields for each in frames]


@pytest.mark.parametrize(("named", "author"), [({"author": "Ann"}, "Ann"), ({}, "Server")])
def test_body_alone_or_with_an_author_makes_an_ephemeral_frame(named, author):
    hint = hint_of({"type": EVENT, "body": "hi", **named})
    assert hint is not None
    assert (hint.group, hint.head) == ("broadcast", None)
    shown = {"type": "message", "author": author, "body": "hi", "group": "broadcast", "offset": None}
    assert [each.fields for each in hint.frames] == [shown]


UNSOUND_WHEN_PLAIN: list[dict[Any, Any]] = [
    *({"body": None}, {"body": "\x00"}, {"author": ["Ann"]}, {"group": "no such name!"}, {"group": ["news"]}),
    *({"data": {"when": object()}}, {"data": {"x": float("nan")}}, {5: "not JSON"}),
]
UNSOUND_WHEN_LOGGED: list[dict[Any, Any]] = [
    *({"offset": "5"}, {"offset": -1}, {"head": None}, {"epoch": 5}, {"author": None}, {"body": 5}),
    *({"more": "x"}, {"more": 5}, {"more": [5]}, {"more": [{"author": "Ann", "body": "hi"}]}),
    {"more": [{"author": "Ann", "offset": 6}]},
]
UNSOUND = [*((PLAIN, each) for each in UNSOUND_WHEN_PLAIN), *((LOGGED, each) for each in UNSOUND_WHEN_LOGGED)]


@pytest.mark.parametrize(("event", "unsound"), UNSOUND)
def test_an_event_that_is_not_sound_is_refused(event, unsound):
    assert hint_of(event) is not None
    with pytest.raises(InvalidMessage):
        hint_of({**event, **unsound})
