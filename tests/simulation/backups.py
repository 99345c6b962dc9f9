"""Backups of the log: kept now and then, and one of them put back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections, transaction

from broadcast.engine.hub import poll

if TYPE_CHECKING:
    from tests.simulation.world import World

NOTICED = 2.5  # seconds after which every hub has looked at what was restored
NOTICED_IN_TURN = 6.0  # where each group has its turn
TABLES = ("broadcast_group", "broadcast_message")


class Backups:
    """The rows of the log as they were."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._kept: list[tuple[float, dict[str, list[Any]]]] = []
        self._columns: dict[str, list[str]] = {}

    def keep(self) -> None:
        """Keeps a backup, where the plan will restore one."""
        if not any(act.name == "restore" for act in self.world.plan.acts):
            return
        rows: dict[str, list[Any]] = {}
        with connections["default"].cursor() as cursor:
            for table in TABLES:
                cursor.execute(f"SELECT * FROM {table} ORDER BY id")
                rows[table] = list(cursor.fetchall())
                self._columns[table] = [column[0] for column in cursor.description]
        self._kept.append((self.world.scheduler.now, rows))

    def restore(self, at: float, is_told: bool) -> None:
        """Puts back the newest backup from before ``at``."""
        kept_at, rows = next((kept for kept in reversed(self._kept) if kept[0] <= at), self._kept[0])
        self.world.note("restores the backup of", kept_at)
        judge = self.world.judge
        now = self.world.scheduler.now
        judge.restored_at.append(now)
        before = {name: group.era.epoch for name, group in judge.truth.groups.items()}
        quote = connections["default"].ops.quote_name
        with transaction.atomic(), connections["default"].cursor() as cursor:
            for table in reversed(TABLES):
                cursor.execute(f"DELETE FROM {table}")
            for table, found in rows.items():
                columns = self._columns[table]
                names = ", ".join(map(quote, columns))
                places = ", ".join(["%s"] * len(columns))
                for row in found:
                    cursor.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", row)
            for row in rows["broadcast_group"]:
                fields = dict(zip(self._columns["broadcast_group"], row, strict=True))
                name = fields["name"]
                if is_told or fields["epoch"] != before[name] or not self._would_be_noticed(name, fields["head"]):
                    epoch = f"renewed{len(judge.restored_at)}{name}"
                    anew = f"UPDATE broadcast_group SET epoch = %s, {quote('begin')} = head WHERE name = %s"
                    cursor.execute(anew, [epoch, name])
        if not is_told:
            self.world.database.let_look(now + (NOTICED if poll.FEW else NOTICED_IN_TURN))

    def _would_be_noticed(self, group: str, head: int) -> bool:
        """True if the log has lost nothing, or some hub that will look has got beyond it."""
        if self.world.judge.truth.of(group).era.head <= head:
            return True
        for process in self.world.processes:
            for node in process.process.nodes.values():
                stream = node.hub.streams.get(group)
                if stream is not None and stream.head > head and process.frozen_until <= self.world.scheduler.now:
                    return True
        return False
