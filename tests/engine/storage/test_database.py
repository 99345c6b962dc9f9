"""Use of the database by the log: what an error means, what is tried again, and whose transaction it is."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from unittest.mock import patch

import pytest
from django.db import connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.dummy.base import DatabaseWrapper as NoDatabase
from django.db.utils import DataError, IntegrityError, InterfaceError, OperationalError, ProgrammingError
from django.test import TestCase

from broadcast import send
from broadcast.engine.process import Process, this_process
from broadcast.engine.storage import database
from broadcast.engine.storage.database import in_callers_transaction, in_own_transaction, log_access, reading
from broadcast.engine.storage.rows import savepoint
from broadcast.engine.system import System
from broadcast.exceptions import InvalidMessage, LogUnavailable, NoLog, OutcomeUnknown
from broadcast.models import Group, Message
from tests.kit.log import NO_NAPS, autocommit_off, failing, failing_if, stored, wrapper_of
from tests.kit.processes import elsewhere, together
from tests.kit.streams import draft, drafts

pytestmark = pytest.mark.django_db(transaction=True)

only_sqlite = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="About SQLite")
only_postgresql = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="About PostgreSQL")


def caused(error: Exception, **attributes: object) -> Exception:
    """A database error as Django raises it, with the driver's own behind it."""
    error.__cause__ = type("DriverError", (Exception,), attributes)()
    return error


def lose_connection() -> None:
    """Ends the connection and fails as what is tried with it then does."""
    if connection.vendor == "postgresql":
        connection.connection.close()
        raise OperationalError("the connection is closed")
    raise InterfaceError("connection already closed")  # SQLite has none to lose


def busy() -> Exception:
    return caused(OperationalError("database is locked"), sqlite_errorcode=261)  # SQLITE_BUSY_RECOVERY


def deadlock() -> Exception:
    return caused(OperationalError("deadlock detected"), sqlstate="40P01")


def gone() -> Exception:
    return InterfaceError("connection already closed")


def heads() -> list[str]:
    return list(this_process.log.heads(["a"]))


def make_group(name: str = "a") -> None:
    Group.objects.create(name=name, epoch="e")


def work_once(system: System = NO_NAPS) -> list[bool]:
    """Runs a write in a transaction of its own; what each try was told."""
    tries: list[bool] = []

    def work(again: bool) -> list[bool]:
        tries.append(again)
        make_group("made")
        return tries

    return in_own_transaction(connection, system, work)


UNAVAILABLE = "The message log cannot be used right now: x"
NOT_ACCEPTED = "The database does not accept the message."


@pytest.mark.parametrize(
    ("kinds", "becomes", "text"),
    [
        ([OperationalError, ProgrammingError, InterfaceError], LogUnavailable, UNAVAILABLE),
        ([IntegrityError, DataError], InvalidMessage, NOT_ACCEPTED),
        ([ValueError, RuntimeError, transaction.TransactionManagementError], None, "x"),
    ],
)
def test_an_error_in_the_log_tells_what_it_means(kinds, becomes, text):
    for kind in kinds:
        with pytest.raises(becomes or kind) as raised, log_access():
            raise kind("x")
        assert (type(raised.value), str(raised.value)) == (becomes or kind, text)


def test_without_tables_there_is_no_log():
    with connection.schema_editor() as editor:
        editor.delete_model(Message)
    try:
        with pytest.raises(NoLog, match=r"run: python manage\.py migrate"):
            this_process.log.read("news", 0, 1, "")
        with transaction.atomic():
            with pytest.raises(NoLog):
                this_process.log.insert_waiting([draft(has_client_ref=True)])
            make_group("sound")
    finally:
        with connection.schema_editor() as editor:
            editor.create_model(Message)
    assert Group.objects.filter(name="sound").exists()


