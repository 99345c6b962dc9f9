"""Whatever comes in is understood or refused, never anything else: frames, addresses, names, events, lines."""

import json
from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from broadcast import send
from broadcast.engine.commands import (
    Command,
    Publish,
    Subscribe,
    command,
    dialect_in,
    joins_nothing,
    name_in,
    position_in,
    query_in,
    unread,
)
from broadcast.engine.frames import Dialect, encoded, error_fields
from broadcast.engine.hints.hint import EVENT, Hint, event_of, hint_of
from broadcast.engine.log_lines import MAX_VALUE, cut, plain
from broadcast.engine.names import hiding_in, is_blank, is_servers_name
from broadcast.engine.validation import checked_author, checked_data, checked_own_author
from broadcast.exceptions import Refused
from broadcast.models import Message
from tests.kit.forbidden import forbidden_in
from tests.kit.fuzz import ANY_TEXT, FRAMES, TEXT, VALUES, tried


def said(asked: Command) -> str:
    """The frame that would say a command."""
    kind = "message" if isinstance(asked, Publish) else type(asked).__name__.lower()
    fields = {"type": kind, **asdict(asked)}
    if isinstance(asked, Subscribe):
        fields["group"] = fields.pop("name")
    return json.dumps(fields, default=str)


@given(FRAMES)
def test_a_frame_is_understood_or_refused_in_words_for_strangers(text):
    asked, error = tried(command, text)
    if error is None:
        assert tried(command, said(asked)) == (asked, None)
        return
    error.ref = None  # the stranger's own words
    answer = encoded(error_fields(error, str(error)))
    assert answer.encode()
    assert error.code in ("invalid", "too_large")
    assert "'" in answer or forbidden_in(answer) == []


@given(FRAMES)
@example('{"body": 7, "ref": "\\ud800"}')
def test_a_refusal_that_names_what_came_can_be_sent(text):
    for error in (unread(text, Refused("Wait.", "rate_limited", retry_after=0.5)), tried(command, text)[1]):
        assert error is None or encoded(error_fields(error, str(error))).encode()


# The address


SCOPES = st.fixed_dictionaries(
    {},
    optional={
        "query_string": st.binary(max_size=60) | st.text("after=&epoch;v1join%+0-", max_size=40).map(str.encode),
        "path": st.sampled_from(["/ws", "/ws/", "/ws/news"]) | ANY_TEXT.map("/ws/".__add__) | ANY_TEXT,
        "subprotocols": st.lists(st.just("broadcast.v1") | ANY_TEXT),
        "url_route": st.dictionaries(st.just("group"), ANY_TEXT).map(lambda kwargs: {"kwargs": kwargs}),
    },
)


@given(SCOPES)
@example({"query_string": b"after=" + "²".encode("latin-1")})
def test_an_address_is_understood_or_refused(scope):
    query = query_in(scope)
    assert isinstance(name_in(scope, "broadcast"), str)
    assert dialect_in(scope, query) in Dialect
    assert joins_nothing(query) in (True, False)
    position, error = tried(position_in, query)
    if error is None:
        after, epoch = position
        assert after is None or 0 <= after < 2**63
        assert len(epoch) <= 64
    else:
        assert str(error).startswith("In the address: The ")


@given(st.integers(0, 2**63 - 1), TEXT)
def test_a_position_comes_as_it_was_told(offset, epoch):
    scope = {"query_string": urlencode({"after": offset, "epoch": epoch, "v": 1}).encode()}
    assert position_in(query_in(scope)) == (offset, epoch)


# JSON


@pytest.mark.django_db
@pytest.mark.log_contract
@hypothesis(max_examples=hypothesis().max_examples // 2)
@given(st.dictionaries(ANY_TEXT, VALUES, min_size=1))
def test_data_that_is_accepted_comes_back_equal_from_the_log(data):
    checked, error = tried(checked_data, data)
    if error is None:
        assert checked == data
        assert is_same(Message.objects.get(pk=send("hi", data=data).pk).data, data)


def is_same(read: Any, said: Any) -> bool:
    """Equal all the way down. PostgreSQL gives large floats back as whole numbers, which are the same JSON."""
    if isinstance(said, float):
        return bool(float(read) == said)
    if isinstance(said, dict):
        return said.keys() == read.keys() and all(is_same(read[key], value) for key, value in said.items())
    if isinstance(said, list):
        return len(said) == len(read) and all(map(is_same, read, said))
    return bool(read == said)


# Events of the channel layer


EVENTS = st.dictionaries(
    st.sampled_from(["author", "body", "group", "offset", "epoch", "head", "more", "data", "source", "site_mark"])
    | ANY_TEXT,
    VALUES | st.just("news") | st.integers(0, 9) | st.lists(st.fixed_dictionaries({"body": TEXT, "author": TEXT})),
)
SOUND = {"type": EVENT, "author": "Ann", "body": "hi", "group": "news", "epoch": "e"}


@given(EVENTS, st.sampled_from([{}, SOUND, SOUND | {"offset": 5, "head": 5}]), st.booleans())
@example({"data": {"x": float("inf")}}, {"body": "hi"}, True)
def test_an_event_of_a_stranger_is_a_hint_or_refused(event, sound, is_last):
    event = ({**sound, **event} if is_last else {**event, **sound}) | {"type": EVENT}
    hint, error = tried(hint_of, event)
    if error is None:
        assert all(frame.data(dialect) for frame in hint.frames for dialect in Dialect)
        assert all(json.dumps(frame.fields, allow_nan=False) for frame in hint.frames)
        assert shown(tried(hint_of, event_of(hint))[0]) == shown(hint)


def shown(hint: Hint) -> Any:
    return hint.group, hint.epoch, hint.head, [frame.fields for frame in hint.frames]


@given(VALUES)
def test_what_is_no_event_of_this_app_is_passed_over(kind):
    assert kind == EVENT or hint_of({"type": kind}) is None


# Names


LETTERS = st.text(st.characters() | st.sampled_from("Servr5\u0455\u0435\u200d\ufe0f\u202e\xad\u0301 "), max_size=12)


@given(LETTERS | ANY_TEXT)
def test_a_name_that_passes_is_seen_and_hides_nothing(name):
    passed, error = tried(checked_own_author, name)
    if error is None:
        assert passed == name == checked_author(name)
        assert not any((is_blank(name), hiding_in(name), is_servers_name(name)))
    else:
        assert str(error).encode()
        assert error.code in ("invalid", "too_large", "forbidden")


@given(LETTERS, st.lists(st.text("\xad\u200d\u0301 -_.", max_size=3), min_size=7, max_size=7))
def test_what_reads_as_the_sites_name_does_so_in_any_dress(name, between):
    mimicked = "".join(map("".join, zip(between, "Server ", strict=True)))
    for dress in (str, str.lower, str.upper, str.title, str.strip, "-{}!".format):
        assert is_servers_name(dress(mimicked))
        assert not is_servers_name(name) or is_servers_name(dress(name))


# Lines


@given(ANY_TEXT | st.integers(0, 3000).map(lambda size: "\u2028" * size), st.integers(1, 600))
def test_a_value_of_a_strangers_is_one_short_line(text, size):
    line = cut(text, size)
    assert line.isprintable()
    assert len(line) <= size + 1
    assert cut(line, size + 1) == line
    for value in (text, ValueError(text), [text], text.encode("utf-8", "surrogatepass")):
        shown = str(plain(value))
        assert len(shown.splitlines()) <= 1
        assert len(shown) <= MAX_VALUE + 1
