"""The database as simulated threads use it: each stops before and after every statement and around COMMIT."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from typing import Any

from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from tests.simulation.process import SimulatedProcess
from tests.simulation.scheduler import Scheduler, SimulatedThread, current_thread

LOCK_WAIT = 5.0  # seconds that SQLite waits for a lock, as its ``timeout`` says
LOCK_LOOK = 0.004  # seconds at most between two tries
APPENDS = re.compile('UPDATE "broadcast_group" SET head|INSERT INTO "broadcast_message"')
WRITES = ("INSERT", "UPDATE", "DELETE")


class SimulatedDatabase:
    """Goes at a pace, is slow or away for a while, and tells of each COMMIT."""

    def __init__(self, scheduler: Scheduler, on_commit: Callable[[Any], None]) -> None:
        self.scheduler = scheduler
        self.away_until = 0.0
        self.slow_until = 0.0
        self.unwell_until = 0.0
        self.appends_from = 0.0  # until then nobody appends
        self.freeze_next_for = 0.0
        self.open: dict[SimulatedThread, tuple[float, set[str]]] = {}  # who has written since when, in which groups
        self._on_commit = on_commit
        connection_created.connect(self.install)

    def end(self) -> None:
        connection_created.disconnect(self.install)

    def go_away(self, seconds: float) -> None:
        self.away_until = self.scheduler.now + seconds
        self.unwell_until = max(self.unwell_until, self.away_until)

    def slow_down(self, seconds: float) -> None:
        self.slow_until = self.scheduler.now + seconds
        self.unwell_until = max(self.unwell_until, self.slow_until + 2.0)

    def is_held(self, group: str, seconds: float) -> bool:
        """True if somebody has had what is locked to write to a group for so long."""
        return any(
            since < self.scheduler.now - seconds and (group in groups or self.locks_all)
            for since, groups in self.open.values()
        )

    @property
    def locks_all(self) -> bool:
        """True where there is one lock for all who write."""
        return connections["default"].vendor == "sqlite"

    def install(self, connection: BaseDatabaseWrapper, **_: Any) -> None:
        thread = current_thread()
        if thread is None:
            return
        connection.execute_wrappers.append(self._execute)
        commit, rollback = type(connection)._commit, type(connection)._rollback  # type: ignore[attr-defined]

        def committing() -> None:
            self._pass(thread)
            self._reach()
            commit(connection)
            self.open.pop(thread, None)
            self._on_commit(thread.owner)
            self._pass(thread)

        def rolling_back() -> None:
            self.open.pop(thread, None)
            rollback(connection)

        connection._commit, connection._rollback = committing, rolling_back  # type: ignore[attr-defined]

    def _execute(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        thread = current_thread()
        assert thread is not None
        self._pass(thread)
        if APPENDS.match(sql) and self.scheduler.now < self.appends_from:
            raise OperationalError("nobody may write while a backup is looked at")
        deadline = self.scheduler.now + LOCK_WAIT
        while True:
            self._reach()
            try:
                result = execute(sql, params, many, context)
                break
            except OperationalError as error:
                if not is_busy(error) or self.scheduler.now > deadline:
                    raise
            thread.pause(thread.random.uniform(0, LOCK_LOOK))
        if sql.startswith(WRITES):
            self._wrote(thread, context["connection"], params)
        self._pass(thread)
        return result

    def _wrote(self, thread: SimulatedThread, connection: BaseDatabaseWrapper, params: Any) -> None:
        if not connection.in_atomic_block:
            self._on_commit(thread.owner)
            return
        _, groups = self.open.setdefault(thread, (self.scheduler.now, set()))
        groups.update(each for each in params or () if isinstance(each, str) and len(each) == 1)
        if self.freeze_next_for and isinstance(process := thread.owner, SimulatedProcess):
            process.freeze(self.freeze_next_for)
            self.freeze_next_for = 0.0

    def _reach(self) -> None:
        if self.scheduler.now < self.away_until:
            raise OperationalError("disk I/O error")

    def _pass(self, thread: SimulatedThread) -> None:
        """Time goes by, and others go on."""
        chance = thread.random.random()
        most = 0.001 if chance < 0.9 else 0.01 if chance < 0.98 else 0.06
        if self.scheduler.now < self.slow_until and chance > 0.7:
            most = 1.5
        thread.pause(thread.random.uniform(0, most))


def is_busy(error: OperationalError) -> bool:
    """True if SQLite would wait for a lock; not where it had to begin anew."""
    return getattr(error.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
