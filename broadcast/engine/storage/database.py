"""The log's use of the database: transactions of its own, locks, retries, and the meaning of errors."""

from __future__ import annotations

import sys
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
from django.db.models import QuerySet
from django.db.transaction import TransactionManagementError

from ...exceptions import InvalidMessage, LockTimeout, LogUnavailable, NoLog, OutcomeUnknown
from ...models import Group, Message
from ..system import System
from .interruptions import interruption_behind
from .records import NOTHING, Head
from .statements import Statement, group_and_fields, next_change, write_and_look

T = TypeVar("T")

TRIES = 6
CONFLICT_TRIES = 3  # of what a constraint refuses: another sender's ref is found by the next try
RETRY_SECONDS = 5.0
PATIENCE = 5.0  # seconds that a sender waits for a lock
HOLDING_MS = 50  # milliseconds that whoever holds a group's row waits for another lock
IMPATIENCE = 0.01  # seconds that whatever serves readers waits for one
RETRYABLE_SQLSTATES = {"40001", "40P01"}  # serialization_failure, deadlock_detected
LOCK_NOT_AVAILABLE = "55P03"
SQLITE_BUSY, SQLITE_LOCKED = 5, 6


class TablesMissing(NoLog):
    """There are no tables; whoever has seen them knows that they are gone."""


class EpochEnded(LogUnavailable):
    """The log began anew after its head had been read; whoever looks again goes on in the new epoch."""


class RefLocked(Exception):
    """A transaction that is still open holds a ref: what waits for it must not hold the group's row."""


def alias() -> str:
    """The database that the log lives in. It is read there too: a replica may lag behind."""
    return router.db_for_write(Message)


def messages() -> QuerySet[Message]:
    return Message.objects.using(alias())


def groups() -> QuerySet[Group]:
    return Group.objects.using(alias())


def open_log() -> BaseDatabaseWrapper:
    """The log's connection, alive. Raises NoLog where the database may not be used, LogUnavailable where it is away."""
    connection = connections[router.db_for_write(Message)]
    try:
        # A test without database access refuses right here, each framework in its own way.
        connection.cursor().close()
    except (ImproperlyConfigured, RuntimeError, AssertionError) as error:
        raise NoLog(f"the database may not be used ({error})") from error
    except (DatabaseError, InterfaceError):
        reconnect(connection)
    return connection


@contextmanager
def log_errors(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Raises what the database raises as the log's errors: NoLog without its tables, LogUnavailable where it fails.

    What the database refuses for its content, such as a user who is gone, is an InvalidMessage. Errors that
    abort the caller's own transaction are raised unchanged, so that the caller can try it again.
    """
    try:
        yield
    except TransactionManagementError:
        raise
    except (IntegrityError, DataError) as error:
        # In its own words: a stranger may read this.
        raise InvalidMessage("The database does not accept the message.") from error
    except (DatabaseError, InterfaceError) as error:
        if connection.in_atomic_block and is_conflict(error):
            raise
        if is_lock_timeout(error):
            raise LockTimeout("The message log is locked by somebody else. Nothing was sent; try again.") from error
        if isinstance(error, DatabaseError) and lacks_tables(connection):
            raise TablesMissing("its tables do not exist; run: python manage.py migrate") from error
        raise LogUnavailable(f"The message log cannot be used right now: {error}") from error


@contextmanager
def log_access() -> Iterator[BaseDatabaseWrapper]:
    """The log's connection, with the log's errors."""
    connection = open_log()
    with log_errors(connection):
        yield connection


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
    """True if what is written now becomes visible only by the caller's commit.

    The wrapper that a ``TestCase`` puts around a test does not count, so tests see messages at once.
    """
    if not connection.in_atomic_block:
        return not connection.get_autocommit()
    try:
        with transaction.atomic(using=connection.alias, durable=True):
            return False
    except RuntimeError:
        return True


def in_own_transaction(
    connection: BaseDatabaseWrapper, system: System, work: Callable[[bool], T], patience: float = PATIENCE
) -> T:
    """Runs ``work(again)`` in a short transaction, again on conflicts and lost connections.

    ``again`` is true when an earlier try may have been committed: ``work`` must then look for what
    it wrote. ``patience`` is how many seconds all tries together wait for locks (on SQLite the connection's
    own timeout holds). Raises LogUnavailable, or OutcomeUnknown when nobody can say what became of a COMMIT.
    """
    begun = system.monotonic()
    outer = sys.exc_info()[1]
    uncertain = False
    attempt = 0
    while True:
        attempt += 1
        committing = False
        used: Any = None
        try:
            with transaction.atomic(using=connection.alias):
                used = connection.connection
                if connection.vendor == "postgresql":
                    set_up_transaction(connection, max(patience - (system.monotonic() - begun), IMPATIENCE))
                result = work(attempt > 1)
                committing = True
            return result
        except (DatabaseError, InterfaceError) as error:
            if (interruption := interruption_behind(error, outer, connection)) is not None:
                connection.close()
                raise interruption from None
            # Django has put a new, healthy connection in the place of one that was lost in a transaction.
            replaced = used is not None and connection.connection is not used
            broken = replaced or is_broken(connection, error)
            uncertain = uncertain or (committing and broken)
            waited = system.monotonic() - begun
            is_over = waited > patience if is_lock_timeout(error) else attempt >= tries(error, broken)
            if is_over or waited > RETRY_SECONDS:
                if uncertain:
                    raise OutcomeUnknown(
                        "The database went away during COMMIT: the message may or may not have "
                        "been sent. Send it again with the same ref to be sure."
                    ) from error
                raise
            if broken:
                connection.close()
            if not isinstance(error, IntegrityError):  # for what it met is there already
                system.sleep(system.uniform(0, 0.01 * 2**attempt))


def set_up_transaction(connection: BaseDatabaseWrapper, patience: float) -> None:
    """Lets this transaction see what others committed meanwhile, and wait for a lock for so many seconds at most."""
    if len(connection.savepoint_ids) == 0:
        isolation, timeout = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED", set_lock_timeout(patience)
        can_be_prepared = connection.settings_dict["OPTIONS"].get("prepare_threshold") is not None
        with connection.cursor() as cursor:
            # Both at once, unless they might become a prepared statement, which is one.
            for statement in [isolation, timeout] if can_be_prepared else [f"{isolation}; {timeout}"]:
                cursor.execute(statement)


def set_lock_timeout(seconds: float) -> str:
    return f"SET LOCAL lock_timeout = {round(seconds * 1000)}"


@contextmanager
def patience_for_locks(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Waits for locks for ``PATIENCE`` at most inside a transaction of the caller, whose own time-out comes back.

    An error inside has to undo a savepoint around it, which brings the caller's time-out back too.
    """
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        (before,) = cursor.fetchone()
        cursor.execute(set_lock_timeout(PATIENCE))
        yield
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [before])


