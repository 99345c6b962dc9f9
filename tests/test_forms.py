"""Messages as forms and JSON bring them over HTTP. What the admin's form takes is in test_admin."""

from typing import Any

import pytest
from django.http import HttpRequest
from django.test import RequestFactory

from broadcast.exceptions import InvalidMessage
from broadcast.forms import fields_in, is_announcement

JSON, URLENCODED, MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data"
REF = "6f1c1a52-4a0e-4d7b-9d3e-2f6f0b9f8a11"


def posting(body: Any, kind: str) -> HttpRequest:
    return RequestFactory().generic("POST", "/", body, content_type=kind)


def test_a_form_and_json_say_the_same():
    written = {"body": "one\r\ntwo", "author": "Ann", "ref": REF, "data": '{"n": 1}', "group": "", "unknown": "x"}
    fields = {"body": "one\ntwo", "author": "Ann", "ref": REF, "data": {"n": 1}, "unknown": "x"}
    assert fields_in(RequestFactory().post("/", written)) == fields
    assert fields_in(RequestFactory().post("/", fields, content_type=JSON)) == fields
    assert fields_in(posting("body=hi+there&author=", URLENCODED)) == {"body": "hi there"}


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"[]", JSON, "The message must be a JSON object; it came as a list."),
        (b" ", JSON, "The message must be a JSON object; this is not JSON"),
        (b"\xff", JSON, "The message must be text in UTF-8."),
        (b"body=x&data=7", URLENCODED, "The data must be a JSON object; it came as a number."),
        (b"body=x&data={", URLENCODED, "The data must be a JSON object; this is not JSON"),
        (b"body=x&" + b"a=b&" * 2000, URLENCODED, "The form cannot be read: it is damaged, or has too many fields."),
        (b"body=x", MULTIPART, "The form cannot be read: it is damaged"),
        (b"x", "text/plain", "The message must come as a form or as application/json; it came as 'text/plain'."),
        (b"x", "", "The message must come as a form or as application/json; it came as ''."),
    ],
)
def test_a_request_that_makes_no_sense(body, kind, said):
    with pytest.raises(InvalidMessage) as caught:
        fields_in(posting(body, kind))
    assert str(caught.value).startswith(said)
    assert caught.value.code == "invalid"
    if "too many" in said:
        assert "settings.DATA_UPLOAD_MAX_NUMBER_FIELDS" in caught.value.detail


@pytest.mark.parametrize("kind", [JSON, URLENCODED])
def test_a_request_that_is_too_long(settings, kind):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    with pytest.raises(InvalidMessage, match="too long for this site") as caught:
        fields_in(posting(b"x" * 1001, kind))
    assert caught.value.code == "too_large"


def test_words_for_an_announcement():
    assert all(is_announcement({"announce": word}) for word in (True, "true", "ON", "1"))
    assert not any(is_announcement({"announce": word}) for word in (False, "false", "0", ""))
    assert not is_announcement({})
    for word in ("maybe", 1, None):
        with pytest.raises(InvalidMessage, match="announce must be true or false; it came as"):
            is_announcement({"announce": word})
