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
SENT_AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def message(**fields: Any) -> Message:
    values = {"group_id": "broadcast", "offset": 7, "author": "Ann", "body": "hi", "ref": REF, "sent_at": SENT_AT}
    return Message(**values | fields)


def test_a_message_in_both_dialects():
    frame = message_frame(message())
    assert frame.offset == 7
    assert frame.text(Dialect.V1) == (
        '{"type":"message","author":"Ann","body":"hi","group":"broadcast","offset":7,'
        '"sent_at":"2026-01-02T03:04:05.678901+00:00","source":"server","ref":"12345678-1234-5678-1234-567812345678"}'
    )
    assert frame.text(Dialect.PLAIN) == '{"author":"Ann","body":"hi"}'


def test_a_message_of_a_guest_with_data():
    fields = message_fields(message(source=Message.Source.GUEST, data={"level": "é"}))
    assert Frame(fields).text(Dialect.V1) == (
        '{"type":"message","author":"Ann","body":"hi","group":"broadcast","offset":7,'
        '"sent_at":"2026-01-02T03:04:05.678901+00:00","source":"guest","ref":"12345678-1234-5678-1234-567812345678",'
        '"guest":true,"data":{"level":"é"}}'
    )


def test_a_message_that_is_in_no_log():
    frame = message_frame(message(offset=None, sent_at=None, source="user"))
    assert frame.offset is None
    assert frame.text(Dialect.V1) == (
        '{"type":"message","author":"Ann","body":"hi","group":"broadcast","offset":null,"sent_at":null,'
        '"source":"user","ref":"12345678-1234-5678-1234-567812345678"}'
    )


def test_an_empty_data_object_is_there():
    assert message_fields(message(data={}))["data"] == {}


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
    frame = Frame(error_fields(error))
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
