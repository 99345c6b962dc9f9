"""The heads of groups, read by hand: this is part of every poll."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from ...models import Message
from .changes import rows
from .database import group_and_fields
from .records import VOID, Head


def heads_of(connection: BaseDatabaseWrapper, names: Sequence[str]) -> dict[str, Head]:
    """The heads of these groups, by one query; those that are not in the log are void."""
    group, fields = group_and_fields(connection)
    message, offset = map(connection.ops.quote_name, (Message._meta.db_table, "offset"))
    places = ", ".join(["%s"] * len(names))
    begun = f"SELECT name, {fields} FROM {group} WHERE name IN ({places})"  # noqa: S608 (its own names)
    is_void = f"NOT EXISTS (SELECT 1 FROM {group} WHERE name = group_name)"  # noqa: S608
    waiting = (
        f"SELECT DISTINCT group_name, '{VOID}', 0, 0, 0, 1 = 1 FROM {message}"  # noqa: S608
        f" WHERE {offset} IS NULL AND group_name IN ({places}) AND {is_void}"
    )
    found = rows(connection, f"{begun} UNION ALL {waiting}", [*names, *names])
    heads = dict.fromkeys(names, Head(VOID, 0, 0, 0))
    heads.update(
        (name, Head(epoch, head, begin, floor, bool(waits))) for name, epoch, head, begin, floor, waits in found
    )
    return heads
