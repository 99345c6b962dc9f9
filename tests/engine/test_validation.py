"""What a message may consist of: every refusal says what was expected and what came."""

import enum
import json
import uuid
from types import MappingProxyType

import pytest
from django.db.models import IntegerChoices, TextChoices
from django.utils.safestring import mark_safe

from broadcast.engine import validation
from broadcast.engine.validation import (
    checked_author,
    checked_body,
    checked_data,
    checked_group,
    checked_own_author,
    checked_ref,
    shown,
)
from broadcast.exceptions import BroadcastError, InvalidMessage

REF = uuid.UUID("12345678-1234-5678-1234-567812345678")


def refusal(check, value) -> str:
    with pytest.raises(InvalidMessage) as refused:
        check(value)
    assert isinstance(refused.value, BroadcastError)
    assert isinstance(refused.value, ValueError)
    return f"{refused.value.code}: {refused.value}"


class Level(IntegerChoices):
    HIGH = 2


class Kind(TextChoices):
    ALARM = "alarm"


def nested(depth: int) -> dict:
    """An object with that many levels, itself included."""
    data: dict = {}
    for _ in range(depth - 1):
        data = {"x": data}
    return data


TAKEN_AS_THEY_ARE = [
    (checked_body, ["a", " a\n", "ä€😀", "x" * 4000, "😀" * 4000, "a\u200bb", "\u202eba", "\u0903"]),
    (checked_author, [" Ann O'Nym ", "x" * 255]),
    (checked_group, ["broadcast", "user.5", "a-b_C.9", "x" * 80]),
    (checked_data, [{}, {"a": None, "b": True, "c": False, "d": 1.5, "e": "ä😀", "f": [1, [2]], "g": {"": {}}}]),
    (checked_data, [{"min": -(2**63), "max": 2**63 - 1, "float": 1e308}, nested(validation.MAX_DEPTH)]),
]


@pytest.mark.parametrize(("check", "values"), TAKEN_AS_THEY_ARE)
def test_what_is_sound_is_taken_as_it_is(check, values):
    for value in values:
        assert check(value) == value


UNSEEN = list("\u200b\u034f\ufe0f\u180b\u17b4\u0300\u2800\u3164\ufffc\U0001d159\U00016fe4\U000e0041")
LONE_SURROGATE = "must be valid Unicode; it came with a lone surrogate."
NO_NAME = "The group must be text that matches [a-zA-Z0-9_.-]{1,80}; it came"
NO_JSON = "The data must be made of JSON values; data.a came as"
UNFIT = "A whole number must fit into 64 bits; data.a does not."
REFUSED = [
    (checked_body, ["", " ", "\n\t\u2003", *UNSEEN], "The body must be text that is not empty; it came empty."),
    (checked_body, [None], "The body must be text; it came as nothing."),
    (checked_body, [5], "The body must be text; it came as a number."),
    (checked_body, [b"hi"], "The body must be text; it came as bytes."),
    (checked_body, [["hi"]], "The body must be text; it came as a list."),
    (checked_body, [{}], "The body must be text; it came as an object."),
    (checked_body, [True], "The body must be text; it came as true or false."),
    (checked_body, ["a\x00b"], "The body must not contain the NUL character."),
    (checked_body, ["\ud800", "a\udfffb", json.loads(r'"\ud83d"')], f"The body {LONE_SURROGATE}"),
    (checked_author, [" ", *UNSEEN], "The author must be text that is not empty; it came empty."),
    (checked_author, [None], "The author must be text; it came as nothing."),
    (checked_group, ["a b"], f"{NO_NAME} as 'a b'."),  # and whatever else tests/test_groups.py has
    (checked_group, [5], f"{NO_NAME} as a number."),
    (checked_ref, ["x"], "The ref must be a UUID; it came as 'x'."),
    (checked_ref, [""], "The ref must be a UUID; it came as ''."),
    (checked_ref, [5], "The ref must be a UUID; it came as a number."),
    (checked_ref, [b"x" * 16], "The ref must be a UUID; it came as bytes."),
    (checked_ref, [[]], "The ref must be a UUID; it came as a list."),
    (checked_data, [None], "The data must be a JSON object; it came as nothing."),
    (checked_data, [[1]], "The data must be a JSON object; it came as a list."),
    (checked_data, ["{}"], "The data must be a JSON object; it came as '{}'."),
    (checked_data, [5], "The data must be a JSON object; it came as a number."),
    (checked_data, [{"a": [float("nan")]}], "A number must be finite; data.a[0] came as nan."),
    (checked_data, [{"a": [float("inf")]}], "A number must be finite; data.a[0] came as inf."),
    (checked_data, [{"a": [-float("inf")]}], "A number must be finite; data.a[0] came as -inf."),
    (checked_data, [{"a": number} for number in (2**63, -(2**63) - 1, 10**400)], UNFIT),
    (checked_data, [{"a": b"x"}], f"{NO_JSON} bytes."),
    (checked_data, [{"a": {1}}], f"{NO_JSON} set."),
    (checked_data, [{"a": object()}], f"{NO_JSON} object."),
    (checked_data, [{"a": REF}], f"{NO_JSON} UUID."),
    (checked_data, [{"a": 1j}], f"{NO_JSON} complex."),
    (checked_data, [json.loads(r'{"a": [{"b": "\ud800"}]}')], f"The data.a[0].b {LONE_SURROGATE}"),
    (checked_data, [{"a": "\x00"}], "The data.a must not contain the NUL character."),
    (checked_data, [{"a": {5: 6}}], "The key of data.a must be text; it came as a number."),
    (checked_data, [{"\x00": 1}], "The key of data must not contain the NUL character."),
    (checked_data, [{"\udc00": 1}], f"The key of data {LONE_SURROGATE}"),
]