def lock(connection: BaseDatabaseWrapper, name: str, count: int, new_epoch: Callable[[], str] | None = None) -> Head:
    """Reserves ``count`` offsets and holds the group's row until the end of the transaction.

    A group that is not in the log comes into being with a ``new_epoch``; without that it stays void and is not held.

    A write comes first: SQLite refuses at once a transaction that read before it wrote, and
    PostgreSQL locks the row without waiting for foreign keys. From then on nothing waits for anybody else for long.
    """
    group, fields = group_and_fields(connection)
    change = f"head = head + %s, changed = {next_change(connection)}"
    reserve = f"UPDATE {group} SET {change} WHERE name = %s"  # noqa: S608 (its own names)
    is_timed = connection.vendor == "postgresql" and not connection.savepoint_ids
    hurry = f", set_config('lock_timeout', '{HOLDING_MS}', true)" if is_timed else ""
    look = f"SELECT {fields}{hurry} FROM {group} WHERE name = %s"  # noqa: S608
    statements: tuple[Statement, Statement] = (reserve, [count, name]), (look, [name])
    with connection.cursor() as cursor:
        found = write_and_look(connection, cursor, *statements)
        if found is None:
            if new_epoch is None:
                return NOTHING
            Group.objects.using(connection.alias).get_or_create(name=name, defaults={"epoch": new_epoch()})
            found = write_and_look(connection, cursor, *statements)
    epoch, head, begins, floor, has_waiting = found[:5]
    return Head(epoch, head, begins, floor, bool(has_waiting))


def is_broken(connection: BaseDatabaseWrapper, error: Exception) -> bool:
    """True if the connection is gone, rather than a statement refused."""
    if isinstance(error, InterfaceError):
        return True
    return isinstance(error, OperationalError) and not (connection.vendor == "sqlite" or connection.is_usable())


def tries(error: Exception, broken: bool) -> int:
    """The number of tries that the same work is worth: after a lost connection, a conflict, a busy database."""
    if isinstance(error, IntegrityError):
        return CONFLICT_TRIES
    busy = getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF in (SQLITE_BUSY, SQLITE_LOCKED)
    return TRIES if broken or is_conflict(error) or busy else 1


def is_lock_timeout(error: Exception) -> bool:
    """True if the database gave up waiting for somebody else's lock."""
    return getattr(error.__cause__, "sqlstate", None) == LOCK_NOT_AVAILABLE


def is_conflict(error: Exception) -> bool:
    """True if the database ended this transaction in favour of another one."""
    return getattr(error.__cause__, "sqlstate", None) in RETRYABLE_SQLSTATES
