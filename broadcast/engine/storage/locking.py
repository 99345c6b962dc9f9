"""The lock of a group: its row in the database, held until the end of the transaction."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from django.db import connections

from ...models import Group, Message
from .database import alias


@dataclass(slots=True, frozen=True)
class Locked:
    """A group as it is while nobody else can change it."""

    epoch: str
    head: int
    floor: int
    has_waiting: bool


def lock(name: str, count: int) -> Locked:
    """Reserves ``count`` offsets and holds the group until the end of the transaction.

    A write comes first: SQLite refuses at once a transaction that read before it wrote, and
    PostgreSQL locks the row without waiting for foreign keys.
    """
    connection = connections[alias()]
    quoted = connection.ops.quote_name
    group, message, offset = map(quoted, (Group._meta.db_table, Message._meta.db_table, "offset"))
    # By hand: this is part of every commit, and the ORM takes longer to write it than the database to do it.
    reserve = f"UPDATE {group} SET head = head + %s WHERE name = %s"  # noqa: S608 (its own names)
    waiting = f"SELECT 1 FROM {message} WHERE group_name = {group}.name AND {offset} IS NULL"  # noqa: S608
    look = f"SELECT epoch, head, floor, EXISTS ({waiting}) FROM {group} WHERE name = %s"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(reserve, [count, name])
        if not cursor.rowcount:
            open_group(name)
            cursor.execute(reserve, [count, name])
        cursor.execute(look, [name])
        epoch, head, floor, has_waiting = cursor.fetchone()
    return Locked(epoch, head, floor, bool(has_waiting))


def open_group(name: str) -> Group:
    """The group of that name, which comes into being on first use."""
    group, _ = Group.objects.using(alias()).get_or_create(name=name, defaults={"epoch": new_epoch()})
    return group


def new_epoch() -> str:
    return secrets.token_urlsafe(9)