@pytest.mark.parametrize(("check", "values", "text"), REFUSED)
def test_anything_else_is_refused_with_the_reason(check, values, text):
    for value in values:
        assert refusal(check, value) == f"invalid: {text}"


def test_what_is_too_large_is_refused_by_a_code_of_its_own(settings):
    settings.BROADCAST = {"MAX_BODY": 5, "MAX_DATA": 10}
    assert checked_body("😀" * 5)
    assert refusal(checked_body, "x" * 6) == "too_large: The body may have 5 characters; it came with 6."
    assert refusal(checked_author, "x" * 256) == "too_large: The author may have 255 characters; it came with 256."
    assert checked_data({"a": "ä"})  # which are ten bytes
    assert refusal(checked_data, {"a": "ää"}) == "too_large: The data may have 10 bytes as JSON; it came with 12."


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Ser\u200bver", "is the name under which this site speaks"),
        ("\u202eboB", "characters that hide or steer text; it came with U+202E."),
        ("A\nn", "characters that hide or steer text; it came with U+000A."),
    ],
)
def test_a_client_may_not_write_under_any_name(name, text):
    assert checked_author(name) == name  # as the site's own code may
    assert text in refusal(checked_own_author, name)
    assert refusal(checked_own_author, name).startswith("forbidden: ")


def test_an_escaped_pair_of_surrogates_is_one_character():
    assert checked_body(json.loads(r'"\ud83d\ude00"')) == "😀"


@pytest.mark.parametrize("ref", [REF, str(REF), REF.hex, str(REF).upper()])
def test_a_ref_is_a_uuid_in_any_spelling(ref):
    assert checked_ref(ref) == REF


def test_data_becomes_what_will_be_read_back():
    checked = checked_data({"tuple": (1, 2), "level": Level.HIGH, "kind": Kind.ALARM, "safe": mark_safe("<b>")})
    assert checked == {"tuple": [1, 2], "level": 2, "kind": "alarm", "safe": "<b>"}
    assert {type(value) for value in checked.values()} == {list, int, str}


def test_data_is_copied_all_the_way_down():
    inner = {"list": [1]}
    checked = checked_data(MappingProxyType({"inner": inner}))
    inner["list"].append(2)
    assert checked == {"inner": {"list": [1]}}


def test_data_is_nested_only_so_deep_and_does_not_contain_itself():
    data: dict = {}
    data["x"] = [data]
    assert "nested 32 deep" in refusal(checked_data, data)
    too_deep = refusal(checked_data, nested(validation.MAX_DEPTH + 1))
    assert too_deep.startswith("invalid: The data may be nested 32 deep; data.x.x.x")


def test_a_large_number_of_an_enumeration_is_refused_at_once():
    large = enum.IntEnum("large", {"NUMBER": 2**70})
    assert "64 bits" in refusal(checked_data, {"a": large.NUMBER})


class TestShown:
    def test_a_long_text_is_cut(self):
        assert shown("x" * 41) == repr("x" * 40 + "…")
        assert shown("x" * 40) == repr("x" * 40)

    def test_other_types_have_their_names(self):
        assert [shown(value) for value in (1.5, set(), REF)] == ["a number", "set", "UUID"]
