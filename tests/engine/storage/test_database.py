"""How the log uses the database: what an error means, what is tried again, and whose transaction it is."""

import sqlite3
import threading
from contextlib import contextmanager

import pytest
from django.db import (
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    connection,
    connections,
    transaction,
)
from django.test import TestCase

from broadcast import send
from broadcast.engine.storage import database, log
from broadcast.engine.storage.database import (
    CONFLICT_TRIES,
    TRIES,
    in_callers_transaction,
    in_own_transaction,
    log_access,
    reading,
    savepoint,
)
from broadcast.engine.storage.log import Draft
from broadcast.exceptions import InvalidMessage, LogUnavailable, NoLog, OutcomeUnknown
from broadcast.models import Group, Message
from tests.kit.processes import elsewhere, ended, python, together

pytestmark = pytest.mark.django_db(transaction=True)

only_sqlite = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="About SQLite")
only_postgresql = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="About PostgreSQL")


@contextmanager
def failing(*errors: Exception):
    """The next statements fail, each with its error; those after them do not."""
    left = list(errors)

    def fail(execute, sql, params, many, context):
        if left and not sql.startswith(("BEGIN", "SET TRANSACTION")):
            raise left.pop(0)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail):
        yield


def caused(error: Exception, **attributes) -> Exception:
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


def work_once() -> list[bool]:
    """Runs a write in a transaction of its own; what each try was told."""
    tries: list[bool] = []

    def work(again: bool) -> list[bool]:
        tries.append(again)
        Group.objects.create(name="made", epoch="e")
        return tries

    return in_own_transaction(work)


class TestAccess:
    def test_it_hands_out_the_logs_connection(self):
        with log_access() as own:
            assert own is connections["default"]

    @pytest.mark.parametrize("error", [OperationalError("no disk"), ProgrammingError("what?"), InterfaceError("gone")])
    def test_a_failure_is_unavailability(self, error):
        with pytest.raises(LogUnavailable, match=str(error)), log_access():
            raise error

    @pytest.mark.parametrize("error", [IntegrityError("FOREIGN KEY"), DataError("too long")])
    def test_what_the_database_refuses_is_the_messages_fault(self, error):
        with pytest.raises(InvalidMessage, match=f"The database does not accept the message: {error}"), log_access():
            raise error

    @pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("x"), transaction.TransactionManagementError("x")])
    def test_other_errors_are_what_they_are(self, error):
        with pytest.raises(type(error)), log_access():
            raise error

    def test_without_tables_there_is_no_log(self):
        with connection.schema_editor() as editor:
            editor.delete_model(Message)
        try:
            with pytest.raises(NoLog, match=r"run: python manage\.py migrate"):
                log.read("news", 0, 1)
            with transaction.atomic():
                with pytest.raises(NoLog):
                    log.insert_waiting([Draft("news", "server", "Server", "hi", has_client_ref=True)])
                Group.objects.create(name="sound", epoch="e")
        finally:
            with connection.schema_editor() as editor:
                editor.create_model(Message)
        assert Group.objects.filter(name="sound").exists()

    def test_where_not_even_that_can_be_found_out(self):
        error = OperationalError("no disk")
        with failing(error, error), pytest.raises(LogUnavailable):
            log.read("news", 0, 1)

    def test_a_site_without_any_database(self):
        process = python(
            """
            from django.db import connections
            connections["default"].close()
            connections.settings = connections.configure_settings({})
            del connections["default"]
            assert send("hi").offset is None
            """
        )
        ended(process)


class TestConnecting:
    @pytest.fixture
    def unreachable(self, monkeypatch):
        """The database is away, and a new connection to it is refused as long as `errors` has some."""
        errors: list[Exception] = []
        connect = connection.connect

        def refuse():
            if errors:
                raise errors.pop()
            connect()

        connection.close()
        monkeypatch.setattr(connection, "connect", refuse)
        yield errors
        errors.clear()

    def test_a_first_failure_is_tried_again(self, unreachable):
        unreachable.append(OperationalError("starting up"))
        assert log.read("news", 0, 1) == []

    def test_a_second_is_unavailability(self, unreachable):
        unreachable.extend([OperationalError("starting up"), OperationalError("still starting up")])
        with pytest.raises(LogUnavailable, match="cannot be reached: starting up"):
            log.read("news", 0, 1)

    def test_within_a_transaction_there_is_no_second_connection(self, monkeypatch):
        def refuse():
            raise InterfaceError("connection already closed")

        with transaction.atomic():
            own = connection.connection
            with monkeypatch.context() as patch:
                patch.setattr(connection, "cursor", refuse)
                with pytest.raises(LogUnavailable, match="connection already closed"):
                    log.insert_waiting([Draft("news", "server", "Server", "hi")])
            assert connection.connection is own


