"""What clients may say, in whatever shape it comes."""

import json
import re
import uuid

import pytest

from broadcast.engine import commands
from broadcast.engine.commands import Ping, Publish, Subscribe, Unsubscribe, command, position_in, query_in, unread
from broadcast.exceptions import Refused

REF = uuid.UUID("12345678-1234-5678-1234-567812345678")


def refusal(text: str | None) -> Refused:
    with pytest.raises(Refused) as caught:
        command(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"body": "hi"}', Publish("hi", None, None, None, None)),
        ('{"type": "message", "body": "hi"}', Publish("hi", None, None, None, None)),
        ('{"author": "Ann", "body": "hi"}', Publish("hi", "Ann", None, None, None)),
        ('{"body": "hi", "author": null, "group": null, "ref": null}', Publish("hi", None, None, None, None)),
        (
            '{"body": "hi", "group": "staff", "ref": "12345678-1234-5678-1234-567812345678", "data": {"a": [1, null]}}',
            Publish("hi", None, "staff", REF, {"a": [1, None]}),
        ),
        ('{"body": "hi", "unknown": 1}', Publish("hi", None, None, None, None)),
        ('{"body": "first", "body": "last"}', Publish("last", None, None, None, None)),
        (' \n{"body": " h\\u00e9\\ud83d\\ude00 "} ', Publish(" hé😀 ", None, None, None, None)),
        ('{"type": "subscribe", "group": "g"}', Subscribe("g", None, "")),
        ('{"type": "subscribe", "group": "g", "after": 0, "epoch": "e"}', Subscribe("g", 0, "e")),
        ('{"type": "subscribe", "group": "g", "after": 9223372036854775807}', Subscribe("g", 2**63 - 1, "")),
        ('{"type": "subscribe", "group": "g", "after": null, "epoch": null}', Subscribe("g", None, "")),
        ('{"type": "subscribe", "group": "g:1abc:x-_9"}', Subscribe("g:1abc:x-_9", None, "")),
        ('{"type": "unsubscribe", "group": "g"}', Unsubscribe("g")),
        ('{"type": "unsubscribe", "group": "g:1abc:x-_9"}', Unsubscribe("g")),
        ('{"type": "ping"}', Ping()),
        ('{"type": "ping", "body": 7}', Ping()),
    ],
)
def test_what_clients_may_say(text, expected):
    assert command(text) == expected


OFFSETS = "The offset must be a whole number from 0 on"
TYPES = "The type must be message, subscribe, unsubscribe or ping"
NAMES, UNICODE = "The group must be text that matches [a-zA-Z0-9_.-]{1,80}", "The group must be valid Unicode"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "A frame must be text; it came as binary."),
        ("[]", "A frame must be a JSON object; it came as a list."),
        ("{}", "The body must be text; it came as nothing."),
        ('{"body": "hi", "author": 7}', "The author must be text; it came as a number."),
        ('{"body": "hi", "group": 7}', NAMES),
        ('{"body": "hi", "ref": 7}', "The ref must be a UUID; it came as a number."),
        ('{"type": "subscribe"}', NAMES),
        ('{"type": "subscribe", "group": 7}', NAMES),
        ('{"type": "subscribe", "group": "a b"}', NAMES),
        ('{"type": "subscribe", "group": "g:\\ud800:x"}', f"{UNICODE}; it came with a lone surrogate."),
        ('{"type": "unsubscribe"}', NAMES),
        ('{"type": "unsubscribe", "group": "g:\\ud800:x"}', UNICODE),
        *(
            (f'{{"type": "subscribe", "group": "g", "after": {after}}}', OFFSETS)
            for after in ("-1", "1.0", "true", '"1"', "9223372036854775808")
        ),
        *(
            (f'{{"type": "subscribe", "group": "g", "epoch": {epoch}}}', "The epoch must be the text of a welcome")
            for epoch in ("7", f'"{"x" * 65}"')
        ),
        ('{"type": "shout"}', f"{TYPES}; it came as 'shout'."),
        ('{"type": null}', f"{TYPES}; it came as nothing."),
        ('{"type": ["ping"]}', f"{TYPES}; it came as a list."),
        ('{"type": {"a": 1}}', f"{TYPES}; it came as an object."),
        ('{"type": "\\ud800"}', f"{TYPES}; it came as '\\ud800'."),
    ],
)
def test_what_they_may_not(text, sentence):
    error = refusal(text)
    assert str(error).startswith(sentence)
    assert (error.code, error.retry_after) == ("invalid", None)


