"""Whatever comes in is understood or refused, never anything else: frames, addresses, names, events, lines."""

import json
import string
from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broadcast import send
from broadcast.engine.commands import (
    Command,
    Ping,
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
from broadcast.exceptions import InvalidMessage, Refused
from broadcast.models import Message
from tests.kit.forbidden import forbidden_in
from tests.kit.fuzz import ANY_TEXT, FRAMES, PARTS, TEXT, VALUES, object_of


def said(asked: Command) -> str:
    """The frame that would say a command."""
    kind = "message" if isinstance(asked, Publish) else type(asked).__name__.lower()
    fields = {"type": kind, **asdict(asked)}
    if isinstance(asked, Subscribe):
        fields["group"] = fields.pop("name")
    return json.dumps(fields, default=str)


@given(FRAMES)
def test_a_frame_is_understood_or_refused_in_words_for_strangers(text):
    try:
        asked = command(text)
    except Refused as error:
        error.ref = None  # the stranger's own words
        answer = encoded(error_fields(error, str(error)))
        assert answer.encode()
        assert error.code in ("invalid", "too_large")
        assert "'" in answer or forbidden_in(answer) == []
    else:
        assert command(said(asked)) == asked


@pytest.mark.parametrize("kind", ["message", "subscribe", "unsubscribe", "ping"])
@given(st.fixed_dictionaries({}, optional=PARTS))
def test_a_refusal_that_names_what_came_can_be_sent(kind, parts):
    text = object_of(parts | {"type": json.dumps(kind)})
    for refusal in (unread(text, "Wait.", "rate_limited", 0.5), refused(text)):
        assert refusal is None or encoded(error_fields(refusal, str(refusal))).encode()


def refused(text: str) -> Refused | None:
    try:
        return None if command(text) != Ping() else None
    except Refused as error:
        return error


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
    try:
        after, epoch = position_in(query)
    except InvalidMessage as error:
        assert str(error).startswith("In the address: The ")
    else:
        assert after is None or 0 <= after < 2**63
        assert len(epoch) <= 64


@given(st.integers(0, 2**63 - 1), TEXT)
def test_a_position_comes_as_it_was_told(offset, epoch):
    scope = {"query_string": urlencode({"after": offset, "epoch": epoch, "v": 1}).encode()}
    assert position_in(query_in(scope)) == (offset, epoch)


# JSON


@pytest.mark.django_db
@pytest.mark.log_contract
@given(st.dictionaries(ANY_TEXT, VALUES, min_size=1))
def test_data_that_is_accepted_comes_back_equal_from_the_log(data):
    try:
        checked = checked_data(data)
    except InvalidMessage:
        return
    assert checked == data
    message = send("hi", data=data)
    assert Message.objects.get(pk=message.pk).data == data


# Events of the channel layer


EVENTS = st.dictionaries(
    st.sampled_from(["author", "body", "group", "offset", "epoch", "head", "more", "data", "source", "site_mark"])
    | ANY_TEXT,
    VALUES | st.just("news") | st.integers(0, 9) | st.lists(st.fixed_dictionaries({"body": TEXT, "author": TEXT})),
)
SOUND = {"type": EVENT, "author": "Ann", "body": "hi", "group": "news", "epoch": "e"}


@given(EVENTS, st.sampled_from([{}, SOUND, SOUND | {"offset": 5, "head": 5}]), st.booleans())
def test_an_event_of_a_stranger_is_a_hint_or_refused(event, sound, is_last):
    event = ({**sound, **event} if is_last else {**event, **sound}) | {"type": EVENT}
    try:
        hint = hint_of(event)
    except InvalidMessage:
        return
    assert hint is not None
    assert all(frame.data(dialect) for frame in hint.frames for dialect in Dialect)
    again = hint_of(event_of(hint))
    assert again is not None
    assert shown(again) == shown(hint)


def shown(hint: Hint) -> Any:
    return hint.group, hint.epoch, hint.head, [frame.fields for frame in hint.frames]


@given(VALUES)
def test_what_is_no_event_of_this_app_is_passed_over(kind):
    assert kind == EVENT or hint_of({"type": kind}) is None


# Names


LETTERS = st.text(st.characters() | st.sampled_from("Servr5\u0455\u0435\u200d\ufe0f\u202e\xad\u0301 "), max_size=12)


@given(LETTERS | ANY_TEXT)
def test_a_name_that_passes_is_seen_and_hides_nothing(name):
    try:
        assert checked_own_author(name) == name == checked_author(name)
    except InvalidMessage as error:
        assert str(error).encode()
        assert error.code in ("invalid", "too_large", "forbidden")
    else:
        assert not (is_blank(name) or hiding_in(name) or is_servers_name(name))


@given(LETTERS, st.sampled_from([str.lower, str.upper, str.title, str.strip, "{}!".format, "-{}".format, " {} ".format]))
def test_what_reads_as_the_sites_name_does_so_in_any_dress(name, dress):
    if is_servers_name(name):
        assert is_servers_name(dress(name))
    mimicked = "".join(char + name for char in "Server") if name.strip(string.whitespace + "!-_.\xad\u200d") == "" else ""
    assert not mimicked or is_servers_name(mimicked)


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