class TestReading:
    def test_a_dead_connection_is_replaced(self):
        Group.objects.create(name="a", epoch="e")
        before = connection.connection
        with failing(InterfaceError("connection already closed")):
            assert list(log.heads(["a"])) == ["a"]
        assert connection.connection is not before

    def test_once(self):
        error = InterfaceError("connection already closed")
        with failing(error, error), pytest.raises(LogUnavailable):
            log.heads(["a"])

    @pytest.mark.parametrize("refused", [deadlock, busy])
    def test_a_conflict_is_tried_once_more(self, refused):
        Group.objects.create(name="a", epoch="e")
        with failing(refused()):
            assert list(log.heads(["a"])) == ["a"]
        with failing(refused(), refused()), pytest.raises(LogUnavailable):
            log.heads(["a"])

    def test_a_refused_statement_is_not_repeated(self):
        with failing(ProgrammingError("what?")), pytest.raises(LogUnavailable, match="what"):
            log.heads(["a"])

    def test_a_lost_transaction_is_not_continued(self):
        with transaction.atomic(), failing(InterfaceError("gone")), pytest.raises(LogUnavailable):
            reading(lambda: list(Group.objects.all()))


class TestWhoseTransaction:
    def test_none(self):
        assert in_callers_transaction(connection) is False

    def test_the_callers(self):
        with transaction.atomic():
            assert in_callers_transaction(connection) is True
            with transaction.atomic():
                assert in_callers_transaction(connection) is True
        with transaction.atomic(durable=True):
            assert in_callers_transaction(connection) is True

    def test_with_autocommit_off(self):
        transaction.set_autocommit(False)
        try:
            assert in_callers_transaction(connection) is True
            with transaction.atomic():
                assert in_callers_transaction(connection) is True
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)


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
class TestSavepoints:
    def test_what_fails_inside_is_undone_and_nothing_else(self):
        with transaction.atomic():
            Group.objects.create(name="a", epoch="e")
            with pytest.raises(IntegrityError), savepoint():
                Group.objects.create(name="a", epoch="e")
            Group.objects.create(name="b", epoch="e")
        assert list(Group.objects.values_list("name", flat=True)) == ["a", "b"]

    def test_with_autocommit_off_nothing_is_committed_by_it(self):
        transaction.set_autocommit(False)
        try:
            with savepoint():
                Group.objects.create(name="a", epoch="e")
            with savepoint():
                Group.objects.create(name="b", epoch="e")
            assert elsewhere(Group.objects.count) == 0
            transaction.rollback()
        finally:
            transaction.set_autocommit(True)
        assert not Group.objects.exists()


class TestTryingAgain:
    @pytest.fixture(autouse=True)
    def no_naps(self, monkeypatch):
        monkeypatch.setattr(database.time, "sleep", lambda seconds: None)

    @pytest.mark.parametrize("conflict", [busy, deadlock])
    def test_conflicts(self, conflict):
        with failing(*[conflict() for _ in range(TRIES - 1)]):
            assert len(work_once()) == TRIES
        assert Group.objects.filter(name="made").exists()

    @pytest.mark.parametrize("conflict", [busy, deadlock])
    def test_not_for_ever(self, conflict):
        with failing(*[conflict() for _ in range(TRIES)]), pytest.raises(OperationalError):
            work_once()
        assert not Group.objects.exists()

    def test_not_for_long(self, monkeypatch):
        monkeypatch.setattr(database, "RETRY_FOR", -1)
        with failing(busy()), pytest.raises(OperationalError):
            work_once()

    def test_what_a_constraint_refuses_a_few_times(self):
        with failing(*[IntegrityError("taken") for _ in range(CONFLICT_TRIES - 1)]):
            assert work_once() == [False, True, True]
        with failing(*[IntegrityError("taken") for _ in range(CONFLICT_TRIES)]), pytest.raises(IntegrityError):
            work_once()

    def test_nothing_else(self):
        with failing(ProgrammingError("what?")), pytest.raises(ProgrammingError):
            work_once()

    def test_a_lost_connection(self):
        before = connection.connection
        with failing(InterfaceError("connection already closed")):
            assert work_once() == [False, True]
        assert connection.connection is not before


