"""Where several groups stand and what was said there last, by one query each by hand: this is part of every page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from ...models import Group, Message, Receipt
from .heads import heads_in_log
from .records import NOTHING, Head, Look
from .statements import fetch, places

SCAN_LIMIT = 1000  # of the newest messages of a group, in which those of the site are looked for
MAX_FOUND = 20  # in a group
MAX_COUNTED = 100  # in a group

OF_SITE = "AND source = 'server'"

Found = tuple[Message, str]
"""A message, and the epoch that it is of."""


def positions_of(connection: BaseDatabaseWrapper, names: Sequence[str]) -> list[Head]:
    """Where these groups stand; what waits there comes later."""
    found = heads_in_log(connection, names)
    return [found.get(name, NOTHING) for name in names]


def newest_of_site(
    connection: BaseDatabaseWrapper,
    names: Sequence[str],
    positions: Sequence[Head],
    since: datetime,
    more: int = 0,
    user: Any = None,
) -> list[Found]:
    """The site's own last messages in these groups, up to where they stand; no query where there are none at all.

    Of each group up to ``MAX_FOUND``, and so many ``more``: errors and what stays until it is dismissed first.
    Without those that the user with this key has dismissed.
    """
    asked = [(name, head) for name, head in zip(names, positions, strict=True) if head.offset > head.floor]
    if not asked:
        return []
    own = () if user is None else (prepared(connection, Receipt, "user", user),)
    condition = OF_SITE if user is None else f"{OF_SITE} {not_dismissed(connection)}"
    look = within(newest_in_one(connection, condition, MAX_FOUND + more, what_stays(connection)))
    parameters: list[Any] = []
    for name, head in asked:
        parameters += (*range_of(connection, name, head, since), *own)
    found = fetch(connection, " UNION ALL ".join([look] * len(asked)), parameters)
    epochs = [epoch for epoch, *_ in found]
    return list(zip(messages_of(connection, found), epochs, strict=True))


def newest_for_reader(
    connection: BaseDatabaseWrapper, looks: Sequence[Look], since: datetime, limit: int
) -> tuple[list[Found], int]:
    """The last messages of these groups, up to ``limit`` of each, and how many are unread in all, read on or not.

    Of the site's own, and of anybody's where the look says so. It counts up to ``MAX_COUNTED`` in a group.
    """
    looks = [look for look in looks if look.head.offset > look.head.floor]
    if not looks:
        return [], 0
    parts: list[str] = []
    parameters: list[Any] = []
    for look in looks:
        dismissed = sorted(look.dismissed)[-MAX_COUNTED:] or [0]
        parts.append(counted(connection, look, len(dismissed), limit))
        parameters += (look.read, *dismissed, *range_of(connection, look.group, look.head, since))
    found = fetch(connection, " UNION ALL ".join(parts), parameters)
    newest = messages_of(connection, [row[1:] for row in found])
    counts = {message.group_id: int(unread) for message, (unread, *_) in zip(newest, found, strict=True)}
    return list(zip(newest, [epoch for _, epoch, *_ in found], strict=True)), sum(counts.values())


def counted(connection: BaseDatabaseWrapper, look: Look, dismissed: int, limit: int) -> str:
    """The look into one group that says with each message how many are unread there."""
    offset = f"newest.{connection.ops.quote_name('offset')}"
    is_unread = f"{offset} > %s AND {offset} NOT IN ({places([0] * dismissed)})"
    newest = newest_in_one(connection, "" if look.is_own else OF_SITE, MAX_COUNTED)
    return within(
        f"SELECT SUM(CASE WHEN {is_unread} THEN 1 ELSE 0 END) OVER () AS unread, newest.* FROM ({newest}) newest "  # noqa: S608
        f"ORDER BY {offset} DESC {connection.ops.limit_offset_sql(0, limit)}"
    )


def within(select: str) -> str:
    """A SELECT within another, for the parts of a union may not have an order of their own."""
    return f"SELECT * FROM ({select}) part"  # noqa: S608 (its own names)


def newest_in_one(connection: BaseDatabaseWrapper, condition: str, limit: int, first: str = "") -> str:
    """The look into one group, in which a message has its epoch first. Its parameters come from ``range_of``.

    Where there are more than ``limit``, those are left out that ``first`` does not say to take, then the oldest.
    """
    quote = connection.ops.quote_name
    message, group = quote(Message._meta.db_table), quote(Group._meta.db_table)
    fields = ", ".join(f"{message}.{quote(str(field.column))}" for field in Message._meta.concrete_fields)
    offset = f"{message}.{quote('offset')}"
    return (
        f"SELECT {group}.epoch, {fields} "  # noqa: S608 (its own names)
        f"FROM {message} INNER JOIN {group} ON {group}.name = {message}.group_name "
        f"WHERE {group}.name = %s AND {group}.epoch = %s AND {offset} > %s AND {offset} <= %s "
        f"AND sent_at > %s {condition} "
        f"ORDER BY {first}{offset} DESC {connection.ops.limit_offset_sql(0, limit)}"
    )


def what_stays(connection: BaseDatabaseWrapper) -> str:
    """The order by which errors, and what stays until it is dismissed, come before the rest."""
    data = f"{connection.ops.quote_name(Message._meta.db_table)}.data"
    level, timeout = {
        "postgresql": (f"{data} ->> 'level'", f"({data} ->> 'timeout') IN ('0', '0.0')"),
        "mysql": (f"JSON_UNQUOTE(JSON_EXTRACT({data}, '$.level'))", f"JSON_EXTRACT({data}, '$.timeout') = 0"),
        "sqlite": (f"JSON_EXTRACT({data}, '$.level')", f"JSON_EXTRACT({data}, '$.timeout') = 0"),
    }.get(connection.vendor, ("NULL", "1 = 0"))
    return f"CASE WHEN {level} = 'error' OR {timeout} THEN 0 ELSE 1 END, "


def range_of(connection: BaseDatabaseWrapper, name: str, head: Head, since: datetime) -> tuple[Any, ...]:
    earliest = prepared(connection, Message, "sent_at", since)
    return name, head.epoch, head.offset - SCAN_LIMIT, head.offset, earliest


def not_dismissed(connection: BaseDatabaseWrapper) -> str:
    """The condition that a user has not dismissed a message."""
    names = (Message, Group, Receipt)
    message, group, receipt = (connection.ops.quote_name(model._meta.db_table) for model in names)
    offset, of_group = connection.ops.quote_name("offset"), connection.ops.quote_name("group")
    return (
        f"AND NOT EXISTS (SELECT 1 FROM {receipt} WHERE {receipt}.user_id = %s AND kind = 'dismissed' "  # noqa: S608
        f"AND {receipt}.{of_group} = {message}.group_name AND {receipt}.epoch = {group}.epoch "
        f"AND {receipt}.{offset} = {message}.{offset})"
    )


def prepared(connection: BaseDatabaseWrapper, model: Any, field: str, value: Any) -> Any:
    """A value as the database takes it for a field."""
    return model._meta.get_field(field).get_db_prep_value(value, connection)


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
