"""The database as simulated threads use it: each stops before and after every statement and around COMMIT."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from tests.simulation.postgresql import Locks
from tests.simulation.process import SimulatedProcess
from tests.simulation.scheduler import Scheduler, SimulatedThread, current_thread

LOCK_WAIT = 5.0  # seconds that SQLite waits for a lock, as its ``timeout`` says
LOCK_LOOK = 0.2  # seconds after which it tries again, if nobody has let go of it before
LOCK_PASSES = 0.004  # seconds at most until who waits has the lock that somebody let go of
APPENDS = re.compile('UPDATE "broadcast_group" SET head|INSERT INTO "broadcast_message"')
MOST = 0.3  # seconds that a step takes at most where the database is well
WRITES = ("INSERT", "UPDATE", "DELETE")


class SimulatedDatabase:
    """Goes at a pace, is slow or away for a while, and tells of each COMMIT."""

    def __init__(self, scheduler: Scheduler, pace: float, on_commit: Callable[[Any], None]) -> None:
        self.scheduler = scheduler
        self.pace = pace
        self.away_until = 0.0
        self.slow_until = 0.0
        self.unwell_until = 0.0
        self.appends_from = 0.0  # until then nobody appends
        self.freeze_next_for = 0.0
        self.open: dict[SimulatedThread, tuple[float, set[str]]] = {}  # who has written since when, in which groups
        self._waiting: dict[SimulatedThread, None] = {}  # for SQLite's lock
        # The next COMMIT that is lost, "before" the database hears of it or "after", and how long it is away then.
        self.lose_next = ("", 0.0)
        self.away_next_for = 0.0
        self._on_commit = on_commit
        self.locks = None if self.locks_all else Locks(scheduler)
        connection_created.connect(self.install)

    def end(self) -> None:
        connection_created.disconnect(self.install)

    def go_away(self, seconds: float) -> None:
        self.away_until = self.scheduler.now + seconds
        self.unwell_until = max(self.unwell_until, self.away_until)

    def slow_down(self, seconds: float) -> None:
        self.slow_until = self.scheduler.now + seconds
        self.unwell_until = max(self.unwell_until, self.slow_until + 2.0)

    def let_look(self, until: float) -> None:
        """Nobody appends until then, and what was to befall the next who writes does not befall a hub that looks."""
        self.appends_from, self.freeze_next_for, self.away_next_for = until, 0.0, 0.0

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

    def install(self, connection: Any, **_: Any) -> None:
        thread = current_thread()
        if thread is None or self._execute in connection.execute_wrappers:
            return
        connection.execute_wrappers.append(self._execute)
        commit, rollback, connect = connection._commit, connection._rollback, connection.get_new_connection
        set_autocommit, close = connection._set_autocommit, connection._close

        def committing() -> None:
            self._pass(thread)
            self._reach(connection)
            self._lose_commit(connection, "before")
            commit()
            self._ended(thread)
            self._on_commit(thread.owner)
            self._pass(thread)
            self._lose_commit(connection, "after")
            if self.away_next_for:
                self.go_away(self.away_next_for)
                self.away_next_for = 0.0

        def rolling_back() -> None:
            rollback()
            self._ended(thread)

        def connecting(parameters: Any) -> Any:
            self._reach(connection)
            return connect(parameters)

        def setting_autocommit(autocommit: bool) -> None:
            """After an interrupted COMMIT this is one, where there still is a transaction."""
            set_autocommit(autocommit)
            if self.locks is None and thread in self.open:
                self._ended(thread)
                self._on_commit(thread.owner)

        def closing() -> None:
            self._sever(connection)
            close()

        connection._commit, connection._rollback = committing, rolling_back
        connection._set_autocommit, connection._close = setting_autocommit, closing
        connection.get_new_connection = connecting

    def _ended(self, thread: SimulatedThread) -> None:
        self.open.pop(thread, None)
        for each in self._waiting:
            self.scheduler.schedule(each, self.scheduler.now + each.random.uniform(0, LOCK_PASSES))
        if self.locks is not None:
            self.locks.ended(thread)

    def _lose_commit(self, connection: Any, when: str) -> None:
        """The connection is lost in the middle of a COMMIT. SQLite has none that could be."""
        if self.lose_next[0] == when and self.locks is not None:
            self.go_away(self.lose_next[1])
            self.lose_next = ("", 0.0)
            self._sever(connection)
            raise OperationalError("the connection is closed")

    def _execute(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        thread = current_thread()
        assert thread is not None
        self._pass(thread)
        if APPENDS.match(sql) and self.scheduler.now < self.appends_from:
            raise OperationalError("nobody may write while a backup is looked at")
        deadline = self.scheduler.now + LOCK_WAIT
        while True:
            self._reach(context["connection"])
            try:
                result = self._do(thread, execute, sql, params, many, context)
                break
            except OperationalError as error:
                if not is_busy(error) or self.scheduler.now > deadline:
                    raise
            self._waiting[thread] = None
            try:
                thread.pause(LOCK_LOOK)
            finally:
                del self._waiting[thread]
        if sql.startswith(WRITES):
            self._wrote(thread, context["connection"], params)
        self._pass(thread)
        return result

    def _do(
        self, thread: SimulatedThread, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        if self.locks is None:
            return execute(sql, params, many, context)
        connection = context["connection"]
        return self.locks.execute(thread, connection, lambda sql: execute(sql, params, many, context), sql)

    def _wrote(self, thread: SimulatedThread, connection: BaseDatabaseWrapper, params: Any) -> None:
        if not connection.in_atomic_block:
            self._on_commit(thread.owner)
            return
        _, groups = self.open.setdefault(thread, (self.scheduler.now, set()))
        groups.update(each for each in params or () if isinstance(each, str) and len(each) == 1)
        if self.freeze_next_for and isinstance(process := thread.owner, SimulatedProcess):
            process.freeze(self.freeze_next_for)
            self.freeze_next_for = 0.0

    def _reach(self, connection: Any) -> None:
        if self.scheduler.now < self.away_until:
            self._sever(connection)
            raise OperationalError("the database is away")

    def _sever(self, connection: Any) -> None:
        """Ends the connection, and what it holds before that: the server would let go of it some time later."""
        if self.locks is None or connection.connection is None:
            return
        with suppress(connection.Database.Error):
            connection.connection.rollback()
        connection.connection.close()
        if (thread := current_thread()) is not None:
            self._ended(thread)

    def _pass(self, thread: SimulatedThread) -> None:
        """Time goes by, and others go on."""
        chance = thread.random.random()
        most = min(self.pace * (0.001 if chance < 0.9 else 0.01 if chance < 0.98 else 0.06), MOST)
        if self.scheduler.now < self.slow_until and chance > 0.7:
            most = 1.5
        thread.pause(thread.random.uniform(0, most))


def is_busy(error: OperationalError) -> bool:
    """True if SQLite would wait for a lock; not where it had to begin anew."""
    return getattr(error.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