def test_tables_that_were_there_and_are_gone_are_a_log_that_is_away():
    """As while a backup is restored. A database that may not be used is no log as ever, whatever was before."""
    send("before")
    with connection.schema_editor() as editor:
        editor.delete_model(Message)
    try:
        for use in (lambda: send("during"), heads, lambda: this_process.pruning.step("broadcast")):
            with pytest.raises(LogUnavailable) as raised:
                use()
            assert not isinstance(raised.value, NoLog)
        with other_database(NoDatabase(connection.settings_dict)):
            assert send("live").offset is None
    finally:
        with connection.schema_editor() as editor:
            editor.create_model(Message)
    send("after")
    assert [body for _, body in stored()] == ["after"]


def test_where_not_even_that_can_be_found_out_it_is_unavailable():
    with failing(*[OperationalError("no disk")] * 2), pytest.raises(LogUnavailable) as raised:
        heads()
    assert type(raised.value) is LogUnavailable


def test_a_site_without_any_database_sends_live_only():
    with other_database(NoDatabase(connection.settings_dict)):
        assert send("hi").offset is None


@contextmanager
def other_database(other: BaseDatabaseWrapper) -> Iterator[None]:
    own = connections["default"]
    connections["default"] = other
    try:
        yield
    finally:
        connections["default"] = own
        other.close()


def configured(**settings: object) -> BaseDatabaseWrapper:
    """A connection to the tests' database, or one that differs from it by these settings."""
    other = connections.create_connection("default")
    other.settings_dict = {**other.settings_dict, **settings}
    return other


@pytest.mark.parametrize(("refusals", "is_reached"), [(1, True), (2, False)])
def test_a_new_connection_is_tried_twice(refusals, is_reached, monkeypatch):
    left = [OperationalError(f"starting up {number}") for number in range(refusals)]
    connect = connection.connect
    connection.close()
    monkeypatch.setattr(connection, "connect", lambda: lose(left.pop(0)) if left else connect())
    if is_reached:
        assert heads() == ["a"]
    else:
        with pytest.raises(LogUnavailable, match="cannot be reached: starting up 1"):
            heads()


def lose(error: Exception) -> None:
    raise error


def test_within_a_transaction_there_is_no_second_connection(monkeypatch):
    with transaction.atomic():
        own = connection.connection
        with monkeypatch.context() as patch:
            patch.setattr(connection, "cursor", lambda: lose(gone()))
            with pytest.raises(LogUnavailable, match="connection already closed"):
                this_process.log.insert_waiting(drafts("hi"))
        assert connection.connection is own


@pytest.mark.parametrize("refused", [deadlock, busy, gone])
def test_a_read_is_tried_once_more_after_a_conflict_and_on_another_connection_after_its_loss(refused):
    make_group()
    before = connection.connection
    with failing(refused()):
        assert heads() == ["a"]
    assert (connection.connection is before) is (refused is not gone)
    with failing(refused(), refused()), pytest.raises(LogUnavailable):
        heads()


def test_a_read_is_not_repeated_where_that_helps_nobody():
    with failing(ProgrammingError("what?")), pytest.raises(LogUnavailable, match="what"):
        heads()
    with transaction.atomic(), failing(gone()), pytest.raises(LogUnavailable):
        reading(lambda: list(Group.objects.all()))  # the transaction was lost with the connection


def test_a_transaction_of_the_callers():
    assert in_callers_transaction(connection) is False
    for durable in (False, True):
        with transaction.atomic(durable=durable):
            assert in_callers_transaction(connection) is True
            with transaction.atomic():
                assert in_callers_transaction(connection) is True
    with autocommit_off():
        assert in_callers_transaction(connection) is True
        with transaction.atomic():
            assert in_callers_transaction(connection) is True


class TestWithinATestCase(TestCase):
    def test_the_tests_own_does_not_count(self):
        assert in_callers_transaction(connection) is False
        with transaction.atomic():
            assert in_callers_transaction(connection) is True
        assert in_callers_transaction(connection) is False

    def test_work_is_done_within_it(self):
        work_once()
        assert elsewhere(Group.objects.count) == 0


