"""Hints as events of the channel layer: what they say, what fits, and what is not believed."""

import os

import pytest

from broadcast.engine.frames import Frame
from broadcast.engine.hints import hint as layer
from broadcast.engine.hints.hint import EVENT, Hint, channels_group, ephemeral_hints, event_of, hint_of, origin
from broadcast.exceptions import InvalidMessage


def frame(offset: int | None, body: str = "hi", **more) -> Frame:
    return Frame({"type": "message", "author": "Ann", "body": body, "group": "news", "offset": offset, **more})


def from_elsewhere(event: dict) -> dict:
    return {**event, "origin": "another process"}


LOGGED = {
    "type": EVENT,
    "author": "Ann",
    "body": "hi",
    "group": "news",
    "offset": 5,
    "epoch": "e",
    "head": 5,
    "origin": "another process",
}


def test_channels_groups_never_meet_those_of_the_site():
    assert channels_group("broadcast") == "broadcast"
    assert channels_group("staff") == "broadcast.staff"


def test_an_event_has_author_and_body_at_the_top():
    event = event_of(Hint("news", [frame(7, data={"a": 1})], "e", 7))
    assert event == {
        "type": "broadcast.message",
        "author": "Ann",
        "body": "hi",
        "group": "news",
        "offset": 7,
        "data": {"a": 1},
        "epoch": "e",
        "head": 7,
        "origin": origin.tag,
    }


def test_a_hint_arrives_as_it_was_sent():
    frames = [frame(7, "a"), frame(8, "b", data={"x": [1]}), frame(9, "c")]
    hint = hint_of(from_elsewhere(event_of(Hint("news", frames, "e", 9))))
    assert (hint.group, hint.epoch, hint.head) == ("news", "e", 9)
    assert [frame.fields for frame in hint.frames] == [frame.fields for frame in frames]
    assert [frame.offset for frame in hint.frames] == [7, 8, 9]


def test_an_ephemeral_hint_arrives_as_it_was_sent():
    hint = hint_of(from_elsewhere(event_of(Hint("news", [frame(None, data={"typing": True})]))))
    assert (hint.group, hint.epoch, hint.head) == ("news", "", None)
    assert [frame.fields for frame in hint.frames] == [frame(None, data={"typing": True}).fields]


def test_a_process_ignores_what_it_sent_itself():
    assert hint_of(event_of(Hint("news", [frame(1)], "e", 1))) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="This system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_is_another_process():
    own, (read, write) = origin.tag, os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, origin.tag.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100).decode() != own
    assert origin.tag == own
    os.close(read)
    os.close(write)


def test_what_does_not_fit_is_left_to_the_log():
    frames = [frame(number) for number in range(1, 151)]
    event = event_of(Hint("news", frames, "e", 150))
    assert len(event["more"]) == layer.MAX_EVENT_MESSAGES - 1
    assert event["head"] == 150


@pytest.mark.parametrize("big", [{"body": "x" * 70_000}, {"data": {"x": "x" * 70_000}}])
def test_an_event_has_a_bounded_size(big):
    frames = [Frame({**frame(number).fields, **big}) for number in range(1, 9)]
    event = event_of(Hint("news", frames, "e", 8))
    assert [fields["offset"] for fields in event["more"]] == [2, 3]


def test_the_first_message_always_fits():
    event = event_of(Hint("news", [frame(1, "x" * 300_000)], "e", 1))
    assert len(event["body"]) == 300_000


class TestPlainEvents:
    """Sent by code that knows nothing of this app."""

    def test_author_and_body_make_an_ephemeral_frame(self):
        hint = hint_of({"type": EVENT, "author": "Ann", "body": "hi"})
        assert (hint.group, hint.head) == ("broadcast", None)
        [frame] = hint.frames
        assert frame.fields == {"type": "message", "author": "Ann", "body": "hi", "group": "broadcast", "offset": None}

    def test_the_server_speaks_where_no_author_is_named(self):
        assert hint_of({"type": EVENT, "body": "hi"}).frames[0].fields["author"] == "Server"

    def test_unknown_types_are_ignored(self):
        assert hint_of({"type": "chat.message", "author": "Ann", "body": "hi"}) is None
        assert hint_of({}) is None


@pytest.mark.parametrize(
    "unsound",
    [
        {"body": None},
        {"body": 5},
        {"body": "\x00"},
        {"body": "\ud800"},
        {"author": ""},
        {"author": ["Ann"]},
        {"group": ["news"]},
        {"group": "no such name!"},
        {"data": {"when": object()}},
        {"data": {"x": float("nan")}},
        {5: "not JSON"},
    ],
)
def test_an_unsound_plain_event_is_refused(unsound):
    with pytest.raises(InvalidMessage):
        hint_of({"type": EVENT, "author": "Ann", "body": "hi", **unsound})


@pytest.mark.parametrize(
    "unsound",
    [
        {"offset": "5"},
        {"offset": -1},
        {"offset": True},
        {"head": None},
        {"head": "5"},
        {"epoch": 5},
        {"group": {}},
        {"author": None},
        {"body": 5},
        {"more": "x"},
        {"more": 5},
        {"more": [5]},
        {"more": [{"author": "Ann", "body": "hi"}]},
        {"more": [{"author": "Ann", "offset": 6}]},
        {"data": {"x": b"bytes"}},
    ],
)
def test_an_unsound_hint_is_refused(unsound):
    assert hint_of(LOGGED).head == 5
    with pytest.raises(InvalidMessage):
        hint_of({**LOGGED, **unsound})


def test_ephemeral_frames_go_into_as_many_events_as_they_need(monkeypatch):
    monkeypatch.setattr(layer, "MAX_EVENT_MESSAGES", 4)
    frames = [frame(None, str(number)) for number in range(10)]
    hints = list(ephemeral_hints("news", frames))
    assert [len(event_of(hint).get("more", [])) + 1 for hint in hints] == [4, 4, 2]
    assert [each for hint in hints for each in hint.frames] == frames


def test_ephemeral_frames_come_out_of_their_event_again():
    (hint,) = ephemeral_hints("news", [frame(None, body) for body in "abc"])
    heard = hint_of(from_elsewhere(event_of(hint)))
    assert heard is not None
    assert heard.head is None
    assert [each.fields["body"] for each in heard.frames] == ["a", "b", "c"]
