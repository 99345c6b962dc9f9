"""Checks of ``BROADCAST``, the app's settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from inspect import iscoroutinefunction, signature
from typing import Any

from django.conf import settings as django_settings
from django.core import checks

from ..access.identity import author
from ..access.policy import ACTIONS, WORDS, is_word, policy
from ..conf import Limits, Setting, Settings, conf, known_settings, user_settings
from ..groups import is_group_name, is_group_pattern

KEPT: dict[str, Setting[Any]] = {"keep_messages": Settings.KEEP_MESSAGES, "keep_seconds": Settings.KEEP_SECONDS}
SET_BEHIND_PROXIES = ("USE_X_FORWARDED_HOST", "USE_X_FORWARDED_PORT", "SECURE_PROXY_SSL_HEADER")
RULE_KEYS = (*ACTIONS, *KEPT)


@checks.register("broadcast")
def settings_are_a_dict(**kwargs: Any) -> list[checks.CheckMessage]:
    written = getattr(django_settings, "BROADCAST", None)
    if written is None or isinstance(written, Mapping):
        return []
    return [
        checks.Error(
            f"BROADCAST must be a dict, not {described(written)}.",
            hint='Write BROADCAST = {"MAX_BODY": 4000, ...}, or leave it out for the defaults.',
            id="broadcast.E001",
        )
    ]


@checks.register("broadcast")
def settings_are_known(**kwargs: Any) -> list[checks.CheckMessage]:
    return [
        checks.Error(
            f"BROADCAST has no setting {key!r}.",
            hint=suggestion(str(key).upper(), known_settings()),
            id="broadcast.E002",
        )
        for key in user_settings()
        if key not in known_settings()
    ]


@checks.register("broadcast")
def settings_have_their_types(**kwargs: Any) -> list[checks.CheckMessage]:
    written = user_settings()
    return [
        checks.Error(
            f'BROADCAST["{name}"] must be {setting.expected}, not {described(written[name])}.',
            hint=f"Correct it, or leave it out for the default, {setting.default!r}.",
            id="broadcast.E003",
        )
        for name, setting in known_settings().items()
        if name in written and not setting.accepts(written[name])
    ]


@checks.register("broadcast")
def limits_are_known(**kwargs: Any) -> list[checks.CheckMessage]:
    known = known_settings(Limits)
    return [
        checks.Error(
            f'BROADCAST["LIMITS"] has no key {key!r}.',
            hint=suggestion(str(key).upper(), known),
            id="broadcast.E013",
        )
        for key in written_limits()
        if key not in known
    ]


@checks.register("broadcast")
def limits_have_their_types(**kwargs: Any) -> list[checks.CheckMessage]:
    written = written_limits()
    return [
        checks.Error(
            f'BROADCAST["LIMITS"]["{name}"] must be {limit.expected}, not {described(written[name])}.',
            hint=f"Correct it, or leave it out for the default, {limit.default!r}.",
            id="broadcast.E014",
        )
        for name, limit in known_settings(Limits).items()
        if name in written and not limit.accepts(written[name])
    ]


@checks.register("broadcast", checks.Tags.security, deploy=True)
def proxies_are_counted(**kwargs: Any) -> list[checks.CheckMessage]:
    behind_one = any(getattr(django_settings, name, None) for name in SET_BEHIND_PROXIES)
    if "PROXIES" in written_limits() or not behind_one:
        return []
    return [
        checks.Warning(
            'BROADCAST["LIMITS"]["PROXIES"] does not say how many proxies are in front of this site, '
            "so limits for guests' addresses do not apply.",
            hint="Set it to their number, such as 1 behind nginx.",
            id="broadcast.W006",
        )
    ]


@checks.register("broadcast")
def groups_are_well_named(**kwargs: Any) -> list[checks.CheckMessage]:
    return [
        checks.Error(
            f'BROADCAST["GROUPS"] names a group {name!r}, which no group can be called.',
            hint="Use 1 to 80 ASCII letters, digits, dots, hyphens and underscores. "
            "A pattern has one * more, at its end.",
            id="broadcast.E004",
        )
        for name in groups()
        if not is_group_name(name) and not is_group_pattern(name)
    ]


@checks.register("broadcast")
def rules_are_dicts(**kwargs: Any) -> list[checks.CheckMessage]:
    return [
        checks.Error(
            f"{place(name)} must be a dict, not {described(rule)}.",
            hint='Write a rule such as {"subscribe": "anyone", "publish": "authenticated"}.',
            id="broadcast.E005",
        )
        for name, rule in groups().items()
        if not isinstance(rule, Mapping)
    ]


@checks.register("broadcast")
def rules_have_known_keys(**kwargs: Any) -> list[checks.CheckMessage]:
    return [
        checks.Error(
            f"{place(name)} has a key {key!r}, which rules do not have.",
            hint=suggestion(str(key).lower(), RULE_KEYS),
            id="broadcast.E006",
        )
        for name, rule in rules()
        for key in rule
        if key not in RULE_KEYS
    ]


@checks.register("broadcast")
def rules_use_known_words(**kwargs: Any) -> list[checks.CheckMessage]:
    return [
        checks.Error(
            f"{place(name, action)} must be a word for who may {action}, not {described(who)}.",
            hint=f"Use {', '.join(WORDS)} or perm:<app_label>.<codename>.",
            id="broadcast.E007",
        )
        for name, action, who in grants()
        if not is_word(who)
    ]


@checks.register("broadcast")
def self_means_somebody(**kwargs: Any) -> list[checks.CheckMessage]:
    return [
        checks.Error(
            f'{place(name, action)} is "self", which allows nobody here.',
            hint='Use "self" for "subscribe" and "publish" of a pattern such as "user.*", '
            "where * stands for the user's primary key.",
            id="broadcast.E008",
        )
        for name, action, who in grants()
        if who == "self" and (action == "announce" or not is_group_pattern(name))
    ]


@checks.register("broadcast")
def rules_keep_what_can_be_kept(**kwargs: Any) -> list[checks.CheckMessage]:
    return [
        checks.Error(
            f"{place(name, key)} must be {setting.expected}, not {described(rule[key])}.",
            hint=f'Correct it, or leave it out for that of BROADCAST["{setting.name}"].',
            id="broadcast.E009",
        )
        for name, rule in rules()
        for key, setting in KEPT.items()
        if key in rule and not setting.accepts(rule[key])
    ]


@checks.register("broadcast")
def policy_can_be_called(**kwargs: Any) -> list[checks.CheckMessage]:
    problem = problem_with(Settings.POLICY, policy, user=None, action="subscribe", group="broadcast")
    if not problem:
        return []
    return [
        checks.Error(
            f'BROADCAST["POLICY"] {problem}, so everything it is asked for is denied.',
            hint="Give the dotted path to a function may(user, action, group) that returns True, False or None.",
            id="broadcast.E012",
        )
    ]


@checks.register("broadcast")
def author_can_be_called(**kwargs: Any) -> list[checks.CheckMessage]:
    problem = problem_with(Settings.AUTHOR, author, user=None)
    if not problem:
        return []
    return [
        checks.Error(
            f'BROADCAST["AUTHOR"] {problem}, so users have neutral names.',
            hint="Give the dotted path to a function name(user) that returns the text of a name.",
            id="broadcast.E015",
        )
    ]


def problem_with(setting: Setting[Any], function: Callable[[], Any], **given: Any) -> str:
    """The reason why the function under a setting cannot be called with these; empty if it can, or there is none."""
    written = setting.read()
    if written is None or not setting.accepts(written):
        return ""
    try:
        found = function()
    except Exception as error:  # whatever the site's own module raises while it is imported
        return f"cannot be imported: {error}"
    if not callable(found):
        return f"is {described(found)}, which cannot be called"
    if iscoroutinefunction(found):
        return "is an async function"
    try:
        signature(found).bind(*given.values())
    except TypeError as error:
        return f"does not take {listed(given)} ({error})"
    except ValueError:  # something built in, of which nobody knows
        return ""
    return ""


@checks.register("broadcast", checks.Tags.security, deploy=True)
def groups_are_guarded(**kwargs: Any) -> list[checks.CheckMessage]:
    return [
        checks.Warning(
            f'{place(name, action)} is "anyone": every visitor may {action}, signed in or not.',
            hint='Use "authenticated", "staff" or a permission, or silence this if it is meant.',
            id="broadcast.W005",
        )
        for name, action, who in grants()
        if who == "anyone" and action != "subscribe"
    ]


def written_limits() -> Mapping[Any, Any]:
    return conf.LIMITS if isinstance(conf.LIMITS, Mapping) else {}


def groups() -> Mapping[Any, Any]:
    """The ``GROUPS`` table, or nothing when it is no table."""
    return conf.GROUPS if isinstance(conf.GROUPS, Mapping) else {}


def rules() -> Iterator[tuple[Any, Mapping[Any, Any]]]:
    """Each name or pattern in ``GROUPS`` whose rule is a dict, with that rule."""
    return ((name, rule) for name, rule in groups().items() if isinstance(rule, Mapping))


def grants() -> Iterator[tuple[Any, str, Any]]:
    """Each name or pattern, action, and who may do it."""
    return ((name, action, rule[action]) for name, rule in rules() for action in ACTIONS if action in rule)


def listed(words: Iterable[str]) -> str:
    """Words as a sentence has them: a user, an action and a group."""
    *others, last = (f"{'an' if word[0] in 'aeio' else 'a'} {word}" for word in words)
    return f"{', '.join(others)} and {last}" if others else last


def place(name: object, key: str = "") -> str:
    """The place of a rule in the settings, or of one key of it, as a site owner would write it."""
    return f'BROADCAST["GROUPS"]["{name}"]' + (f'["{key}"]' if key else "")


def described(value: object) -> str:
    return f"{value!r} ({type(value).__name__})"


def suggestion(word: str, known: Iterable[str]) -> str:
    """A suggestion to write instead of ``word``."""
    nearest = get_close_matches(word, known, n=1)
    if nearest:
        return f"Did you mean {nearest[0]!r}?"
    return f"Known are: {', '.join(known)}."
