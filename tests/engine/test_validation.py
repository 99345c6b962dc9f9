"""What a message may consist of: every refusal says what was expected and what came."""

import enum
import json
import uuid

import pytest
from django.db.models import IntegerChoices, TextChoices
from django.utils.safestring import mark_safe

from broadcast.engine.validation import (
    MAX_DEPTH,
    checked_author,
    checked_body,
    checked_data,
    checked_group,
    checked_ref,
    is_servers_name,
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


class TestBody:
    @pytest.mark.parametrize("body", ["a", " a\n", "ä€😀", "x" * 4000, "😀" * 4000, "a\u200bb"])
    def test_text_is_taken_as_it_is(self, body):
        assert checked_body(body) == body

    @pytest.mark.parametrize("body", ["", " ", "\n\t\u2003"])
    def test_it_must_not_be_empty(self, body):
        assert refusal(checked_body, body) == "invalid: The body must be text that is not empty; it came empty."

    @pytest.mark.parametrize(
        ("body", "came"),
        [
            (None, "nothing"),
            (5, "a number"),
            (b"hi", "bytes"),
            (["hi"], "a list"),
            ({}, "an object"),
            (True, "true or false"),
        ],
    )
    def test_it_must_be_text(self, body, came):
        assert refusal(checked_body, body) == f"invalid: The body must be text; it came as {came}."

    def test_it_must_not_be_too_long(self, settings):
        settings.BROADCAST = {"MAX_BODY": 5}
        assert checked_body("😀" * 5)
        assert refusal(checked_body, "x" * 6) == "too_large: The body may have 5 characters; it came with 6."

    def test_it_must_go_through_every_database(self):
        assert refusal(checked_body, "a\x00b") == "invalid: The body must not contain the NUL character."

    @pytest.mark.parametrize("body", ["\ud800", "a\udfffb", json.loads(r'"\ud83d"')])
    def test_it_must_be_unicode(self, body):
        assert refusal(checked_body, body) == "invalid: The body must be valid Unicode; it came with a lone surrogate."

    def test_an_escaped_pair_of_surrogates_is_one_character(self):
        assert checked_body(json.loads(r'"\ud83d\ude00"')) == "😀"


class TestAuthor:
    def test_text_is_taken_as_it_is(self):
        assert checked_author(" Ann O'Nym ") == " Ann O'Nym "
        assert checked_author("x" * 255)

    def test_what_will_not_do(self):
        assert refusal(checked_author, " ") == "invalid: The author must be text that is not empty; it came empty."
        assert refusal(checked_author, None) == "invalid: The author must be text; it came as nothing."
        assert refusal(checked_author, "x" * 256) == "too_large: The author may have 255 characters; it came with 256."


class TestGroup:
    @pytest.mark.parametrize("group", ["broadcast", "user.5", "a-b_C.9", "x" * 80])
    def test_a_name(self, group):
        assert checked_group(group) == group

    @pytest.mark.parametrize("group", ["", "a b", "ä", "a/b", "x" * 81, "a\n", None, 5, ["a"]])
    def test_no_name(self, group):
        assert refusal(checked_group, group).startswith(
            "invalid: The group must be text that matches [a-zA-Z0-9_.-]{1,80}; it"
        )


class TestRef:
    @pytest.mark.parametrize("ref", [REF, str(REF), REF.hex, str(REF).upper()])
    def test_a_uuid_in_any_spelling(self, ref):
        assert checked_ref(ref) == REF

    @pytest.mark.parametrize(
        ("ref", "came"), [("x", "'x'"), ("", "''"), (5, "a number"), (b"x" * 16, "bytes"), ([], "a list")]
    )
    def test_no_uuid(self, ref, came):
        assert refusal(checked_ref, ref) == f"invalid: The ref must be a UUID; it came as {came}."


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


class TestData:
    @pytest.mark.parametrize(
        "data",
        [
            {},
            {"a": None, "b": True, "c": False, "d": 1.5, "e": "ä😀", "f": [1, [2]], "g": {"": {}}},
            {"min": -(2**63), "max": 2**63 - 1, "float": 1e308},
        ],
    )
    def test_json_stays_as_it_is(self, data):
        assert checked_data(data) == data

    def test_it_becomes_what_will_be_read_back(self):
        checked = checked_data({"tuple": (1, 2), "level": Level.HIGH, "kind": Kind.ALARM, "safe": mark_safe("<b>")})
        assert checked == {"tuple": [1, 2], "level": 2, "kind": "alarm", "safe": "<b>"}
        assert {type(value) for value in checked.values()} == {list, int, str}

    def test_a_copy_is_taken_all_the_way_down(self):
        inner = {"list": [1]}
        checked = checked_data({"inner": inner})
        inner["list"].append(2)
        assert checked == {"inner": {"list": [1]}}

    @pytest.mark.parametrize(("data", "came"), [(None, "nothing"), ([1], "a list"), ("{}", "'{}'"), (5, "a number")])
    def test_it_must_be_an_object(self, data, came):
        assert refusal(checked_data, data) == f"invalid: The data must be a JSON object; it came as {came}."

    def test_its_size_is_that_of_its_json_in_bytes(self, settings):
        settings.BROADCAST = {"MAX_DATA": 10}
        assert checked_data({"a": "ä"})
        assert refusal(checked_data, {"a": "ää"}) == "too_large: The data may have 10 bytes as JSON; it came with 12."

    def test_its_depth_is_bounded(self):
        assert checked_data(nested(MAX_DEPTH))
        assert refusal(checked_data, nested(MAX_DEPTH + 1)).startswith(
            "invalid: The data may be nested 32 deep; data.x.x.x"
        )

    def test_it_must_not_contain_itself(self):
        data: dict = {}
        data["x"] = [data]
        assert "nested 32 deep" in refusal(checked_data, data)

    @pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
    def test_numbers_must_be_finite(self, number):
        assert (
            refusal(checked_data, {"a": [number]}) == f"invalid: A number must be finite; data.a[0] came as {number}."
        )

    @pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400])
    def test_whole_numbers_must_fit_into_64_bits(self, number):
        assert refusal(checked_data, {"a": number}) == "invalid: A whole number must fit into 64 bits; data.a does not."

    def test_a_large_number_of_an_enumeration_is_refused_at_once(self):
        large = enum.IntEnum("large", {"NUMBER": 2**70})
        assert "64 bits" in refusal(checked_data, {"a": large.NUMBER})

    @pytest.mark.parametrize(
        ("value", "came"), [(b"x", "bytes"), ({1}, "set"), (object(), "object"), (REF, "UUID"), (1j, "complex")]
    )
    def test_values_must_be_those_of_json(self, value, came):
        expected = f"invalid: The data must be made of JSON values; data.a came as {came}."
        assert refusal(checked_data, {"a": value}) == expected

    def test_texts_must_be_sound_all_the_way_down(self):
        surrogate = json.loads(r'{"a": [{"b": "\ud800"}]}')
        assert refusal(checked_data, surrogate) == (
            "invalid: The data.a[0].b must be valid Unicode; it came with a lone surrogate."
        )
        nul = json.loads(r'{"a": "\u0000"}')
        assert refusal(checked_data, nul) == "invalid: The data.a must not contain the NUL character."

    def test_keys_must_be_sound_texts(self):
        assert refusal(checked_data, {"a": {5: 6}}) == "invalid: The key of data.a must be text; it came as a number."
        assert refusal(checked_data, {"\x00": 1}) == "invalid: The key of data must not contain the NUL character."
        assert "lone surrogate" in refusal(checked_data, {"\udc00": 1})


