"""The heads of groups, read by hand: this is part of every poll."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from ...models import Message
from .database import group_and_fields
from .records import VOID, Head


def heads_of(connection: BaseDatabaseWrapper, names: Sequence[str]) -> dict[str, Head]:
    """The heads of these groups, by one query, and one more for those that are not in the log: they are void."""
    group, fields = group_and_fields(connection)
    found = rows(connection, f"SELECT name, {fields} FROM {group} WHERE name IN", names)  # noqa: S608 (its own names)
    heads = {name: Head(epoch, head, begin, floor, bool(waits)) for name, epoch, head, begin, floor, waits in found}
    if void := [name for name in names if name not in heads]:
        message, offset = map(connection.ops.quote_name, (Message._meta.db_table, "offset"))
        waiting = f"SELECT DISTINCT group_name FROM {message} WHERE {offset} IS NULL AND group_name IN"  # noqa: S608
        having = {name for (name,) in rows(connection, waiting, void)}
        heads.update((name, Head(VOID, 0, 0, 0, name in having)) for name in void)
    return heads


def rows(connection: BaseDatabaseWrapper, select: str, names: Sequence[str]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(f"{select} ({', '.join(['%s'] * len(names))})", names)
        return list(cursor.fetchall())
