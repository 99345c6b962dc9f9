"""Permission rules: the site's ``POLICY`` and the ``GROUPS`` table.

A rule names, for each action, who may do it::

    "broadcast": {"subscribe": "anyone", "publish": "authenticated", "announce": "staff"}

``subscribe`` is to receive and to read history, ``publish`` to write under one's own name,
``announce`` to speak as the site itself. What is not named is denied. What a table cannot say, the
function under ``POLICY`` does; it is asked first.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from django.db import InterfaceError, OperationalError
from django.utils.module_loading import import_string

from ..conf import Policy, conf
from ..groups import rule_for
from .identity import complain, is_signed_in

Action = Literal["subscribe", "publish", "announce"]

ACTIONS: tuple[Action, ...] = ("subscribe", "publish", "announce")
WORDS = ("anyone", "authenticated", "staff", "nobody", "self")
FAILED = 'BROADCAST["POLICY"] failed, so what it was asked for is denied: %s'
PERMISSION = re.compile(r"perm:\w+\.\S+")


def is_word(who: object) -> bool:
    """True if a rule may use ``who`` to say who may do something."""
    return isinstance(who, str) and (who in WORDS or PERMISSION.fullmatch(who) is not None)


def needs_database(action: Action, group: str) -> bool:
    """True if ``allows`` may have to ask the database: for the user's permissions, or in the site's own ``POLICY``."""
    if conf.POLICY is not None:
        return True
    found = rule_for(group)
    return found is not None and str(found[1].get(action)).startswith("perm:")


def allows(user: Any, action: Action, group: str) -> bool:
    """True if ``user`` (a user, an ``AnonymousUser`` or None) may do ``action`` in ``group``.

    ``POLICY`` is asked first, and what it leaves open goes by the table. A ``perm:`` rule asks the
    user's authentication backends. Both may query the database, and raise its errors. A word that is
    not known, or not one for this action, allows nobody.
    """
    said = verdict(user, action, group) if conf.POLICY is not None else None
    return by_table(user, action, group) if said is None else said


def verdict(user: Any, action: Action, group: str) -> bool | None:
    """The answer of the site's ``POLICY``; one that fails denies, and the log says so once per cause.

    A database that cannot be reached is no verdict, so its errors are raised.
    """
    try:
        said = policy()(user if is_signed_in(user) else None, action, group)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        complain(FAILED, error)
        return False
    if said is None or isinstance(said, bool):
        return said
    complain(FAILED, TypeError(f"It must return True, False or None; it returned {type(said).__name__}."))
    return False


def policy() -> Policy:
    """The function under ``POLICY``. Raises ImportError if there is none."""
    written: Any = conf.POLICY
    found: Policy = import_string(written) if isinstance(written, str) else written
    return found


def by_table(user: Any, action: Action, group: str) -> bool:
    """True if the ``GROUPS`` table allows it."""
    found = rule_for(group)
    if found is None:
        return False
    pattern, rule = found
    who = str(rule.get(action, "nobody"))
    if who == "anyone":
        return True
    if not is_signed_in(user):
        return False
    if who == "authenticated":
        return True
    if who == "staff":
        return bool(user.is_staff)
    if who == "self":
        return action != "announce" and is_own(group, pattern, user)
    if who.startswith("perm:"):
        return bool(user.has_perm(who.removeprefix("perm:")))
    return False


def is_own(group: str, pattern: str, user: Any) -> bool:
    """True if the part of ``group`` that the ``*`` of ``pattern`` stands for is the user's primary key."""
    return pattern.endswith("*") and group[len(pattern) - 1 :] == str(user.pk)


def explain(action: Action, group: str) -> str:
    """The setting that would allow it, for those who run the site."""
    if conf.POLICY is not None:
        return 'Neither BROADCAST["POLICY"] nor, where that leaves it open, BROADCAST["GROUPS"] allows it.'
    found = rule_for(group)
    if found is None:
        return 'A site names its groups in BROADCAST["GROUPS"]; this one is not among them.'
    pattern, rule = found
    return f'BROADCAST["GROUPS"]["{pattern}"]["{action}"] is "{rule.get(action, "nobody")}".'