class TestTheServersName:
    @pytest.mark.parametrize(
        "name",
        [
            *("Server", "server", " SERVER ", "Ser\u200bver", "\uff33erver", "Ser\u00adver", "Ser\u034fver", "Ser ver"),
            *("S\u0301erver", "Ser\u20ddver", "Server\u3164", "\u0405\u0435\u0433\u0475\u0435\u0433", "S\u03b5rver"),
            *(
                "5erver",
                "S3RV3R",
                "$erver",
                "Ser\u2228er",
                "Ser\u221aer",
                "SE\u13a1VE\u13a1",
                "\u13da\u13ac\u13d2\u13d9\u13ac\u13d2",
            ),
            *("\ua4e2\ua4f0\ua4e3\ua4e6\ua4f0\ua4e3", "\U0001f1f8\U0001f1ea\U0001f1f7\U0001f1fb\U0001f1ea\U0001f1f7"),
            *(
                "\U0001f162\U0001f154\U0001f161\U0001f165\U0001f154\U0001f161",
                "S\u20acrver",
                "Se\u027eve\u0280",
            ),
        ],
    )
    def test_whatever_reads_like_it(self, name):
        assert is_servers_name(name)

    @pytest.mark.parametrize(
        "name", ["Serverin", "Observer", "Ann", "", "53", "Server2", "Serve", "\u221a", "Sever", "Reserve"]
    )
    def test_other_names(self, name):
        assert not is_servers_name(name)


class TestShown:
    def test_a_long_text_is_cut(self):
        assert shown("x" * 41) == repr("x" * 40 + "…")
        assert shown("x" * 40) == repr("x" * 40)

    def test_other_types_have_their_names(self):
        assert [shown(value) for value in (1.5, set(), REF)] == ["a number", "set", "UUID"]
