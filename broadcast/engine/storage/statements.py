"""Statements by hand: what is part of every commit and every poll, in one round trip where the database takes it so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from ...models import Group, Message

Statement = tuple[str, list[Any]]
"""SQL and its parameters."""


def write_and_look(connection: BaseDatabaseWrapper, cursor: Any, write: Statement, look: Statement) -> Any:
    """Executes a write, then a look at the same row by a snapshot of its own; None if there is nothing to write to."""
    if takes_several(connection):
        cursor.execute(f"{write[0]}; {look[0]}", [*write[1], *look[1]])
        return cursor.fetchone() if cursor.rowcount and cursor.nextset() else None
    cursor.execute(*write)
    if not cursor.rowcount:
        return None
    cursor.execute(*look)
    return cursor.fetchone()


def takes_several(connection: Any) -> bool:
    """True if one call may have several statements with parameters.

    Only psycopg tells their results apart, and not where they may be prepared or the server is given the parameters.
    """
    options = connection.settings_dict["OPTIONS"]
    is_alone = options.get("prepare_threshold") is not None or options.get("server_side_binding")
    return bool(connection.vendor == "postgresql" and connection.Database.__name__ == "psycopg" and not is_alone)


def group_and_fields(connection: BaseDatabaseWrapper) -> tuple[str, str]:
    """The table of groups and what a Head is made of, quoted.

    By hand: it is part of every commit and every poll, and the ORM takes longer to write it than the database to do it.
    """
    names = (Group._meta.db_table, Message._meta.db_table, "offset", "begin")
    group, message, offset, begin = map(connection.ops.quote_name, names)
    waiting = f"SELECT 1 FROM {message} WHERE group_name = {group}.name AND {offset} IS NULL"  # noqa: S608
    return group, f"epoch, head, {begin}, floor, EXISTS ({waiting})"


def next_change(connection: BaseDatabaseWrapper) -> str:
    """The SQL of the mark for a group that is about to change.

    SQLite has one writer at a time, which alone sees what is highest. On PostgreSQL nobody waits for anybody.
    """
    if connection.vendor == "postgresql":
        return "pg_current_xact_id()"
    if connection.vendor == "sqlite":
        group = connection.ops.quote_name(Group._meta.db_table)
        return f"(SELECT coalesce(max(changed), 0) + 1 FROM {group})"  # noqa: S608 (its own names)
    return "NULL"


def places(values: Sequence[Any]) -> str:
    """What stands for so many values in a statement."""
    return ", ".join(["%s"] * len(values))


def fetch(connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any] | None = None) -> list[Any]:
    """The rows that a statement finds."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())
