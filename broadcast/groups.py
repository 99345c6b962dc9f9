"""Names of groups, and the rule in the ``GROUPS`` table that each falls under."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .conf import BUILT_IN_GROUPS, Rules, conf

DEFAULT_GROUP = "broadcast"

GROUP_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,80}")
"""The names that a group may have: a Channels group name, with room for the app's own prefix."""


def channels_group(group: str) -> str:
    """The Channels group of a group; never one that the site uses for something else."""
    return DEFAULT_GROUP if group == DEFAULT_GROUP else f"{DEFAULT_GROUP}.{group}"


def is_group_name(name: object) -> bool:
    return isinstance(name, str) and GROUP_NAME.fullmatch(name) is not None


def is_group_pattern(name: object) -> bool:
    """True if ``name`` is the beginning of a group name, possibly empty, followed by ``*``."""
    if not isinstance(name, str) or not name.endswith("*"):
        return False
    return name == "*" or is_group_name(name[:-1])


def all_rules() -> Rules:
    """The ``GROUPS`` table, and what is built in and not named there."""
    return {**BUILT_IN_GROUPS, **conf.GROUPS}


def rule_for(group: str) -> tuple[str, Mapping[str, Any]] | None:
    """The name or pattern in ``GROUPS`` that ``group`` falls under, and its rule.

    A name comes before any pattern, a longer pattern before a shorter one.
    """
    rules = all_rules()
    if group in rules:
        return group, rules[group]
    patterns = [name for name in rules if is_group_pattern(name) and group.startswith(name[:-1])]
    if not patterns:
        return None
    longest = max(patterns, key=len)
    return longest, rules[longest]


def retention(group: str) -> tuple[int | None, float | None]:
    """The retention of a group: how many messages are kept, and for how many seconds; None for no limit."""
    found = rule_for(group)
    rule = found[1] if found else {}
    return (
        rule.get("keep_messages", conf.KEEP_MESSAGES),
        rule.get("keep_seconds", conf.KEEP_SECONDS),
    )
