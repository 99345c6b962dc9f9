"""How the log uses the database: transactions of its own, retries, and what an error means."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connections,
    router,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import Atomic, TransactionManagementError

from ...exceptions import InvalidMessage, LogUnavailable, NoLog, OutcomeUnknown
from ...models import Message

T = TypeVar("T")

TRIES = 6
CONFLICT_TRIES = 3  # of what a constraint refuses: another sender's ref is found by the next try
RETRY_FOR = 5.0  # seconds
RETRYABLE_SQLSTATES = {"40001", "40P01"}  # serialization_failure, deadlock_detected
SQLITE_BUSY, SQLITE_LOCKED = 5, 6


def alias() -> str:
    """The database that the log lives in. It is read there too: a replica may lag behind."""
    return router.db_for_write(Message)


@contextmanager
def log_access() -> Iterator[BaseDatabaseWrapper]:
    """The log's connection. Raises NoLog where there is no log, LogUnavailable where it fails.

    What the database refuses for its content, such as a user who is gone, is an InvalidMessage. What
    breaks the caller's own transaction, be it the caller or a conflict with another one, is told as
    Django tells it: the caller may know to try it again.
    """
    connection = connections[alias()]
    try:
        # A test without database access refuses right here, each framework in its own way.
        connection.cursor().close()
    except (ImproperlyConfigured, RuntimeError, AssertionError) as error:
        raise NoLog(f"the database may not be used ({error})") from error
    except (DatabaseError, InterfaceError):
        reconnect(connection)
    try:
        yield connection
    except TransactionManagementError:
        raise
    except (IntegrityError, DataError) as error:
        raise InvalidMessage(f"The database does not accept the message: {error}") from error
    except (DatabaseError, InterfaceError) as error:
        if connection.in_atomic_block and is_conflict(error):
            raise
        if isinstance(error, DatabaseError) and lacks_tables(connection):
            raise NoLog("its tables do not exist; run: python manage.py migrate") from error
        raise LogUnavailable(f"The message log cannot be used right now: {error}") from error


def reading(work: Callable[[], T]) -> T:
    """Runs a read, once more after a conflict, or on a new connection if the old one turns out to be dead."""
    with log_access() as connection:
        try:
            return work()
        except (DatabaseError, InterfaceError) as error:
            broken = is_broken(connection, error)
            if connection.in_atomic_block or tries(error, broken) == 1:
                raise
            if broken:
                connection.close()
            return work()


def reconnect(connection: BaseDatabaseWrapper) -> None:
    """Drops a dead connection and opens a new one, unless a transaction is lost with it."""
    if connection.in_atomic_block:
        return
    connection.close()
    try:
        connection.ensure_connection()
    except (DatabaseError, InterfaceError) as error:
        raise LogUnavailable(f"The message log cannot be reached: {error}") from error


def lacks_tables(connection: BaseDatabaseWrapper) -> bool:
    try:
        with connection.cursor() as cursor:
            return Message._meta.db_table not in connection.introspection.table_names(cursor)
    except (DatabaseError, InterfaceError):
        return False


def in_callers_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether what is written now becomes visible only by the caller's commit.

    The wrapper that a ``TestCase`` puts around a test does not count, so tests see messages at once.
    """
    if not connection.in_atomic_block:
        return not connection.get_autocommit()
    try:
        with transaction.atomic(using=connection.alias, durable=True):
            return False
    except RuntimeError:
        return True


def savepoint() -> Atomic:
    """Undoes what fails inside it, so that the transaction around it stays sound.

    With autocommit off, the first savepoint on SQLite would be the transaction, and its end the commit.
    """
    connection = connections[alias()]
    usable = connection.vendor != "sqlite" or connection.connection.in_transaction
    return transaction.atomic(using=connection.alias, savepoint=usable)


def in_own_transaction(work: Callable[[bool], T]) -> T:
    """Runs ``work(again)`` in a short transaction, again on conflicts and lost connections.

    ``again`` is true when an earlier try may have been committed: ``work`` must then look for what
    it wrote. Raises LogUnavailable, or OutcomeUnknown when nobody can say what became of a COMMIT.
    """
    connection = connections[alias()]
    deadline = time.monotonic() + RETRY_FOR
    uncertain = False
    attempt = 0
    while True:
        attempt += 1
        committing = False
        used: Any = None
        try:
            with transaction.atomic(using=connection.alias):
                used = connection.connection
                read_committed(connection)
                result = work(attempt > 1)
                committing = True
            return result
        except (DatabaseError, InterfaceError) as error:
            # Django has put a new, healthy connection in the place of one that was lost in a transaction.
            replaced = used is not None and connection.connection is not used
            broken = replaced or is_broken(connection, error)
            uncertain = uncertain or (committing and broken)
            if time.monotonic() > deadline or attempt >= tries(error, broken):
                if uncertain:
                    raise OutcomeUnknown(
                        "The database went away during COMMIT: the message may or may not have "
                        "been sent. Send it again with the same ref to be sure."
                    ) from error
                raise
            if broken:
                connection.close()
            time.sleep(random.uniform(0, 0.01 * 2**attempt))


def read_committed(connection: BaseDatabaseWrapper) -> None:
    """Lets this transaction see what others committed meanwhile, whatever the site configured."""
    if connection.vendor == "postgresql" and len(connection.savepoint_ids) == 0:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")


def is_broken(connection: BaseDatabaseWrapper, error: Exception) -> bool:
    """Whether the connection is gone, rather than a statement refused."""
    if isinstance(error, InterfaceError):
        return True
    return isinstance(error, OperationalError) and not (connection.vendor == "sqlite" or connection.is_usable())


def tries(error: Exception, broken: bool) -> int:
    """How often the same work is worth trying: after a lost connection, a conflict, a busy database."""
    if isinstance(error, IntegrityError):
        return CONFLICT_TRIES
    busy = getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF in (SQLITE_BUSY, SQLITE_LOCKED)
    return TRIES if broken or is_conflict(error) or busy else 1


def is_conflict(error: Exception) -> bool:
    """Whether the database ended this transaction in favour of another one."""
    return getattr(error.__cause__, "sqlstate", None) in RETRYABLE_SQLSTATES
