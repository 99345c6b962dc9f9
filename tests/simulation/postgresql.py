"""PostgreSQL in the simulation: who waits for a lock, and who no longer does, is asked of the database itself.

A thread that waits for a row is in the middle of a statement while others take their steps. Time-outs of locks go by
virtual time: the statement is cancelled when its time is up, and ends as if PostgreSQL had done that.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.errors import LockNotAvailable, QueryCanceled

from tests.services import Postgres, services_directory
from tests.simulation.scheduler import Scheduler, SimulatedThread

GLANCE = 0.002  # real seconds after which it is asked whether a statement waits
TIMEOUT = re.compile(r"(lock_timeout = |'lock_timeout', ')(\d+)")


@contextmanager
def server() -> Iterator[str]:
    """The address of a PostgreSQL of this run's own."""
    directory = services_directory()
    postgres = Postgres(directory)
    postgres.start()
    try:
        yield postgres.url
    finally:
        postgres.stop()
        shutil.rmtree(directory)


def create(database: dict[str, Any]) -> None:
    """Makes a database for this process."""
    name = f"simulation_{os.getpid()}"
    where = {"host": database["HOST"], "port": database["PORT"], "user": database["USER"], "dbname": database["NAME"]}
    with psycopg.connect(**where, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    database["NAME"] = name


class Locks:
    """Runs statements that may have to wait for others."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._patience: dict[SimulatedThread, float] = {}  # seconds; 0 for as long as it takes
        self._executing: dict[SimulatedThread, int] = {}  # backends of those in the middle of a statement
        self._blocked: dict[SimulatedThread, object] = {}
        self._observer = connections["default"]
        scheduler.wait_for = self.wait_for
        scheduler.release = self.release

    def execute(
        self, thread: SimulatedThread, connection: BaseDatabaseWrapper, work: Callable[[str], Any], sql: str
    ) -> Any:
        """Executes a statement, whose lock time-outs are kept here and not told to the database."""
        timeout = TIMEOUT.search(sql)
        is_later = sql.startswith("UPDATE")  # holds for what follows, once that is done
        if timeout is not None:
            sql = TIMEOUT.sub(r"\g<1>0", sql)
            if not is_later:
                self._patience[thread] = int(timeout[2]) / 1000
        elif "set_config('lock_timeout'" in sql:
            self._patience[thread] = 0.0
        if connection.connection is not None and not connection.connection.closed:
            self._executing[thread] = connection.connection.info.backend_pid
        try:
            result = work(sql)
            if timeout is not None and is_later:
                self._patience[thread] = int(timeout[2]) / 1000
            return result
        except OperationalError as error:
            if isinstance(error.__cause__, QueryCanceled):
                raise OperationalError("canceling statement due to lock timeout") from LockNotAvailable()
            raise
        finally:
            self._executing.pop(thread, None)

    def ended(self, thread: SimulatedThread) -> None:
        """The transaction of a thread is over: others may go on."""
        self._patience.pop(thread, None)
        self.see_woken()

    def see_woken(self) -> None:
        for thread in list(self._blocked):
            if thread in self._blocked and not self._waits(thread):
                self._unblock(thread)
                self.wait_for(thread)

    def wait_for(self, thread: SimulatedThread) -> None:
        """Returns when a thread has paused or ended, or waits for a lock."""
        while not thread.done.acquire(timeout=GLANCE):
            if thread in self._executing and self._waits(thread):
                thread.is_blocked = True
                ticket = self._blocked[thread] = object()
                if patience := self._patience.get(thread, 0.0):
                    self._scheduler.call_at(self._scheduler.now + patience, self._time_out, thread, ticket)
                return

    def release(self, thread: SimulatedThread) -> bool:
        """Ends the connection of a thread that waits for a lock. Returns False if it does not."""
        if thread not in self._blocked:
            return False
        self._unblock(thread)
        self._ask("SELECT pg_terminate_backend(%s)", self._executing[thread])
        thread.done.acquire()
        return True

    def _time_out(self, thread: SimulatedThread, ticket: object) -> None:
        if self._blocked.get(thread) is ticket:
            self._unblock(thread)
            self._ask("SELECT pg_cancel_backend(%s)", self._executing[thread])
            thread.done.acquire()

    def _unblock(self, thread: SimulatedThread) -> None:
        del self._blocked[thread]
        thread.is_blocked = False

    def _waits(self, thread: SimulatedThread) -> bool:
        pid = self._executing.get(thread)
        return pid is not None and bool(self._ask("SELECT cardinality(pg_blocking_pids(%s))", pid))

    def _ask(self, sql: str, pid: int) -> Any:
        with self._observer.cursor() as cursor:
            cursor.execute(sql, [pid])
            return cursor.fetchone()[0]