@pytest.mark.log_contract
def test_what_fails_inside_a_savepoint_is_undone_and_nothing_else():
    with transaction.atomic():
        make_group("a")
        with pytest.raises(IntegrityError), savepoint(connection):
            make_group("a")
        make_group("b")
    assert list(Group.objects.values_list("name", flat=True)) == ["a", "b"]


@pytest.mark.log_contract
def test_with_autocommit_off_a_savepoint_commits_nothing():
    with autocommit_off():
        for name in "ab":
            with savepoint(connection):
                make_group(name)
        assert elsewhere(Group.objects.count) == 0
        transaction.rollback()
    assert not Group.objects.exists()


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (busy, database.TRIES),
        (deadlock, database.TRIES),
        (lambda: IntegrityError("taken"), database.CONFLICT_TRIES),
        (lambda: ProgrammingError("what?"), 1),
        (gone, database.TRIES),
    ],
)
def test_a_write_is_tried_so_often(error, tries):
    with failing(*[error() for _ in range(tries)]), pytest.raises(type(error())):
        work_once()
    assert not Group.objects.exists()
    before = connection.connection
    with failing(*[error() for _ in range(tries - 1)]):
        assert work_once() == [False] + [True] * (tries - 1)
    assert Group.objects.get().name == "made"
    assert (connection.connection is before) is (error is not gone)


def test_a_write_is_not_tried_for_long():
    slow = System(monotonic=count(0, 6).__next__)  # seconds
    with failing(busy()), pytest.raises(OperationalError):
        work_once(slow)


@contextmanager
def losing_commits(comes_through: bool, times: int = 1) -> Iterator[None]:
    """Loses the connection at the next ``times`` commits, after or before they came through."""
    commit, left = connection._commit, [None] * times

    def lose() -> None:
        if comes_through or not left:
            commit()
        if left:
            left.pop()
            lose_connection()

    connection._commit = lose
    try:
        with Process(NO_NAPS).active():
            yield
    finally:
        connection._commit = commit


@pytest.mark.log_contract
@pytest.mark.parametrize("comes_through", [True, False])
def test_a_message_is_sent_once_whatever_became_of_a_lost_commit(comes_through):
    with losing_commits(comes_through):
        assert send("hi").offset == 1
    assert stored() == [(1, "hi")]
    assert Group.objects.get(name="broadcast").head == 1


@pytest.mark.log_contract
def test_where_nobody_can_say_what_became_of_a_commit_the_error_says_so():
    with (
        losing_commits(comes_through=True, times=database.TRIES),
        pytest.raises(OutcomeUnknown, match="with the same ref"),
    ):
        send("hi")
    assert Message.objects.count() == 1


@pytest.mark.log_contract
def test_so_it_does_where_the_database_then_has_some_other_trouble():
    refuse = wrapper_of(lambda sql: ProgrammingError("some other trouble"))
    commit = connection._commit

    def lose() -> None:
        connection._commit = commit
        connection.execute_wrappers.append(refuse)
        lose_connection()

    connection._commit = lose
    with pytest.raises(OutcomeUnknown):
        send("hi")
    connection.execute_wrappers.remove(refuse)


@contextmanager
def locked() -> Iterator[sqlite3.Connection]:
    """Somebody else writes into the file."""
    holder = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    yield holder
    holder.close()


@only_sqlite
def test_a_lock_is_waited_for():
    """The first try to write meets the lock, which is released only then."""
    met = threading.Event()

    def release() -> None:
        met.wait(30)
        holder.execute("ROLLBACK")

    send("first")
    with locked() as holder, failing_if(lambda sql: met.set() if sql.startswith("UPDATE") else None):
        releasing = threading.Thread(target=release)
        releasing.start()
        assert send("second").offset == 2
        releasing.join()


