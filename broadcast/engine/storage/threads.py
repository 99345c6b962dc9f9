"""The threads in which a hub uses the database: never the one that all thread-sensitive calls share."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

from ...exceptions import LogUnavailable, NoLog
from ..health import log_failing, no_log
from .database import alias

T = TypeVar("T")

MAX_CONNECTION_AGE = 600.0  # seconds


class DatabaseThreads:
    """A reader and a writer, each a thread with a database connection of its own."""

    are_callers = False

    def __init__(self) -> None:
        self._reader = ThreadPoolExecutor(1, "broadcast-reader")
        self._writer = ThreadPoolExecutor(1, "broadcast-writer")

    async def read(self, function: Callable[..., T], *args: Any) -> T:
        return await self._run(self._reader, function, *args)

    async def write(self, function: Callable[..., T], *args: Any) -> T:
        return await self._run(self._writer, function, *args)

    def submit_write(self, function: Callable[[], None]) -> None:
        """Has ``function`` run by the writer, or by a thread of its own if the writer is gone."""
        try:
            self._writer.submit(with_fresh_connections, function)
        except RuntimeError:
            threading.Thread(target=run_and_disconnect, args=(function,)).start()

    async def _run(self, executor: ThreadPoolExecutor, function: Callable[..., T], *args: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(executor, with_fresh_connections, function, *args)

    def close(self) -> None:
        """Closes the connections once what is under way is done; does not wait for it."""
        for executor in (self._reader, self._writer):
            with suppress(RuntimeError):  # the process ends, and its threads with it
                executor.submit(connections.close_all)
            executor.shutdown(wait=False)


class CallersThread(DatabaseThreads):
    """The thread that waits for this loop in ``async_to_sync``: its connection, its transaction.

    A ``TestCase`` keeps its data there, and a test without database access refuses it there.
    """

    are_callers = True

    def __init__(self) -> None:
        pass

    async def read(self, function: Callable[..., T], *args: Any) -> T:
        return await sync_to_async(function, thread_sensitive=True)(*args)

    async def write(self, function: Callable[..., T], *args: Any) -> T:
        return await self.read(function, *args)

    def close(self) -> None:
        pass


async def database_threads() -> DatabaseThreads:
    """What the running loop's hub should use."""
    if threading.current_thread() is threading.main_thread():
        return DatabaseThreads()
    sensitive = await sync_to_async(threading.current_thread, thread_sensitive=True)()
    if sensitive is threading.main_thread():
        return CallersThread()
    return DatabaseThreads()


class HubDatabase:
    """The database as one hub uses it: its threads, made when first needed, and whether the log is away."""

    def __init__(self) -> None:
        self._threads: DatabaseThreads | None = None

    async def threads(self) -> DatabaseThreads:
        if self._threads is None:
            threads = await database_threads()
            self._threads = self._threads or threads
        return self._threads

    async def read(self, function: Callable[..., T], *args: object) -> T:
        return await guarded((await self.threads()).read(function, *args))

    async def write(self, function: Callable[..., T], *args: object) -> T:
        return await guarded((await self.threads()).write(function, *args))

    def close(self) -> None:
        if self._threads is not None:
            self._threads.close()


async def guarded(work: Awaitable[T]) -> T:
    """Notes when the log is away, and when it is back."""
    try:
        result = await work
    except NoLog as error:
        no_log.fail(error)
        raise
    except LogUnavailable as error:
        log_failing.fail(error)
        raise
    no_log.recover()
    log_failing.recover()
    return result


local = threading.local()


def with_fresh_connections(function: Callable[..., T], *args: Any) -> T:
    """Runs ``function``; afterwards drops connections that failed or have grown old.

    Here every transaction is the engine's own, so autocommit is on even where the site turned it off.
    """
    database = connections[alias()]
    if not database.settings_dict["AUTOCOMMIT"]:
        database.settings_dict = {**database.settings_dict, "AUTOCOMMIT": True}
    try:
        return function(*args)
    finally:
        now = time.monotonic()
        opened = local.__dict__.setdefault("opened", now)
        too_old = now - opened > MAX_CONNECTION_AGE
        if too_old:
            local.opened = now
        for connection in connections.all(initialized_only=True):
            if too_old or connection.errors_occurred:
                connection.close()


def run_and_disconnect(function: Callable[[], None]) -> None:
    try:
        function()
    finally:
        connections.close_all()
