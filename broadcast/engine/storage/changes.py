"""What has changed in the log since a mark: a poll of many groups asks for the news, and not for each of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper

from ...models import Group, Message
from .statements import fetch


@dataclass(slots=True, frozen=True)
class Mark:
    """A moment in the history of the log: what is committed later is among the changes since.

    ``life`` tells a database from one that was put in its place, or began anew. ``moment`` is a snapshot of
    PostgreSQL's, or else the highest number that a group had been marked with, and ``life`` the name of that group.
    """

    life: str
    moment: str | int


@dataclass(slots=True, frozen=True)
class Changes:
    """The groups that have changed since a mark or in which something waits, and the mark to go on from.

    They are None where nobody can say: it is the first time, or the log went back to what it was before.
    """

    names: set[str] | None
    mark: Mark


def can_tell(connection: BaseDatabaseWrapper) -> bool:
    """True where commits are marked in an order by which none can be missed."""
    return connection.vendor in ("postgresql", "sqlite")


def changes_since(connection: BaseDatabaseWrapper, mark: Mark | None) -> Changes:
    """The changes since a mark; only where the database ``can_tell``."""
    found = (snapshots if connection.vendor == "postgresql" else numbers)(connection, mark)
    if found.names is None:
        return found
    return Changes(found.names | waiting(connection), found.mark)


def numbers(connection: BaseDatabaseWrapper, mark: Mark | None) -> Changes:
    """By numbers: the group that had the highest has it still or a higher one, unless the log went back.

    Where it was deleted, the next to change has got its number again.
    """
    group = connection.ops.quote_name(Group._meta.db_table)
    if mark is not None:
        since = f"SELECT name, changed FROM {group} WHERE changed >= %s OR name = %s"  # noqa: S608 (its own names)
        found = {name: number or 0 for name, number in fetch(connection, since, [mark.moment, mark.life])}
        if mark.moment == 0 or found.get(mark.life, 0) >= int(mark.moment):
            names = {name for name, number in found.items() if (name, number) != (mark.life, mark.moment)}
            return Changes(names, highest(found.items(), mark))
    newest = f"SELECT name, changed FROM {group} WHERE changed IS NOT NULL ORDER BY changed DESC LIMIT 1"  # noqa: S608
    return Changes(None, highest(fetch(connection, newest), Mark("", 0)))


def highest(found: Iterable[tuple[str, int]], otherwise: Mark) -> Mark:
    name, number = max(found, key=lambda row: row[1], default=(otherwise.life, otherwise.moment))
    return Mark(name, number)


def snapshots(connection: BaseDatabaseWrapper, mark: Mark | None) -> Changes:
    """By snapshots (PostgreSQL, "Transaction ID and Snapshot Information Functions").

    Whatever a snapshot does not see was committed after it, however early the transaction began. A row from the
    future has come here from another server.
    """
    group = connection.ops.quote_name(Group._meta.db_table)
    life = f"concat(pg_postmaster_start_time(), ' ', pg_relation_filenode('{group}'::regclass))"
    if mark is not None:
        unseen = (
            "g.changed >= pg_snapshot_xmin(%s::pg_snapshot) AND NOT pg_visible_in_snapshot(g.changed, %s::pg_snapshot)"
            " AND g.changed < pg_snapshot_xmax(pg_current_snapshot())"
        )
        since = (
            f"SELECT {life}, pg_current_snapshot()::text, g.name"  # noqa: S608 (its own names)
            f" FROM (SELECT 1) AS once LEFT JOIN {group} AS g ON {unseen}"
        )
        found = fetch(connection, since, [mark.moment, mark.moment])
        now = Mark(*found[0][:2])
        return Changes({name for *_, name in found if name} if now.life == mark.life else None, now)
    return Changes(None, Mark(*fetch(connection, f"SELECT {life}, pg_current_snapshot()::text")[0]))


def waiting(connection: BaseDatabaseWrapper) -> set[str]:
    """The groups in which messages wait to be sequenced; one step in the index for each, however many wait."""
    message, offset = map(connection.ops.quote_name, (Message._meta.db_table, "offset"))
    # Of two indexes SQLite takes the one of all messages.
    by_index = " INDEXED BY broadcast_waiting" if connection.vendor == "sqlite" else ""
    least = f"SELECT min(group_name) FROM {message}{by_index} WHERE {offset} IS NULL"  # noqa: S608 (its own names)
    following = f"SELECT ({least} AND group_name > waiting.name) FROM waiting WHERE waiting.name IS NOT NULL"  # noqa: S608
    each = f"WITH RECURSIVE waiting(name) AS ({least} UNION ALL {following}) SELECT name FROM waiting"  # noqa: S608
    return {name for (name,) in fetch(connection, each) if name is not None}
