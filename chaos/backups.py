"""Backups of the log's tables: made while it is in use, and restored later, with or without messages that overtake."""

import uuid
from dataclasses import dataclass
from typing import Any

import psycopg

from chaos import GROUPS, text_of
from chaos.judge.timeline import VOID

TABLES = ("broadcast_group", "broadcast_message")
LOCK = "SET LOCAL lock_timeout = '10s'; LOCK TABLE broadcast_message, broadcast_group IN SHARE ROW EXCLUSIVE MODE"
WITHOUT_TRIGGERS = "SET LOCAL session_replication_role = "
GROUP_ROWS = 'SELECT name, epoch, head, "begin", floor FROM broadcast_group'
SET_BACK = """
INSERT INTO chaos_group (name, epoch, head, "begin", floor, is_restored) VALUES (%s, %s, %s, %s, %s, true)
"""
APPEND = """
INSERT INTO broadcast_message (group_name, "offset", source, author, body, data, ref, sent_at)
VALUES (%s, %s, 'server', 'Server', %s, %s, %s, now())
"""
NEVER: tuple[Any, ...] = (VOID, 0, 0, 0)


@dataclass(slots=True)
class Backup:
    """The tables as they were in one snapshot."""

    groups: dict[str, tuple[Any, ...]]  # the epoch, head, begin and floor of each
    _data: dict[str, bytes]

    @classmethod
    async def made(cls, url: str) -> "Backup":
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            groups = {name: rest for name, *rest in await (await connection.execute(GROUP_ROWS)).fetchall()}
            data = {}
            for table in TABLES:
                async with connection.cursor().copy(f"COPY {table} TO STDOUT") as copy:
                    data[table] = b"".join([bytes(part) async for part in copy])
        return cls({name: tuple(rest) for name, rest in groups.items()}, data)

    async def restore(self, connection: psycopg.AsyncConnection) -> None:
        """Puts the tables back, in a transaction beside which nobody writes; the archive notes that they went back."""
        await connection.execute(WITHOUT_TRIGGERS + "replica")
        for table in TABLES:
            await connection.execute(f"DELETE FROM {table}")
            async with connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
                await copy.write(self._data[table])
        await connection.execute(WITHOUT_TRIGGERS + "origin")
        for name in GROUPS:
            await connection.execute(SET_BACK, [name, *self.groups.get(name, NEVER)])

    async def lost(self, connection: psycopg.AsyncConnection) -> dict[str, int]:
        """How many messages of each group are newer than the backup."""
        now = {name: rest for name, *rest in await (await connection.execute(GROUP_ROWS)).fetchall()}
        return {name: max(0, now[name][1] - then[1]) for name, then in self.groups.items() if name in now}

    async def append(self, connection: psycopg.AsyncConnection, group: str, keys: list[str]) -> None:
        """Sends by hand, after the newest message of the backup."""
        head = self.groups[group][1]
        rows = [(group, head + number, text_of(key), None, uuid.uuid4()) for number, key in enumerate(keys, 1)]
        async with connection.cursor() as cursor:
            await cursor.executemany(APPEND, rows)
        await connection.execute("UPDATE broadcast_group SET head = head + %s WHERE name = %s", [len(keys), group])

    async def groups_not_renewed(self, url: str) -> list[str]:
        """Where the epoch of the backup is still the log's: no hub has seen that the log went back."""
        async with await psycopg.AsyncConnection.connect(url) as connection:
            rows = await (await connection.execute(GROUP_ROWS)).fetchall()
        return [name for name, epoch, *_ in rows if epoch == self.groups.get(name, NEVER)[0]]
