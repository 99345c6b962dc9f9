"""The log: offsets in one order for everybody, whatever appends."""

import re
import sqlite3
import uuid
from collections import Counter
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.signals import post_save
from django.test.utils import CaptureQueriesContext

from broadcast.engine.process import this_process
from broadcast.engine.storage.database import PATIENCE, EpochEnded
from broadcast.engine.storage.log import Log
from broadcast.engine.storage.records import VOID, Head
from broadcast.engine.storage.refs import find
from broadcast.models import Group, Message
from tests.kit.log import appended, failing_if, leave_waiting, stored
from tests.kit.processes import ended, python, together
from tests.kit.streams import draft, drafts

pytestmark = pytest.mark.log_contract

REF, NEW = uuid.UUID("12345678-1234-5678-1234-567812345678"), uuid.uuid4()


@pytest.fixture
def log() -> Log:
    return this_process.log


def values_of(message: Message) -> dict[str, Any]:
    return {field.attname: getattr(message, field.attname) for field in Message._meta.concrete_fields}


def as_stored(pk: int) -> dict[str, Any]:
    """A row as the database's driver gives it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM broadcast_message WHERE id = %s", [pk])
        return dict(zip([column[0] for column in cursor.description], cursor.fetchone(), strict=True))


def looks_for_refs(queries: CaptureQueriesContext) -> list[str]:
    return [each["sql"] for each in queries if re.match(r'SELECT .*\bref"? IN', each["sql"])]


def head(log: Log, group: str = "broadcast") -> Head:
    return log.heads([group])[group]


@pytest.mark.django_db
class TestAppending:
    def test_each_group_counts_from_one(self, log):
        [first] = appended("a")
        result = log.append([draft("b"), draft("x", "other"), draft("c")])
        found = [(message.group_id, message.offset, message.body) for message in (first, *result.messages)]
        assert found == [("broadcast", 1, "a"), ("broadcast", 2, "b"), ("other", 1, "x"), ("broadcast", 3, "c")]
        assert {news.group: len(news.messages) for news in result.news} == {"broadcast": 2, "other": 1}
        assert stored() == [(1, "a"), (2, "b"), (3, "c")]
        assert head(log).offset == 3

    def test_a_group_keeps_its_epoch_and_no_two_share_one(self, log):
        first, again, other = (log.append(drafts("x", group=group)).news[0].epoch for group in "aab")
        assert first == again != other

    @pytest.mark.parametrize("way", ["append", "insert_waiting"])
    @pytest.mark.parametrize(
        "said",
        [{}, {"source": "user", "author": "%s ü'\\", "user_id": 7, "by": "Bo", "data": {"a": [None, "ü", 1.5]}}],
    )
    def test_a_message_is_in_the_log_as_the_orm_would_have_it_there(self, log, way, said):
        done = getattr(log, way)([draft("100 % of \N{PARTY POPPER}", **said)])
        [message] = done if way == "insert_waiting" else done.messages
        twin = Message.objects.create(**{**values_of(message), "id": None, "offset": None, "ref": uuid.uuid4()})
        [row, same] = [as_stored(pk) for pk in (message.pk, twin.pk)]
        assert same == {**row, "id": twin.pk, "offset": None, "ref": same["ref"]}
        assert Message.objects.values().get(pk=message.pk) == values_of(message)
        assert (message._state.adding, len(str(row["ref"]))) == (False, len(str(same["ref"])))

    def test_what_waits_comes_first(self, log):
        leave_waiting(draft("early"), draft("too"))
        result = log.append([draft("late")])
        assert [message.body for message in result.messages] == ["late"]
        assert [message.body for message in result.news[0].messages] == ["early", "too", "late"]
        assert stored() == [(1, "early"), (2, "too"), (3, "late")]
        assert not Message.objects.filter(sent_at=None).exists()


@pytest.mark.django_db
class TestRefs:
    def test_a_ref_is_written_once_also_in_one_batch(self, log):
        [first] = log.append([draft("first", ref=REF)]).messages
        again = log.append([draft("again", ref=REF)])
        assert (again.messages, again.messages[0].body, again.news[0].messages) == ([first], "first", [])
        messages = log.append([draft("a"), draft("b", ref=NEW), draft("c", ref=NEW), draft("d")]).messages
        assert [(message.offset, message.body) for message in messages] == [(2, "a"), (3, "b"), (3, "b"), (4, "d")]
        assert head(log).offset == 4

    def test_a_ref_that_is_used_takes_nobody_elses_offset(self, log):
        log.append([draft("first", ref=REF, source="guest")])
        batch = [draft("a", ref=uuid.uuid4()), draft("again", ref=REF, source="guest"), draft("b", "other", ref=NEW)]
        messages = log.append([*batch, draft("c", ref=uuid.uuid4())]).messages
        found = [(message.offset, message.is_repeated) for message in messages]
        assert found == [(2, False), (1, True), (1, False), (3, False)]
        assert (stored(), head(log).offset) == ([(1, "first"), (2, "a"), (3, "c")], 3)

    @pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL's plans depend on what it has counted")
    @pytest.mark.parametrize(("sender", "looks"), [({"source": "guest"}, 0), ({"source": "user", "user_id": 1}, 1)])
    def test_only_a_users_ref_is_looked_up_and_each_by_its_index(self, log, sender, looks):
        appended("one")
        with CaptureQueriesContext(connection) as first:
            log.append([draft(ref=REF, **sender)])
        assert len(looks_for_refs(first)) == looks
        with CaptureQueriesContext(connection) as again:
            assert log.append([draft(ref=REF, **sender)]).messages[0].is_repeated
        assert looks_for_refs(again)
        for look in looks_for_refs(again):
            with connection.cursor() as cursor:
                plan = str(cursor.execute(f"EXPLAIN QUERY PLAN {look}").fetchall())
            assert ("USING" in plan, "autoindex" in plan) == (True, False), plan

    def test_a_ref_may_stand_for_a_message_that_waits(self, log):
        leave_waiting(draft("waits", ref=REF))
        [message] = log.append([draft("again", ref=REF)]).messages
        assert (message.offset, message.body) == (1, "waits")

    def test_a_ref_is_its_authors_own_and_its_groups(self, log):
        others = [draft(ref=REF, source="guest"), draft(ref=REF, author="Ours"), draft(group="other", ref=REF)]
        namesakes = [draft(ref=REF, source="user", user_id=pk) for pk in (1, 2)]
        messages = log.append([draft(ref=REF), *others, *namesakes]).messages
        assert len({message.pk for message in messages}) == 6
        with transaction.atomic():
            assert log.insert_waiting([draft(ref=REF, source="user", user_id=3)])[0].is_repeated is False

    def test_a_users_ref_is_theirs_under_whatever_name(self, log):
        [first, *_] = log.append([draft("first", ref=REF, source="user", user_id=1, author="ann")]).messages
        [again] = log.append([draft("again", ref=REF, source="user", user_id=1, author="Ann S.")]).messages
        assert (again.pk, again.body) == (first.pk, "first")

    @pytest.mark.parametrize("sender", [{}, {"source": "guest"}, {"source": "user", "user_id": 1}], ids=str)
    def test_the_database_keeps_one_of_what_comes_at_once(self, sender):
        fields = {"group_id": "broadcast", "author": "Ann", "body": "hi", "ref": REF, **sender}
        Message.objects.create(**fields)
        with pytest.raises(IntegrityError), transaction.atomic():
            Message.objects.create(**fields)

    @pytest.mark.skipif("connection.vendor != 'sqlite'", reason="About SQLite, which limits them")
    def test_more_refs_than_a_statement_may_have_parameters(self):
        connection.ensure_connection()
        usual = connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 1000)
        try:
            assert find("broadcast", [draft(ref=uuid.uuid4()) for _ in range(2000)]) == {}
        finally:
            connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, usual)


@pytest.mark.django_db(transaction=True)
class TestConcurrency:
    def test_processes_leave_no_gap(self):
        processes = [
            python(f"input()\nfor number in range(10): assert send(f'{name}.{{number}}').offset") for name in range(2)
        ]
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            ended(process)
        log_of_all = stored()
        assert [offset for offset, _ in log_of_all] == list(range(1, 21))
        for name in "01":
            own = [body for _, body in log_of_all if body.startswith(name)]
            assert own == [f"{name}.{number}" for number in range(10)]

    def test_groups_in_any_order_do_not_block_each_other(self, log):
        def both(*groups: str):
            for _ in range(10):
                log.append([draft(group=group) for group in groups])

        assert together(*[lambda: both("a", "b"), lambda: both("b", "a")] * 2) == [None] * 4
        assert Counter(Message.objects.values_list("group_id", flat=True)) == {"a": 40, "b": 40}

    def test_one_group_comes_into_being_once(self, log):
        results = together(*[lambda: log.append([draft(group="new")])] * 6)
        assert len({news.epoch for result in results for news in result.news}) == 1
        assert Group.objects.get(name="new").head == 6

    def test_sequencing_from_many_threads_gives_each_message_one_offset(self, log):
        leave_waiting(*drafts(*"abcdef"))
        news = together(*[lambda: log.sequence("broadcast", PATIENCE)] * 5)
        assert [message.body for each in news for message in each.messages] == list("abcdef")
        assert stored() == list(enumerate("abcdef", 1))


@pytest.mark.django_db
class TestSequencing:
    def test_waiting_messages_are_sequenced_in_the_order_of_their_insertion(self, log):
        leave_waiting(draft("a"), draft("b"))
        leave_waiting(draft("c", group="other"))
        assert [message.offset for message in log.sequence("broadcast").messages] == [1, 2]
        assert [message.offset for message in log.sequence("other").messages] == [1]
        assert log.sequence("broadcast").messages == []

    def test_more_than_one_statement_takes(self, log):
        bodies = [str(number) for number in range(250)]
        leave_waiting(*drafts(*bodies))
        log.sequence("broadcast")
        assert stored() == list(enumerate(bodies, 1))

    def test_a_group_without_a_message_is_void_and_looking_at_it_writes_nothing(self, log):
        assert log.head("broadcast") == Head(VOID, 0, 0, 0)
        leave_waiting(draft("waits"))
        assert log.head("broadcast") == Head(VOID, 0, 0, 0, has_waiting=True)
        assert not Group.objects.exists()
        epoch = log.sequence("broadcast").epoch
        assert log.head("broadcast") == Head(epoch, 1, 0, 0)
        assert epoch != VOID

    def test_heads_tell_where_messages_wait(self, log):
        appended("a", "b", group="a")
        appended("a", group="b")
        leave_waiting(draft(group="b"))
        heads = log.heads(["a", "b", "unknown"])
        assert {name: (head.offset, head.floor, head.has_waiting) for name, head in heads.items()} == {
            "a": (2, 0, False),
            "b": (1, 0, True),
            "unknown": (0, 0, False),
        }
        assert log.heads([]) == {}


@pytest.mark.django_db
def test_reading(log):
    """A page begins after an offset, the newest come in order, and what waits is not read."""
    appended(*"abcde")
    leave_waiting(draft("waits"))
    epoch = head(log).epoch
    for after, bodies in {0: "abc", 1: "bcd", 4: "e", 5: ""}.items():
        assert [message.body for message in log.read("broadcast", after, 3, epoch)] == [*bodies]
    assert [message.body for message in log.newest("broadcast", 2, epoch)] == ["d", "e"]
    assert log.read("other", 0, 3, epoch) == log.newest("other", 3, epoch) == []
    log.renew("broadcast")
    for read in (lambda: log.read("broadcast", 0, 3, epoch), lambda: log.newest("broadcast", 2, epoch)):
        with pytest.raises(EpochEnded):
            read()


@pytest.mark.django_db
class TestEpochs:
    def test_an_epoch_lasts_while_the_log_holds_what_was_delivered(self, log):
        appended("a", "b")
        epoch = head(log).epoch
        assert log.renew_epoch("broadcast", epoch, 2) is False
        assert head(log).epoch == epoch
        assert log.renew_epoch("broadcast", epoch, 3) is True
        assert head(log).epoch != epoch
        assert head(log).begin == 2
        assert log.renew_epoch("broadcast", epoch, 3) is False

    @pytest.mark.parametrize("isolation", [None, "SERIALIZABLE"])
    def test_one_of_many_hubs_renews_it(self, log, transactional_db, isolation):
        if isolation and connection.vendor != "postgresql":
            pytest.skip("About PostgreSQL")
        appended("a")
        epoch = head(log).epoch

        def renew():
            if isolation:
                with connection.cursor() as cursor:
                    cursor.execute(f"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {isolation}")
            return log.renew_epoch("broadcast", epoch, 9)

        renewals = Counter(map(repr, together(*[renew] * 8)))
        assert renewals["True"] == 1
        assert not [each for each in renewals if not each.startswith(("True", "False", "LockTimeout"))]

    def test_a_deleted_group_begins_anew(self, log):
        appended("a")
        epoch = head(log).epoch
        Group.objects.get(name="broadcast").delete()
        assert stored() == []
        assert head(log).epoch == VOID
        appended("b")
        assert head(log).epoch not in (VOID, epoch)


@pytest.mark.django_db(transaction=True)
class TestInTheCallersTransaction:
    def test_a_ref_of_a_transaction_that_this_one_may_not_see(self, log):
        """As where the caller isolates strictly; the message comes to be the other one with the commit."""
        [other] = log.append([draft("other", ref=REF)]).messages
        Message.objects.update(offset=None, ref=uuid.UUID(int=0))
        with transaction.atomic():
            with failing_if(lambda sql: IntegrityError("duplicate key") if sql.startswith("INSERT") else None):
                [mine] = log.insert_waiting([draft("mine", ref=REF)])
            assert (mine.pk, mine.offset) == (None, None)
            Group.objects.create(name="sound", epoch="e")
        assert log.fill_in_offsets([mine]) is False
        Message.objects.update(offset=1, ref=REF)
        assert log.fill_in_offsets([mine]) is True
        assert (mine.pk, mine.offset, mine.sent_at) == (other.pk, 1, other.sent_at)

    def test_a_sender_gets_no_signals_of_the_log(self):
        told = []
        post_save.connect(told.append, sender=Message)
        try:
            leave_waiting(draft("a"))
            appended("b")
        finally:
            post_save.disconnect(told.append, sender=Message)
        assert told == []
