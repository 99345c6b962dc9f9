"""The threads in which a node uses the database: never the one that all thread-sensitive calls share."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

from ...exceptions import LockTimeout, LogUnavailable, NoLog
from ..health import Health
from ..system import System
from .database import EpochEnded, alias

T = TypeVar("T")

MAX_CONNECTION_AGE = 600.0  # seconds


class DatabaseThread:
    """One thread with a database connection of its own, which is renewed by error and by age.

    Here every transaction is the engine's own, so autocommit is on even where the site turned it off. All that it
    runs shares one context, in which Django keeps its caches.
    """

    def __init__(self, system: System, name: str, context: Context) -> None:
        self._system = system
        self._executor = system.executor(name)
        self._context = context
        self._opened_at: float | None = None

    async def run(self, function: Callable[..., T], *args: object) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._context.run, self.call, function, *args)

    def submit(self, function: Callable[[], None]) -> None:
        """Has ``function`` run some time. Raises RuntimeError if the thread is closed."""
        self._executor.submit(self._context.run, self.call, function)

    def close(self) -> None:
        """Closes the connections once what is under way is done; does not wait for it."""
        with suppress(RuntimeError):  # the process ends, and its threads with it
            self._executor.submit(connections.close_all)
        self._executor.shutdown(wait=False)

    def call(self, function: Callable[..., T], *args: object) -> T:
        """Runs ``function`` as the thread does."""
        database = connections[alias()]
        if not database.settings_dict["AUTOCOMMIT"]:
            database.settings_dict = {**database.settings_dict, "AUTOCOMMIT": True}
        try:
            return function(*args)
        finally:
            self._renew_connections()

    def _renew_connections(self) -> None:
        now = self._system.monotonic()
        if self._opened_at is None:
            self._opened_at = now
        too_old = now - self._opened_at > MAX_CONNECTION_AGE
        if too_old:
            self._opened_at = now
        for connection in connections.all(initialized_only=True):
            if too_old or connection.errors_occurred:
                connection.close()


class DatabaseThreads(ABC):
    """A reader and a writer."""

    @abstractmethod
    async def read(self, function: Callable[..., T], *args: object) -> T: ...

    @abstractmethod
    async def write(self, function: Callable[..., T], *args: object) -> T: ...

    @abstractmethod
    def close(self) -> None:
        """Ends the threads once what is under way is done; does not wait for it."""


class OwnThreads(DatabaseThreads):
    """Two threads that belong to one node."""

    def __init__(self, system: System, new_context: Callable[[], Context] = Context) -> None:
        self._system = system
        self._reader = DatabaseThread(system, "broadcast-reader", new_context())
        self._writer = DatabaseThread(system, "broadcast-writer", new_context())

    async def read(self, function: Callable[..., T], *args: object) -> T:
        return await self._reader.run(function, *args)

    async def write(self, function: Callable[..., T], *args: object) -> T:
        return await self._writer.run(function, *args)

    def submit_write(self, function: Callable[[], None]) -> None:
        """Has ``function`` run by the writer, or by a thread of its own if the writer is gone."""
        try:
            self._writer.submit(function)
        except RuntimeError:
            late = partial(run_and_disconnect, self._writer.call, function)
            self._system.start_thread(late, "broadcast-late-writer", False)

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


class CallersThread(DatabaseThreads):
    """The thread that waits for this loop in ``async_to_sync``: its connection, its transaction.

    A ``TestCase`` keeps its data there, and a test without database access refuses it there.
    """

    async def read(self, function: Callable[..., T], *args: object) -> T:
        return await sync_to_async(function, thread_sensitive=True)(*args)

    async def write(self, function: Callable[..., T], *args: object) -> T:
        return await self.read(function, *args)

    def close(self) -> None:
        pass


async def threads_for_loop(system: System, new_context: Callable[[], Context] = Context) -> DatabaseThreads:
    """The threads that suit the running loop: its own, or those of whoever waits for it."""
    if threading.current_thread() is threading.main_thread():
        return OwnThreads(system, new_context)
    sensitive = await sync_to_async(threading.current_thread, thread_sensitive=True)()
    return CallersThread() if sensitive is threading.main_thread() else OwnThreads(system, new_context)


class NodeDatabase:
    """The database as one node uses it. Its threads are made when first needed; failures are noted in ``health``."""

    def __init__(self, system: System, health: Health, new_context: Callable[[], Context] = Context) -> None:
        self._system = system
        self._new_context = new_context
        self._health = health
        self._threads: DatabaseThreads | None = None

    async def threads(self) -> DatabaseThreads:
        if self._threads is None:
            threads = await threads_for_loop(self._system, self._new_context)
            self._threads = self._threads or threads
        return self._threads

    async def read(self, function: Callable[..., T], *args: object) -> T:
        """Runs ``function`` in the reader. Raises what it raises."""
        return await self._noted((await self.threads()).read(function, *args))

    async def write(self, function: Callable[..., T], *args: object) -> T:
        """Runs ``function`` in the writer. Raises what it raises."""
        return await self._noted((await self.threads()).write(function, *args))

    def close(self) -> None:
        """Ends the threads; new ones are made when they are needed again."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.close()

    async def _noted(self, work: Awaitable[T]) -> T:
        try:
            result = await work
        except NoLog as error:
            self._health.no_log.fail(error)
            raise
        except (LockTimeout, EpochEnded):
            raise  # the log is well: somebody holds one group of it, or one began anew
        except LogUnavailable as error:
            self._health.log.fail(error)
            raise
        self._health.no_log.recover()
        self._health.log.recover()
        return result


def run_and_disconnect(run: Callable[[Callable[[], None]], None], function: Callable[[], None]) -> None:
    try:
        run(function)
    finally:
        connections.close_all()
