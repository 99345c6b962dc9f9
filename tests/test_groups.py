"""Group names, and the rule that each falls under."""

import pytest

from broadcast.groups import is_group_name, is_group_pattern, retention, rule_for


@pytest.fixture
def rules(settings):
    """Sets the ``GROUPS`` table: ``rules({...})``, ``rules(name={...})``."""

    def write(table=None, **names):
        settings.BROADCAST = {"GROUPS": {**(table or {}), **names}}

    return write


def test_group_names():
    assert all(map(is_group_name, ["a", "broadcast", "user.7", "A_b-c.9", "x" * 80]))
    assert not any(map(is_group_name, ["", "a b", "a/b", "a*", "é", "a\n", "x" * 81, None, 5, b"a"]))


def test_patterns():
    assert all(map(is_group_pattern, ["*", "user.*", "x" * 80 + "*"]))
    assert not any(map(is_group_pattern, ["user", "us*er", "**", "a b*", "", None, "user.?", "x" * 81 + "*"]))


def test_a_name_comes_before_any_pattern(rules):
    rules({"*": {}, "user.*": {}, "user.7": {"publish": "staff"}})
    assert rule_for("user.7") == ("user.7", {"publish": "staff"})


@pytest.mark.parametrize("order", [["*", "user.*", "user.admin.*"], ["user.admin.*", "user.*", "*"]])
def test_a_longer_pattern_comes_before_a_shorter_one(rules, order):
    rules({pattern: {} for pattern in order})
    assert rule_for("user.admin.1") == ("user.admin.*", {})
    assert rule_for("user.1") == ("user.*", {})
    assert rule_for("news") == ("*", {})


def test_what_no_rule_names_has_none(rules):
    rules({"user.*": {}, "news": {}})
    assert rule_for("newsroom") is None
    assert rule_for("use") is None
    assert rule_for("my.user.1") is None


def test_only_a_star_at_the_end_makes_a_pattern(rules):
    rules({"us*r": {}, "room.[ab]": {}, "hall.?": {}})
    assert rule_for("user") is None
    assert rule_for("room.a") is None
    assert rule_for("hall.1") is None


def test_a_rule_says_how_much_is_kept(rules):
    rules({"news": {"keep_messages": 5, "keep_seconds": 60}, "room.*": {"keep_messages": None}})
    assert retention("news") == (5, 60)
    assert retention("room.1") == (None, 30 * 24 * 3600)


def test_what_no_rule_says_the_settings_say(settings):
    settings.BROADCAST = {"KEEP_MESSAGES": 7, "KEEP_SECONDS": None}
    assert retention("broadcast") == (7, None)
    assert retention("other") == (7, None)
