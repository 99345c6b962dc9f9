"""Statements that belong together, in one round trip where the database takes them so."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

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
