"""Fingerprints of users: a number for each user's row, so that a pass judges again only those whose row has changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connections
from django.db.models import QuerySet

from . import sessions


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
    """True if the row of a user says whether the account is active; a property may have other sources."""
    return any(field.attname == "is_active" for field in model._meta.concrete_fields)


def fingerprint(row: tuple[Any, ...]) -> int:
    try:
        return hash(row)
    except TypeError:  # there is a list in it
        return hash(repr(row))


def raw_rows(query: QuerySet[Any, Any]) -> list[tuple[Any, ...]]:
    """The rows of a query as the database has them: to make dates of them takes longer than all the rest."""
    sql, params = query.query.get_compiler(using=query.db).as_sql()
    with connections[query.db].cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())
