"""The settings: read when used, typed, and described in the docs as they are."""

import ast
import re
import sys
from decimal import Decimal
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from broadcast.conf import DEFAULT_GROUPS, Setting, Settings, conf, known_settings, user_settings

DOCS = Path(__file__).resolve().parent.parent / "docs" / "settings.md"

COUNTS = ["MAX_BODY", "MAX_DATA", "MESSAGE_BURST", "MAX_GROUPS", "PAGE_MESSAGES"]
DURATIONS_AND_RATES = ["MESSAGE_RATE", "POLL_INTERVAL", "PING_INTERVAL"]


@pytest.mark.parametrize("name", known_settings())
def test_a_setting_has_its_default_where_the_site_wrote_nothing(settings, name):
    del settings.BROADCAST
    assert getattr(conf, name) == known_settings()[name].default


@pytest.mark.parametrize("written", [None, [], "MAX_BODY", 5])
def test_what_is_no_dict_counts_as_nothing_written(settings, written):
    settings.BROADCAST = written
    assert user_settings() == {}
    assert conf.MAX_BODY == 4000


def test_a_setting_is_read_when_used(settings):
    settings.BROADCAST = {"MAX_BODY": 10}
    assert conf.MAX_BODY == 10
    settings.BROADCAST = {"MAX_BODY": 20}
    assert conf.MAX_BODY == 20


def test_none_is_a_value_and_not_the_default(settings):
    settings.BROADCAST = {"KEEP_MESSAGES": None, "KEEP_SECONDS": None}
    assert conf.KEEP_MESSAGES is None
    assert conf.KEEP_SECONDS is None


def test_groups_replace_the_default_groups(settings):
    settings.BROADCAST = {"GROUPS": {"staff": {"subscribe": "staff"}}}
    assert conf.GROUPS == {"staff": {"subscribe": "staff"}}


def test_the_class_hands_out_the_setting_itself():
    assert isinstance(Settings.MAX_BODY, Setting)
    assert Settings.MAX_BODY.name == "MAX_BODY"


def test_every_default_is_acceptable():
    assert [name for name, setting in known_settings().items() if not setting.accepts(setting.default)] == []


def test_the_default_group_is_guarded():
    assert DEFAULT_GROUPS == {
        "broadcast": {
            "subscribe": "anyone",
            "publish": "authenticated",
            "announce": "perm:broadcast.add_message",
        }
    }


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1, 1.5, "4000", None, True, [1]])
def test_a_count_is_a_positive_whole_number(name, value):
    assert known_settings()[name].accepts(1)
    assert not known_settings()[name].accepts(value)


@pytest.mark.parametrize("name", DURATIONS_AND_RATES)
@pytest.mark.parametrize("value", [0, -0.5, float("inf"), float("nan"), "1", None, True, Decimal(1)])
def test_a_duration_or_rate_is_a_positive_number(name, value):
    assert known_settings()[name].accepts(1)
    assert known_settings()[name].accepts(0.25)
    assert not known_settings()[name].accepts(value)


def test_retention_may_have_no_limit():
    assert Settings.KEEP_MESSAGES.accepts(None)
    assert Settings.KEEP_SECONDS.accepts(None)
    assert Settings.KEEP_SECONDS.accepts(0.5)
    assert not Settings.KEEP_MESSAGES.accepts(0.5)
    assert not Settings.KEEP_MESSAGES.accepts(0)
    assert not Settings.KEEP_SECONDS.accepts("30 days")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("GROUPS", {}, []),
        ("SOCKET_PATH", "/live", "live"),
        ("SOCKET_PATH", "/live", None),
        ("CHANNEL_LAYER", "other", ""),
        ("CHANNEL_LAYER", "other", None),
    ],
)
def test_texts_and_tables_are_told_from_other_things(name, good, bad):
    assert known_settings()[name].accepts(good)
    assert not known_settings()[name].accepts(bad)


def documented_defaults() -> dict[str, str]:
    """The defaults that the docs state, as written, by the settings' headings."""
    return dict(re.findall(r"^## `([A-Z_]+)`\n+Default:\s`(.+?)`", DOCS.read_text(), re.MULTILINE | re.DOTALL))


def test_the_docs_name_every_setting_and_no_other():
    assert list(documented_defaults()) == list(known_settings())


@pytest.mark.parametrize("name", known_settings())
def test_the_docs_state_the_default(name):
    assert ast.literal_eval(documented_defaults()[name]) == known_settings()[name].default


def test_every_example_in_the_docs_passes_the_checks(settings, monkeypatch):
    from django.core.checks import run_checks

    policies = SimpleNamespace(may=lambda user, action, group: None)
    monkeypatch.setitem(sys.modules, "mysite", ModuleType("mysite"))
    monkeypatch.setitem(sys.modules, "mysite.policies", policies)

    examples = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) >= len(known_settings())
    for example in examples:
        settings.BROADCAST = ast.literal_eval(example.removeprefix("BROADCAST = "))
        assert [issue for issue in run_checks(tags=["broadcast"]) if issue.is_serious()] == [], example