@pytest.mark.log_contract
class TestALostCommit:
    """The connection ends during COMMIT: whether it came through, only the log can tell."""

    @pytest.fixture(autouse=True)
    def no_naps(self, monkeypatch):
        monkeypatch.setattr(database.time, "sleep", lambda seconds: None)

    @contextmanager
    def losing(self, commits: bool, times: int = 1):
        """Loses the connection at the next `times` commits, after or before they came through."""
        commit, left = connection._commit, [None] * times

        def lose():
            if commits or not left:
                commit()
            if left:
                left.pop()
                lose_connection()

        connection._commit = lose
        try:
            yield
        finally:
            connection._commit = commit

    def test_what_came_through_is_found(self):
        with self.losing(commits=True):
            message = send("hi")
        assert message.offset == 1
        assert list(Message.objects.values_list("offset", "body")) == [(1, "hi")]
        assert Group.objects.get(name="broadcast").head == 1

    def test_what_did_not_is_sent_again(self):
        with self.losing(commits=False):
            assert send("hi").offset == 1
        assert list(Message.objects.values_list("offset", "body")) == [(1, "hi")]

    def test_where_nobody_can_say_the_error_says_so(self):
        with self.losing(commits=True, times=TRIES), pytest.raises(OutcomeUnknown, match="with the same ref"):
            send("hi")
        assert Message.objects.count() == 1

    def test_where_the_database_stays_away_the_error_says_so(self):
        commit = connection._commit

        def lose():
            connection._commit = commit
            connection.execute_wrappers.append(refuse)
            lose_connection()

        def refuse(execute, sql, params, many, context):
            raise ProgrammingError("some other trouble")

        connection._commit = lose
        with pytest.raises(OutcomeUnknown):
            send("hi")
        connection.execute_wrappers.remove(refuse)


@only_sqlite
class TestSQLite:
    def holder(self) -> sqlite3.Connection:
        holder = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None, check_same_thread=False)
        holder.execute("BEGIN IMMEDIATE")
        return holder

    def test_a_lock_is_waited_for(self):
        send("first")
        holder = self.holder()

        def release():
            holder.execute("ROLLBACK")
            holder.close()

        timer = threading.Timer(0.1, release)
        timer.start()
        assert send("second").offset == 2
        timer.join()

    def test_a_lock_that_is_held_too_long_is_unavailability(self):
        send("first")
        own = connections["default"]
        impatient = connections.create_connection("default")
        options = {**impatient.settings_dict["OPTIONS"], "timeout": 0.05}
        impatient.settings_dict = {**impatient.settings_dict, "OPTIONS": options}
        holder = self.holder()
        connections["default"] = impatient
        try:
            with pytest.raises(LogUnavailable, match="database is locked"):
                send("refused")
        finally:
            connections["default"] = own
            impatient.close()
            holder.close()
        assert send("second").offset == 2
        assert list(Message.objects.order_by("offset").values_list("body", flat=True)) == ["first", "second"]

    def test_a_file_that_is_no_database(self, tmp_path):
        (tmp_path / "db.sqlite3").write_text("This is not a database, but long enough to be taken for one. " * 20)
        process = python(
            """
            from broadcast.exceptions import LogUnavailable
            try:
                send("hi")
            except LogUnavailable as error:
                print(error)
            """,
            DATABASE_URL=f"sqlite:///{tmp_path / 'db.sqlite3'}",
        )
        assert "file is not a database" in ended(process)


@pytest.mark.log_contract
@only_postgresql
class TestPostgreSQL:
    def kill_connection(self) -> None:
        """Ends the session of this test's own connection, as a failover does."""
        pid = connection.connection.info.backend_pid

        def kill():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])

        elsewhere(kill)

    def test_a_dead_session_is_replaced(self):
        send("first")
        self.kill_connection()
        assert send("second").offset == 2
        self.kill_connection()
        assert [message.body for message in log.read("broadcast", 0, 9)] == ["first", "second"]

    def test_a_session_that_dies_in_the_callers_transaction_takes_it_along(self):
        def work():
            with transaction.atomic():
                send("first")
                self.kill_connection()
                send("second")

        with pytest.raises(LogUnavailable):
            work()
        connection.close()
        assert send("third").offset == 1

    def test_a_session_that_dies_during_commit(self):
        """A deferred trigger of the table ends the session that commits, once."""
        with connection.cursor() as cursor:
            cursor.execute("CREATE SEQUENCE lost_commits")
            cursor.execute(
                """
                CREATE FUNCTION lose_commit() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    IF nextval('lost_commits') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
                    RETURN NULL;
                END $$
                """
            )
            cursor.execute(
                """
                CREATE CONSTRAINT TRIGGER lose_commit AFTER INSERT ON broadcast_message
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lose_commit()
                """
            )
        try:
            assert send("hi").offset == 1
        finally:
            with connection.cursor() as cursor:
                cursor.execute("DROP TRIGGER lose_commit ON broadcast_message")
                cursor.execute("DROP FUNCTION lose_commit")
                cursor.execute("DROP SEQUENCE lost_commits")
        assert list(Message.objects.values_list("offset", "body")) == [(1, "hi")]

    @pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
    def test_a_site_that_isolates_more_strictly(self, level):
        """Our own transactions see what others committed meanwhile all the same."""

        def some():
            with connection.cursor() as cursor:
                cursor.execute(f"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {level}")
            return [send("hi").offset for _ in range(10)]

        results = together(*[some] * 4)
        assert sorted(offset for offsets in results for offset in offsets) == list(range(1, 41))
