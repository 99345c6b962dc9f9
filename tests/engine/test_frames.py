"""The wire: the exact JSON that clients are told."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from broadcast.engine.frames import Dialect, Frame, error_fields, message_fields, message_frame, reset_fields
from broadcast.exceptions import InvalidMessage, LogUnavailable, Refused
from broadcast.models import Message

REF = uuid.UUID("12345678-1234-5678-1234-567812345678")
LIVE_ONLY = {"offset": None, "sent_at": None, "source": "user"}
SENT_AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def message(**fields: Any) -> Message:
    values = {"group_id": "broadcast", "offset": 7, "author": "Ann", "body": "hi", "ref": REF, "sent_at": SENT_AT}
    return Message(**values | fields)


TOLD = '"type":"message","author":"Ann","body":"hi","group":"broadcast"'
LOGGED = f'{TOLD},"offset":7,"sent_at":"2026-01-02T03:04:05.678901+00:00"'


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, f'{LOGGED},"source":"server","ref":"{REF}"'),
        ({"data": {}}, f'{LOGGED},"source":"server","ref":"{REF}"' + ',"data":{}'),
        (
            {"source": "guest", "data": {"a": "é"}},
            f'{LOGGED},"source":"guest","ref":"{REF}","guest":true' + ',"data":{"a":"é"}',
        ),
        (LIVE_ONLY, f'{TOLD},"offset":null,"sent_at":null,"source":"user","ref":"{REF}"'),
    ],
)
def test_a_message_in_both_dialects(fields, text):
    frame = message_frame(message(**fields))
    assert frame.offset == {"offset": 7, **fields}["offset"]
    assert (frame.text(Dialect.V1), frame.text(Dialect.PLAIN)) == ("{" + text + "}", '{"author":"Ann","body":"hi"}')


def test_text_stays_as_it_was_typed():
    body = 'a "quoted"\n\\ <b>é😀\u2028</b>'
    text = message_frame(message(body=body)).text(Dialect.PLAIN)
    assert json.loads(text) == {"author": "Ann", "body": body}
    assert "😀" in text


def test_a_reset_in_both_dialects():
    frame = Frame(reset_fields("g", "e", 5, "Gone."))
    assert frame.text(Dialect.V1) == '{"type":"reset","group":"g","epoch":"e","offset":5,"reason":"Gone."}'
    assert frame.text(Dialect.PLAIN) == ""


@pytest.mark.parametrize(
    ("error", "code", "more"),
    [
        (Refused("No."), "invalid", ""),
        (InvalidMessage("No.", "too_large", ref=7), "too_large", ""),
        *((Refused("No.", ref=ref), "invalid", "") for ref in (["x"], "x" * 65, "\ud800")),
        (Refused("No.", "forbidden", group="g"), "forbidden", ',"group":"g"'),
        (Refused("No.", "rate_limited", ref="a", retry_after=0.25), "rate_limited", ',"ref":"a","retry_after_ms":250'),
        (Refused("No.", "unavailable", ref=REF, retry_after=1), "unavailable", f',"ref":"{REF}","retry_after_ms":1000'),
        (LogUnavailable("No."), "unavailable", ',"retry_after_ms":1000'),
    ],
)
def test_an_error_in_both_dialects(error, code, more):
    frame = Frame(error_fields(error, "No."))
    assert frame.text(Dialect.V1) == f'{{"type":"error","author":"Server","body":"No.","code":"{code}"{more}}}'
    assert frame.text(Dialect.PLAIN) == '{"author":"Server","body":"No."}'


@pytest.mark.parametrize("dialect", Dialect)
def test_a_frame_is_encoded_once_per_dialect(dialect):
    frame = message_frame(message())
    assert frame.text(dialect) is frame.text(dialect)
    assert frame.data(dialect) is frame.data(dialect)


def test_times_are_in_utc_whatever_the_site_keeps(settings):
    settings.USE_TZ, settings.TIME_ZONE = False, "America/New_York"
    message = Message(group_id="g", author="Ann", body="hi", sent_at=datetime(2026, 1, 2, 12, 0))
    assert message_fields(message)["sent_at"] == "2026-01-02T17:00:00+00:00"