@pytest.mark.parametrize(
    "text",
    [
        *("", "hi", "{", '{"body": "hi"} {"body": "hi"}', "{'body': 'hi'}", '{"body": NaN}', '{"body": "a\nb"}'),
        *('{"body": "hi", "data": {"a": Infinity}}', '{"body": "hi", "data": {"a": -Infinity}}', "\ufeff{}"),
        *('{"type": "ping", "n": ' + "9" * 5000 + "}", "[" * 40_000, '{"a":' * 10_000),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_not_json(text):
    error = refusal(text)
    assert re.fullmatch(
        r"A frame must be a JSON object; this is not JSON( from character \d+ on| that can be read)\.", str(error)
    )
    assert (error.code, error.ref) == ("invalid", None)


def test_a_refusal_carries_the_frames_ref_and_that_of_a_subscription_its_group():
    assert refusal('{"body": 7, "ref": "mine"}').ref == "mine"
    assert refusal('{"type": "subscribe", "group": "g", "after": -1}').group == "g"


def test_a_frame_that_is_far_too_large_is_not_even_read(settings):
    settings.BROADCAST = {"MAX_BODY": 10, "MAX_DATA": 100}
    size = commands.max_frame()
    assert refusal("x" * size).code == "invalid"
    error = refusal("x" * (size + 1))
    assert (str(error), error.code) == (f"A frame may have {size} characters; it came with {size + 1}.", "too_large")
    assert unread('{"ref": "mine", "a": "' + "x" * size + '"}', Refused("No.")).ref is None


def test_the_largest_that_is_allowed_fits_into_a_frame_even_with_everything_escaped():
    body, data = "😀" * 4000, {"a": "é" * 8100}
    text = json.dumps({"author": "😀" * 255, "body": body, "data": data, "ref": str(REF), "group": "g" * 80})
    assert isinstance(command(text), Publish)


@pytest.mark.parametrize(
    ("text", "ref", "group"),
    [
        ('{"ref": "mine"}', "mine", None),
        ('{"ref": 7}', 7, None),
        ('{"type": "subscribe", "group": "g"}', None, "g"),
        ('{"type": "subscribe", "group": "g:1abc:x"}', None, "g"),
        ('{"type": "subscribe", "group": "no such"}', None, None),
        ('{"type": "subscribe", "group": 7}', None, None),
        ('{"body": "hi", "group": "g"}', None, None),
        *((text, None, None) for text in ("{}", "[]", "not JSON", "", None)),
    ],
)
def test_what_a_frame_is_answered_that_is_refused_unread(text, ref, group):
    error = unread(text, Refused("Wait.", "rate_limited", retry_after=0.5))
    assert (str(error), error.code, error.retry_after) == ("Wait.", "rate_limited", 0.5)
    assert (error.ref, error.group) == (ref, group)


@pytest.mark.parametrize("name", ["g" * 250 + ":1:x", "g h:1:x", ":1:x"])
def test_a_signed_name_begins_with_a_group(name):
    assert "The group must be text that matches" in str(refusal(json.dumps({"type": "subscribe", "group": name})))


@pytest.mark.parametrize(
    ("query", "position"),
    [
        ("", (None, "")),
        ("after=", (None, "")),
        ("epoch=e", (None, "")),
        ("after=3", (3, "")),
        ("after=1&after=3&epoch=e", (3, "e")),
        *((f"after={text}", OFFSETS) for text in ("-1", "x", "1.5", "%C2%B2", "99999999999999999999")),
        (f"after=1&epoch={'e' * 65}", "The epoch must be the text of a welcome"),
    ],
)
def test_a_position_to_go_on_from(query, position):
    asked = query_in({"query_string": query.encode()})
    if not isinstance(position, str):
        assert position_in(asked) == position
        return
    with pytest.raises(Refused, match=f"In the address: {position}"):
        position_in(asked)
