"""The heads of groups, read by hand: this is part of every poll."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from ...models import Message
from .records import NOTHING, VOID, Head
from .statements import fetch, group_and_fields, places


def heads_of(connection: BaseDatabaseWrapper, names: Sequence[str]) -> dict[str, Head]:
    """The heads of these groups, by one query; those that are not in the log are void."""
    group, fields = group_and_fields(connection)
    message, offset = map(connection.ops.quote_name, (Message._meta.db_table, "offset"))
    is_void = f"NOT EXISTS (SELECT 1 FROM {group} WHERE name = group_name)"  # noqa: S608 (its own names)
    waiting = (
        f"SELECT DISTINCT group_name, '{VOID}', 0, 0, 0, 1 = 1 FROM {message}"  # noqa: S608
        f" WHERE {offset} IS NULL AND group_name IN ({places(names)}) AND {is_void}"
    )
    heads = dict.fromkeys(names, NOTHING)
    found = fetch(connection, f"{begun(group, fields, names)} UNION ALL {waiting}", [*names, *names])
    return heads | in_rows(found)


def heads_in_log(connection: BaseDatabaseWrapper, names: Sequence[str]) -> dict[str, Head]:
    """The heads of those of these groups that are in the log."""
    group, fields = group_and_fields(connection)
    return in_rows(fetch(connection, begun(group, fields, names), names))


def begun(group: str, fields: str, names: Sequence[str]) -> str:
    return f"SELECT name, {fields} FROM {group} WHERE name IN ({places(names)})"  # noqa: S608 (its own names)


def in_rows(found: Iterable[tuple[Any, ...]]) -> dict[str, Head]:
    return {name: Head(epoch, head, begin, floor, bool(waits)) for name, epoch, head, begin, floor, waits in found}
