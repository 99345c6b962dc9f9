"""The wire: what clients may say in whatever shape it comes, and the exact JSON that they are told."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from broadcast.engine import wire
from broadcast.engine.wire import (
    BadFrame,
    Dialect,
    Frame,
    Ping,
    Publish,
    Subscribe,
    Unsubscribe,
    command,
    error_fields,
    message_fields,
    message_frame,
    reset_fields,
    unread,
)
from broadcast.models import Message

REF = uuid.UUID("12345678-1234-5678-1234-567812345678")
SENT_AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def refusal(text: str | None) -> BadFrame:
    with pytest.raises(BadFrame) as caught:
        command(text)
    return caught.value


def message(**fields: Any) -> Message:
    values = {"group_id": "broadcast", "offset": 7, "author": "Ann", "body": "hi", "ref": REF, "sent_at": SENT_AT}
    return Message(**values | fields)


# Inbound


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
def test_what_clients_may_say(text: str, expected: object) -> None:
    assert command(text) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "A frame must be text; it came as binary."),
        ("[]", "A frame must be a JSON object; it came as a list."),
        ("[[[]]]", "A frame must be a JSON object; it came as a list."),
        ("null", "A frame must be a JSON object; it came as nothing."),
        ("true", "A frame must be a JSON object; it came as true or false."),
        ("1", "A frame must be a JSON object; it came as a number."),
        ("1.5", "A frame must be a JSON object; it came as a number."),
        ('"hi"', "A frame must be a JSON object; it came as 'hi'."),
        ("{}", "The body must be text; it came as nothing."),
        ('{"body": 1}', "The body must be text; it came as a number."),
        ('{"body": {"a": 1}}', "The body must be text; it came as an object."),
        ('{"body": ""}', "The body must be text that is not empty; it came empty."),
        ('{"body": " \\n\\u00a0"}', "The body must be text that is not empty; it came empty."),
        ('{"body": "a\\u0000b"}', "The body must not contain the NUL character."),
        ('{"body": "\\ud800"}', "The body must be valid Unicode; it came with a lone surrogate."),
        ('{"body": "hi", "author": 7}', "The author must be text; it came as a number."),
        ('{"body": "hi", "author": " "}', "The author must be text that is not empty; it came empty."),
        ('{"body": "hi", "ref": 7}', "The ref must be a UUID; it came as a number."),
        ('{"body": "hi", "ref": "abc"}', "The ref must be a UUID; it came as 'abc'."),
        ('{"body": "hi", "data": []}', "The data must be a JSON object; it came as a list."),
        ('{"body": "hi", "data": {"a": 1e999}}', "A number must be finite; data.a came as inf."),
        (
            '{"body": "hi", "data": {"a": 9223372036854775808}}',
            "A whole number must fit into 64 bits; data.a does not.",
        ),
        ('{"type": "subscribe", "group": 7}', "The group must be text that matches [a-zA-Z0-9_.-]{1,80}"),
        ('{"type": "subscribe", "group": "a b"}', "The group must be text that matches [a-zA-Z0-9_.-]{1,80}"),
        ('{"type": "subscribe"}', "The group must be text that matches [a-zA-Z0-9_.-]{1,80}"),
        ('{"type": "unsubscribe"}', "The group must be text that matches [a-zA-Z0-9_.-]{1,80}"),
        ('{"type": "subscribe", "group": "g", "after": -1}', "The offset must be a whole number from 0 on"),
        ('{"type": "subscribe", "group": "g", "after": 1.0}', "The offset must be a whole number from 0 on"),
        ('{"type": "subscribe", "group": "g", "after": true}', "The offset must be a whole number from 0 on"),
        ('{"type": "subscribe", "group": "g", "after": "1"}', "The offset must be a whole number from 0 on"),
        ('{"type": "subscribe", "group": "g", "after": 9223372036854775808}', "The offset must be a whole number"),
        ('{"type": "subscribe", "group": "g", "epoch": 7}', "The epoch must be the text of a welcome"),
        ('{"type": "shout"}', "The type must be message, subscribe, unsubscribe or ping; it came as 'shout'."),
        ('{"type": null}', "The type must be message, subscribe, unsubscribe or ping; it came as nothing."),
        ('{"type": ["ping"]}', "The type must be message, subscribe, unsubscribe or ping; it came as a list."),
        ('{"type": {"a": 1}}', "The type must be message, subscribe, unsubscribe or ping; it came as an object."),
        ('{"type": "\\ud800"}', "The type must be message, subscribe, unsubscribe or ping; it came as '\\ud800'."),
    ],
)
def test_what_they_may_not(text: str | None, sentence: str) -> None:
    error = refusal(text)
    assert str(error).startswith(sentence)
    assert (error.code, error.retry_after) == ("invalid", None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hi",
        "{",
        '{"body": "hi"} {"body": "hi"}',
        "{'body': 'hi'}",
        '{"body": NaN}',
        '{"body": "hi", "data": {"a": Infinity}}',
        '{"body": "hi", "data": {"a": -Infinity}}',
        '{"body": "a\nb"}',
        "\ufeff{}",
        '{"type": "ping", "n": ' + "9" * 5000 + "}",
        "[" * 40_000,
        '{"a":' * 10_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_not_json(text: str) -> None:
    error = refusal(text)
    assert str(error).startswith("A frame must be a JSON object; this is not JSON (")
    assert (error.code, error.ref) == ("invalid", None)


def test_a_refusal_carries_the_frames_ref() -> None:
    assert refusal('{"body": 7, "ref": "mine"}').ref == "mine"


def test_data_may_be_nested_only_so_deep() -> None:
    nested: dict[str, Any] = {}
    for _ in range(40):
        nested = {"a": nested}
    error = refusal(json.dumps({"body": "hi", "data": nested}))
    assert str(error).startswith("The data may be nested 32 deep;")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"body": "x" * 11}, "The body may have 10 characters; it came with 11."),
        ({"body": "hi", "author": "x" * 256}, "The author may have 255 characters; it came with 256."),
        ({"body": "hi", "data": {"a": "é" * 50}}, "The data may have 100 bytes as JSON; it came with 108."),
    ],
)
def test_what_is_too_large(fields: dict[str, Any], sentence: str, settings: Any) -> None:
    settings.BROADCAST = {"MAX_BODY": 10, "MAX_DATA": 100}
    error = refusal(json.dumps(fields))
    assert (str(error), error.code) == (sentence, "too_large")


def test_a_frame_that_is_far_too_large_is_not_even_read(settings: Any) -> None:
    settings.BROADCAST = {"MAX_BODY": 10, "MAX_DATA": 100}
    size = wire.max_frame()
    assert refusal("x" * size).code == "invalid"
    error = refusal("x" * (size + 1))
    assert (str(error), error.code) == (f"A frame may have {size} characters; it came with {size + 1}.", "too_large")
    assert unread('{"ref": "mine", "a": "' + "x" * size + '"}', "No.", "invalid", 1.0).ref is None


def test_the_largest_that_is_allowed_fits_into_a_frame_even_with_everything_escaped() -> None:
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
        ("{}", None, None),
        ("[]", None, None),
        ("not JSON", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_what_a_frame_is_answered_that_is_refused_unread(text: str | None, ref: object, group: str | None) -> None:
    error = unread(text, "Wait.", "rate_limited", 0.5)
    assert (str(error), error.code, error.retry_after) == ("Wait.", "rate_limited", 0.5)
    assert (error.ref, error.group) == (ref, group)


@pytest.mark.parametrize("name", ["g" * 250 + ":1:x", "g h:1:x", ":1:x", "g:" + "x" * 300])
def test_a_signed_name_is_short_and_begins_with_a_group(name: str) -> None:
    assert "The group must be text that matches" in str(refusal(json.dumps({"type": "subscribe", "group": name})))


def test_a_subscription_that_makes_no_sense_is_told_with_its_group() -> None:
    assert refusal('{"type": "subscribe", "group": "g", "after": -1}').group == "g"


def test_an_epoch_is_short() -> None:
    assert refusal(json.dumps({"type": "subscribe", "group": "g", "epoch": "x" * 65})).code == "invalid"


# Outbound


def test_a_message_in_both_dialects() -> None:
    frame = message_frame(message())
    assert frame.offset == 7
    assert frame.text(Dialect.V1) == (
        '{"type":"message","author":"Ann","body":"hi","group":"broadcast","offset":7,'
        '"sent_at":"2026-01-02T03:04:05.678901+00:00","source":"server","ref":"12345678-1234-5678-1234-567812345678"}'
    )
    assert frame.text(Dialect.PLAIN) == '{"author":"Ann","body":"hi"}'


def test_a_message_of_a_guest_with_data() -> None:
    fields = message_fields(message(source=Message.Source.GUEST, data={"level": "é"}))
    assert Frame(fields).text(Dialect.V1) == (
        '{"type":"message","author":"Ann","body":"hi","group":"broadcast","offset":7,'
        '"sent_at":"2026-01-02T03:04:05.678901+00:00","source":"guest","ref":"12345678-1234-5678-1234-567812345678",'
        '"guest":true,"data":{"level":"é"}}'
    )


def test_a_message_that_is_in_no_log() -> None:
    frame = message_frame(message(offset=None, sent_at=None, source="user"))
    assert frame.offset is None
    assert frame.text(Dialect.V1) == (
        '{"type":"message","author":"Ann","body":"hi","group":"broadcast","offset":null,"sent_at":null,'
        '"source":"user","ref":"12345678-1234-5678-1234-567812345678"}'
    )


def test_an_empty_data_object_is_there() -> None:
    assert message_fields(message(data={}))["data"] == {}


def test_text_stays_as_it_was_typed() -> None:
    body = 'a "quoted"\n\\ <b>é😀\u2028</b>'
    text = message_frame(message(body=body)).text(Dialect.PLAIN)
    assert json.loads(text) == {"author": "Ann", "body": body}
    assert "😀" in text


def test_a_reset_in_both_dialects() -> None:
    frame = Frame(reset_fields("g", "e", 5, "Gone."))
    assert frame.text(Dialect.V1) == '{"type":"reset","group":"g","epoch":"e","offset":5,"reason":"Gone."}'
    assert frame.text(Dialect.PLAIN) == ""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("invalid", "No."), '{"type":"error","author":"Server","body":"No.","code":"invalid"}'),
        (
            ("rate_limited", "Wait.", "mine", 0.25),
            '{"type":"error","author":"Server","body":"Wait.","code":"rate_limited","ref":"mine","retry_after_ms":250}',
        ),
        (
            ("unavailable", "Later.", REF, 1),
            '{"type":"error","author":"Server","body":"Later.","code":"unavailable",'
            '"ref":"12345678-1234-5678-1234-567812345678","retry_after_ms":1000}',
        ),
        (
            ("forbidden", "No.", None, None, "g"),
            '{"type":"error","author":"Server","body":"No.","code":"forbidden","group":"g"}',
        ),
        (("invalid", "No.", 7), '{"type":"error","author":"Server","body":"No.","code":"invalid"}'),
        (("invalid", "No.", ["x"]), '{"type":"error","author":"Server","body":"No.","code":"invalid"}'),
    ],
)
def test_an_error_in_both_dialects(arguments: tuple[Any, ...], text: str) -> None:
    frame = Frame(error_fields(*arguments))
    assert frame.text(Dialect.V1) == text
    assert frame.text(Dialect.PLAIN) == json.dumps({"author": "Server", "body": arguments[1]}, separators=(",", ":"))


def test_a_frame_is_encoded_once_per_dialect(monkeypatch: pytest.MonkeyPatch) -> None:
    encodings: list[object] = []
    encoded = wire.encoded

    def counted(fields: Any) -> str:
        encodings.append(fields)
        return encoded(fields)

    monkeypatch.setattr(wire, "encoded", counted)
    frame = message_frame(message())
    for _ in range(3):
        frame.text(Dialect.V1)
        frame.text(Dialect.PLAIN)
    assert len(encodings) == 2


def test_times_are_in_utc_whatever_the_site_keeps(settings):
    settings.USE_TZ, settings.TIME_ZONE = False, "America/New_York"
    message = Message(group_id="g", author="Ann", body="hi", sent_at=datetime(2026, 1, 2, 12, 0))
    assert message_fields(message)["sent_at"] == "2026-01-02T17:00:00+00:00"
