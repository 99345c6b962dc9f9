"""Where several groups stand and what the site said there last, by two queries by hand: this is part of every page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from ...models import Group, Message
from .heads import heads_in_log
from .records import NOTHING, Head

SCAN_LIMIT = 1000  # of the newest messages of a group, in which those of the site are looked for
MAX_FOUND = 20  # in a group

Found = tuple[Message, str]
"""A message, and the epoch that it is of."""


def positions_of(connection: BaseDatabaseWrapper, names: Sequence[str]) -> list[Head]:
    """Where these groups stand; what waits there comes later."""
    found = heads_in_log(connection, names)
    return [found.get(name, NOTHING) for name in names]


def newest_of_site(
    connection: BaseDatabaseWrapper, names: Sequence[str], positions: Sequence[Head], since: datetime
) -> list[Found]:
    """The site's own last messages in these groups, up to where they stand; no query where there are none at all."""
    sent_at: Any = Message._meta.get_field("sent_at")
    earliest = sent_at.get_db_prep_value(since, connection)
    asked = [(name, head) for name, head in zip(names, positions, strict=True) if head.offset > head.floor]
    if not asked:
        return []
    parameters: list[Any] = []
    for name, head in asked:
        parameters += (name, head.epoch, head.offset - SCAN_LIMIT, head.offset, earliest)
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join([newest_of_one(connection)] * len(asked)), parameters)
        found = cursor.fetchall()
    epochs = [epoch for epoch, *_ in found]
    return list(zip(messages_of(connection, found), epochs, strict=True))


def newest_of_one(connection: BaseDatabaseWrapper) -> str:
    """The look into one group; within another, for the parts of a union may not have an order of their own."""
    quote = connection.ops.quote_name
    message, group = quote(Message._meta.db_table), quote(Group._meta.db_table)
    fields = ", ".join(f"{message}.{quote(str(field.column))}" for field in Message._meta.concrete_fields)
    offset = f"{message}.{quote('offset')}"
    return (
        f"SELECT * FROM (SELECT {group}.epoch, {fields} "  # noqa: S608 (its own names)
        f"FROM {message} INNER JOIN {group} ON {group}.name = {message}.group_name "
        f"WHERE {group}.name = %s AND {group}.epoch = %s AND {offset} > %s AND {offset} <= %s "
        f"AND source = 'server' AND sent_at > %s "
        f"ORDER BY {offset} DESC {connection.ops.limit_offset_sql(0, MAX_FOUND)}) newest"
    )


def messages_of(connection: BaseDatabaseWrapper, rows: Sequence[Sequence[Any]]) -> list[Message]:
    """The messages of rows that have something else first."""
    fields: Any = Message._meta.concrete_fields
    columns = [field.cached_col for field in fields]
    steps = [[*connection.ops.get_db_converters(each), *each.get_db_converters(connection)] for each in columns]
    needed = [(place, columns[place], each) for place, each in enumerate(steps) if each]
    names = [field.attname for field in fields]
    messages: list[Message] = []
    for _, *values in rows:
        for place, column, convert in needed:
            for step in convert:
                values[place] = step(values[place], column, connection)
        messages.append(Message.from_db(connection.alias, names, values))
    return messages
