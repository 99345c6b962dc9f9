"""The settings: read when used, typed, and described in the docs as they are."""

import ast
import re
import sys
from decimal import Decimal
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from django.core.checks import run_checks

from broadcast.conf import Setting, Settings, conf, known_settings, user_settings

DOCS = Path(__file__).resolve().parent.parent / "docs" / "settings.md"

COUNTS = ["MAX_BODY", "MAX_DATA", "MESSAGE_BURST", "MAX_GROUPS", "PAGE_MESSAGES"]
DURATIONS_AND_RATES = ["MESSAGE_RATE", "POLL_INTERVAL", "PING_INTERVAL"]
NO_COUNTS = [0, -1, 1.5, "4000", True, [1]]
NO_DURATIONS = [0, -0.5, float("inf"), float("nan"), "1", True, Decimal(1)]
VALUES: dict[str, tuple[list[Any], list[Any]]] = {
    **dict.fromkeys(COUNTS, ([1], [*NO_COUNTS, None])),
    **dict.fromkeys(DURATIONS_AND_RATES, ([1, 0.25], [*NO_DURATIONS, None])),
    "KEEP_MESSAGES": ([None, 1], NO_COUNTS),
    "KEEP_SECONDS": ([None, 0.25], NO_DURATIONS),
    "GROUPS": ([{}], [[]]),
    "SOCKET_PATH": (["/live"], ["live", None]),
    "CHANNEL_LAYER": (["other"], ["", None]),
}


@pytest.mark.parametrize("name", known_settings())
def test_a_setting_has_its_default_where_the_site_wrote_nothing(settings, name):
    del settings.BROADCAST
    assert getattr(conf, name) == known_settings()[name].default


def test_what_is_no_dict_counts_as_nothing_written(settings):
    for settings.BROADCAST in (None, [], "MAX_BODY", 5):
        assert user_settings() == {}
        assert conf.MAX_BODY == 4000


@pytest.mark.parametrize(
    ("name", "value"), [("MAX_BODY", 10), ("MAX_BODY", 20), ("KEEP_SECONDS", None), ("GROUPS", {"staff": {}})]
)
def test_a_setting_is_read_when_used_and_replaces_the_default(settings, name, value):
    settings.BROADCAST = {name: value}
    assert getattr(conf, name) == value


def test_the_class_hands_out_the_setting_itself():
    assert isinstance(Settings.MAX_BODY, Setting)
    assert Settings.MAX_BODY.name == "MAX_BODY"


def test_every_default_is_acceptable():
    assert [name for name, setting in known_settings().items() if not setting.accepts(setting.default)] == []


@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_judged(name):
    accepts = known_settings()[name].accepts
    good, bad = VALUES[name]
    assert [value for value in good + bad if accepts(value)] == good


def test_the_docs_state_the_default_of_every_setting_and_of_no_other():
    documented = re.findall(r"^## `([A-Z_]+)`\n+Default:\s`(.+?)`", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    stated = [(name, ast.literal_eval(default)) for name, default in documented]
    assert stated == [(name, setting.default) for name, setting in known_settings().items()]


def test_every_example_in_the_docs_passes_the_checks(settings, monkeypatch):
    modules = {"policies.may": lambda user, action, group: None, "names.public_name": lambda user: "Ann"}
    monkeypatch.setitem(sys.modules, "mysite", ModuleType("mysite"))
    for path, function in modules.items():
        module, name = path.split(".")
        monkeypatch.setitem(sys.modules, f"mysite.{module}", SimpleNamespace(**{name: function}))

    examples = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) >= len(known_settings())
    for example in examples:
        settings.BROADCAST = ast.literal_eval(example.removeprefix("BROADCAST = "))
        assert [issue for issue in run_checks(tags=["broadcast"], databases=()) if issue.is_serious()] == [], example
