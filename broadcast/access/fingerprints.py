"""Fingerprints of users: a number for each user's row, so that a pass judges again only those whose row has changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import connections
from django.db.models import QuerySet

from ..conf import conf
from ..engine.storage.statements import fetch
from . import sessions
from .refusals import needs_database
from .signed_names import is_signed


@dataclass(slots=True, frozen=True)
class Seen:
    """Of some connections: the fingerprints of their users, by keys, and the keys of those sessions that hold."""

    users: Mapping[Any, int]
    sessions: set[str]


def see(users: Mapping[Any, Any], held: Iterable[Any]) -> Seen:
    """Users (by their keys) and sessions as they are by now: a query, and one for each session engine with a table."""
    return Seen(fingerprints(users), sessions.found_in_tables(held))


def fingerprints(users: Mapping[Any, Any]) -> dict[Any, int]:
    """The fingerprints of users, by their keys; who is no user of the site's model is left out, and who is gone."""
    model = get_user_model()
    keys = [key for key, user in users.items() if isinstance(user, model)]
    if not keys or not is_in_row(model):
        return {}
    columns = ["pk", *(field.attname for field in model._meta.concrete_fields)]
    found = raw_rows(model._default_manager.filter(pk__in=keys).values_list(*columns))
    to_key = model._meta.pk.to_python
    return {to_key(row[0]): fingerprint(row) for row in found}


def is_in_row(model: Any) -> bool:
    """True if the row of a user says whether the account is active, of the staff, and signed in as before.

    Properties, and a hash of the site's own, may rest on other tables.
    """
    own_hash = getattr(model, "get_session_auth_hash", AbstractBaseUser.get_session_auth_hash)
    if own_hash is not AbstractBaseUser.get_session_auth_hash:
        return False
    columns = {field.attname for field in model._meta.concrete_fields}
    return "is_active" in columns and ("is_staff" in columns or not hasattr(model, "is_staff"))


def may_go_unnoticed(user: Any, name: str) -> bool:
    """True if a right to follow what ``name`` names may go though neither the user's row nor the session changes."""
    is_of_another_kind = user is not None and not isinstance(user, get_user_model())
    return is_of_another_kind or bool(name and (is_signed(name) or needs_database("subscribe", name)))


def rests_on_other_tables(group: str) -> bool:
    """True if what somebody may write in a group, and under which name, does not rest on the user's row alone."""
    return conf.AUTHOR is not None or needs_database("publish", group)


def fingerprint(row: tuple[Any, ...]) -> int:
    try:
        return hash((row, row.count(-1)))  # -1 has the hash of -2
    except TypeError:  # there is a list in it
        return hash(repr(row))


def raw_rows(query: QuerySet[Any, Any]) -> list[tuple[Any, ...]]:
    """The rows of a query as the database has them: to make dates of them takes longer than all the rest."""
    sql, params = query.query.get_compiler(using=query.db).as_sql()
    return fetch(connections[query.db], sql, params)
