"""Group names, and the rule that each falls under."""

import pytest

from broadcast.groups import is_group_name, is_group_pattern, retention, rule_for


def test_group_names():
    assert all(map(is_group_name, ["a", "broadcast", "user.7", "A_b-c.9", "x" * 80]))
    assert not any(map(is_group_name, ["", "a b", "a/b", "a*", "é", "a\n", "x" * 81, None, 5, b"a"]))


def test_patterns():
    assert all(map(is_group_pattern, ["*", "user.*", "x" * 80 + "*"]))
    assert not any(map(is_group_pattern, ["user", "us*er", "**", "a b*", "", None, "user.?", "x" * 81 + "*"]))


NAMES = ["*", "user.*", "user.admin.*", "user.7"]


@pytest.mark.parametrize("order", [NAMES, NAMES[::-1]])
def test_a_name_comes_before_any_pattern_and_a_longer_pattern_before_a_shorter_one(settings, order):
    settings.BROADCAST = {"GROUPS": {name: {"publish": name} for name in order}}
    falls_under = {"user.7": "user.7", "user.admin.1": "user.admin.*", "user.1": "user.*", "news": "*"}
    assert {name: rule_for(name) for name in falls_under} == {
        name: (rule, {"publish": rule}) for name, rule in falls_under.items()
    }


def test_what_no_rule_names_has_none_and_only_a_star_at_the_end_makes_a_pattern(settings):
    settings.BROADCAST = {"GROUPS": {name: {} for name in ("user.*", "news", "us*r", "room.[ab]", "hall.?")}}
    assert not any(map(rule_for, ["newsroom", "use", "my.user.1", "user", "room.a", "hall.1"]))


def test_what_no_rule_says_of_how_much_is_kept_the_settings_say(settings):
    rules = {"news": {"keep_messages": 5, "keep_seconds": 60}, "room.*": {"keep_messages": None}}
    settings.BROADCAST = {"KEEP_MESSAGES": 7, "GROUPS": rules}
    month = 30 * 24 * 3600
    assert [retention(name) for name in ("news", "room.1", "other")] == [(5, 60), (None, month), (7, month)]
    settings.BROADCAST = {"KEEP_SECONDS": None}
    assert retention("broadcast")[1] is None