@only_sqlite
def test_a_lock_that_is_held_too_long_is_unavailability():
    send("first")
    impatient = configured(OPTIONS={**connection.settings_dict["OPTIONS"], "timeout": 0.001})
    is_refused = pytest.raises(LogUnavailable, match="database is locked")
    with locked(), other_database(impatient), Process(NO_NAPS).active(), is_refused:
        send("refused")
    assert send("second").offset == 2
    assert stored() == [(1, "first"), (2, "second")]


@only_sqlite
def test_a_file_that_is_no_database_is_unavailability(tmp_path, monkeypatch):
    connect, opened = sqlite3.connect, []
    monkeypatch.setattr(sqlite3.dbapi2, "connect", lambda **options: opened.append(connect(**options)) or opened[-1])
    (tmp_path / "db.sqlite3").write_text("This is not a database, but long enough to be taken for one. " * 20)
    no_database = configured(NAME=str(tmp_path / "db.sqlite3"))
    with other_database(no_database), pytest.raises(LogUnavailable, match="file is not a database"):
        send("hi")
    for left_open in opened:  # by Django, which could not set it up
        left_open.close()


def kill_connection() -> None:
    """Ends the session of this test's own connection, as a failover does."""
    pid = connection.connection.info.backend_pid

    def kill() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])

    elsewhere(kill)


@pytest.mark.log_contract
@only_postgresql
class TestPostgreSQL:
    def test_a_dead_session_is_replaced(self):
        send("first")
        kill_connection()
        assert send("second").offset == 2
        epoch = this_process.log.head("broadcast").epoch
        kill_connection()
        read = this_process.log.read("broadcast", 0, 9, epoch)
        assert [message.body for message in read] == ["first", "second"]

    def test_a_session_that_dies_in_the_callers_transaction_takes_it_along(self):
        def work() -> None:
            with transaction.atomic():
                send("first")
                kill_connection()
                send("second")

        with pytest.raises(LogUnavailable):
            work()
        connection.close()
        assert send("third").offset == 1

    def test_a_session_that_dies_during_commit(self):
        """A deferred trigger of the table ends the session that commits, once."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                CREATE SEQUENCE lost_commits;
                CREATE FUNCTION lose_commit() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    IF nextval('lost_commits') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
                    RETURN NULL;
                END $$;
                CREATE CONSTRAINT TRIGGER lose_commit AFTER INSERT ON broadcast_message
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lose_commit();
                """
            )
        try:
            assert send("hi").offset == 1
        finally:
            with connection.cursor() as cursor:
                cursor.execute("DROP FUNCTION lose_commit CASCADE")
                cursor.execute("DROP SEQUENCE lost_commits")
        assert stored() == [(1, "hi")]

    @pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
    def test_a_site_that_isolates_more_strictly(self, level):
        """Our own transactions see what others committed meanwhile all the same."""

        def some() -> list[int | None]:
            with connection.cursor() as cursor:
                cursor.execute(f"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {level}")
            return [send("hi").offset for _ in range(10)]

        results = together(*[some] * 4)
        assert sorted(offset for offsets in results for offset in offsets) == list(range(1, 41))


class TimeLimit(BaseException):
    """What a task queue raises in a thread that takes too long."""


class SoftTimeLimit(Exception):
    """The same of other task queues."""


@only_postgresql
@pytest.mark.parametrize("limit", [TimeLimit, SoftTimeLimit])
def test_who_is_interrupted_in_its_commit_is_told_so_and_leaves_a_connection_that_works(
    limit: type[BaseException],
) -> None:
    def interrupted() -> None:
        connection.connection.pgconn.send_query(b"COMMIT")
        raise limit

    connection.ensure_connection()
    with patch.object(connections["default"], "_commit", interrupted), pytest.raises(limit):
        send("one")
    assert send("two").offset in (1, 2)  # nobody knows about the first
