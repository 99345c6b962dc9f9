"""The wire: the exact JSON that clients are told."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from broadcast.engine import frames as wire
from broadcast.engine.frames import Dialect, Frame, error_fields, message_fields, message_frame, reset_fields
from broadcast.models import Message

REF = uuid.UUID("12345678-1234-5678-1234-567812345678")
SENT_AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def message(**fields: Any) -> Message:
    values = {"group_id": "broadcast", "offset": 7, "author": "Ann", "body": "hi", "ref": REF, "sent_at": SENT_AT}
    return Message(**values | fields)


def test_a_message_in_both_dialects() -> None:
    frame = message_frame(message())
    assert frame.offset == 7
    assert frame.text(Dialect.V1) == (
        '{"type":"message","author":"Ann","body":"hi","group":"broadcast","offset":7,'
        '"sent_at":"2026-01-02T03:04:05.678901+00:00","source":"server","ref":"12345678-1234-5678-1234-567812345678"}'
    )
    assert frame.text(Dialect.PLAIN) == '{"author":"Ann","body":"hi"}'


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"source": Message.Source.GUEST, "data": {"level": "é"}},
            '"offset":7,"sent_at":"2026-01-02T03:04:05.678901+00:00","source":"guest",'
            '"ref":"12345678-1234-5678-1234-567812345678","guest":true,"data":{"level":"é"}}',
        ),
        (
            {"offset": None, "sent_at": None, "source": "user", "data": {}},
            '"offset":null,"sent_at":null,"source":"user","ref":"12345678-1234-5678-1234-567812345678","data":{}}',
        ),
    ],
)
def test_what_a_message_may_have_and_lack(fields: dict[str, Any], text: str) -> None:
    frame = message_frame(message(**fields))
    assert frame.offset == fields.get("offset", 7)
    assert frame.text(Dialect.V1) == '{"type":"message","author":"Ann","body":"hi","group":"broadcast",' + text


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
