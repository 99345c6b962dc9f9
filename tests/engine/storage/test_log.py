"""The log: offsets in one order for everybody, whatever appends, and from where on it is kept."""

import sqlite3
import uuid
from collections import Counter
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.signals import post_save
from django.utils import timezone

from broadcast.engine.storage import log
from broadcast.engine.storage.locking import open_group
from broadcast.engine.storage.log import Draft
from broadcast.models import Group, Message
from tests.kit.processes import elsewhere, ended, python, together

pytestmark = pytest.mark.log_contract

REF = uuid.UUID("12345678-1234-5678-1234-567812345678")


def draft(body: str = "hello", group: str = "news", **fields) -> Draft:
    return Draft(group, "server", "Server", body, **fields)


def append(*bodies: str, group: str = "news") -> list[Message]:
    return log.append([draft(body, group) for body in bodies]).messages


def leave_waiting(*bodies: str, group: str = "news") -> list[Message]:
    """What a process leaves behind that ends right after its commit."""
    with transaction.atomic():
        return log.insert_waiting([draft(body, group) for body in bodies])


def stored(group: str = "news") -> list[tuple[int | None, str]]:
    return list(Message.objects.filter(group_id=group).order_by("offset").values_list("offset", "body"))


@pytest.mark.django_db
class TestAppending:
    def test_offsets_count_from_one(self):
        assert [message.offset for message in append("a", "b")] == [1, 2]
        assert [message.offset for message in append("c")] == [3]
        assert stored() == [(1, "a"), (2, "b"), (3, "c")]
        assert Group.objects.get(name="news").head == 3

    def test_each_group_counts_for_itself(self):
        appended = log.append([draft("1", "b"), draft("2", "a"), draft("3", "b")])
        assert [(message.group_id, message.offset, message.body) for message in appended.messages] == [
            ("b", 1, "1"),
            ("a", 1, "2"),
            ("b", 2, "3"),
        ]
        assert {new_messages.group: len(new_messages.messages) for new_messages in appended.news} == {"a": 1, "b": 2}

    def test_a_message_is_stored_as_it_is_returned(self):
        before = timezone.now()
        [message] = log.append([draft("hi", data={"level": 1}, ref=REF)]).messages
        assert before <= message.sent_at <= timezone.now()
        kept = Message.objects.get(pk=message.pk)
        assert (kept.author, kept.source, kept.body, kept.data, kept.ref) == (
            "Server",
            "server",
            "hi",
            {"level": 1},
            REF,
        )

    def test_a_group_keeps_its_epoch_and_no_two_share_one(self):
        first = log.append([draft(group="a")]).news[0].epoch
        assert log.append([draft(group="a")]).news[0].epoch == first
        assert log.append([draft(group="b")]).news[0].epoch != first

    def test_what_waits_comes_first(self):
        leave_waiting("early", "too")
        appended = log.append([draft("late")])
        assert [message.body for message in appended.messages] == ["late"]
        assert [message.body for message in appended.news[0].messages] == ["early", "too", "late"]
        assert stored() == [(1, "early"), (2, "too"), (3, "late")]
        assert not Message.objects.filter(sent_at=None).exists()


@pytest.mark.django_db
class TestRefs:
    def test_a_ref_is_written_once(self):
        [first] = log.append([draft("first", ref=REF, has_client_ref=True)]).messages
        again = log.append([draft("again", ref=REF, has_client_ref=True)])
        assert again.messages == [first]
        assert again.messages[0].body == "first"
        assert again.news[0].messages == []
        assert Group.objects.get(name="news").head == 1

    def test_a_ref_is_written_once_in_one_batch(self):
        drafts = [
            draft("a"),
            draft("b", ref=REF, has_client_ref=True),
            draft("c", ref=REF, has_client_ref=True),
            draft("d"),
        ]
        messages = log.append(drafts).messages
        assert [(message.offset, message.body) for message in messages] == [(1, "a"), (2, "b"), (2, "b"), (3, "d")]
        assert Group.objects.get(name="news").head == 3

    def test_a_ref_may_stand_for_a_message_that_waits(self):
        with transaction.atomic():
            log.insert_waiting([draft("waits", ref=REF, has_client_ref=True)])
        [message] = log.append([draft("again", ref=REF, has_client_ref=True)]).messages
        assert (message.offset, message.body) == (1, "waits")

    def test_a_ref_is_its_authors_own_and_its_groups(self):
        mine = draft("mine", ref=REF, has_client_ref=True)
        yours = Draft("news", "guest", "Server", "yours", ref=REF, has_client_ref=True)
        ours = Draft("news", "server", "Ours", "ours", ref=REF, has_client_ref=True)
        other = draft("other", group="other", ref=REF, has_client_ref=True)
        assert len({message.pk for message in log.append([mine, yours, ours, other]).messages}) == 4

    @pytest.mark.skipif("connection.vendor != 'sqlite'", reason="About SQLite, which limits them")
    def test_more_refs_than_a_statement_may_have_parameters(self):
        connection.ensure_connection()
        usual = connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 1000)
        try:
            drafts = [draft(ref=uuid.uuid4(), has_client_ref=True) for _ in range(2000)]
            assert log.find("news", drafts) == {}
        finally:
            connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, usual)

    def test_the_same_ref_from_many_threads(self, transactional_db):
        sends = [lambda: log.append([draft(ref=REF, has_client_ref=True)]).messages[0]] * 8
        assert {message.offset for message in together(*sends)} == {1}
        assert stored() == [(1, "hello")]


@pytest.mark.django_db(transaction=True)
class TestConcurrency:
    def test_threads_leave_no_gap(self):
        def some(name: int):
            return [append(f"{name}.{number}")[0].offset for number in range(10)]

        results = together(*(lambda name=name: some(name) for name in range(8)))
        assert sorted(offset for offsets in results for offset in offsets) == list(range(1, 81))
        assert all(offsets == sorted(offsets) for offsets in results)
        assert [offset for offset, _ in stored()] == list(range(1, 81))

    def test_processes_leave_no_gap(self):
        processes = [
            python(f"input()\nfor number in range(20): assert send(f'{name}.{{number}}', group='news').offset")
            for name in range(3)
        ]
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            ended(process)
        log_of_all = stored()
        assert [offset for offset, _ in log_of_all] == list(range(1, 61))
        for name in "012":
            own = [body for _, body in log_of_all if body.startswith(name)]
            assert own == [f"{name}.{number}" for number in range(20)]

    def test_groups_in_any_order_do_not_block_each_other(self):
        def both(one: str, two: str):
            for _ in range(10):
                log.append([draft(group=one), draft(group=two)])

        assert together(*[lambda: both("a", "b"), lambda: both("b", "a")] * 2) == [None] * 4
        assert Counter(Message.objects.values_list("group_id", flat=True)) == {"a": 40, "b": 40}

    def test_one_group_comes_into_being_once(self):
        together(*[lambda: open_group("new")] * 6, *[lambda: append("x", group="new")] * 2)
        assert Group.objects.filter(name="new").count() == 1
        assert len(stored("new")) == 2

    def test_sequencing_from_many_threads_gives_each_message_one_offset(self):
        leave_waiting(*"abcdef")
        news = together(*[lambda: log.sequence(["news"])] * 5)
        told = [message.body for [new_messages] in news for message in new_messages.messages]
        assert told == list("abcdef")
        assert stored() == list(enumerate("abcdef", 1))


@pytest.mark.django_db
class TestSequencing:
    def test_waiting_messages_are_sequenced_in_the_order_of_their_insertion(self):
        leave_waiting("a", "b")
        leave_waiting("c", group="other")
        news = log.sequence({"news", "other"})
        assert [
            (new_messages.group, [message.offset for message in new_messages.messages]) for new_messages in news
        ] == [
            ("news", [1, 2]),
            ("other", [1]),
        ]
        assert log.sequence(["news"])[0].messages == []

    def test_more_than_one_statement_takes(self):
        bodies = [str(number) for number in range(250)]
        leave_waiting(*bodies)
        log.sequence(["news"])
        assert stored() == list(enumerate(bodies, 1))

    def test_joining_sequences_what_waits(self):
        leave_waiting("waits")
        head, news = log.join("news")
        assert (head.offset, head.waiting) == (1, False)
        assert [message.body for message in news[0].messages] == ["waits"]

    def test_joining_opens_a_group(self):
        head, news = log.join("news")
        assert (head.offset, head.floor, news) == (0, 0, [])
        assert head.epoch == Group.objects.get(name="news").epoch

    def test_heads_tell_where_messages_wait(self):
        append("a", "b", group="a")
        append("a", group="b")
        leave_waiting("c", group="b")
        heads = log.heads(["a", "b", "unknown"])
        assert {name: (head.offset, head.floor, head.waiting) for name, head in heads.items()} == {
            "a": (2, 0, False),
            "b": (1, 0, True),
        }


@pytest.mark.django_db
class TestReading:
    def test_a_page_begins_after_an_offset(self):
        append(*"abcde")
        assert [message.body for message in log.read("news", 1, 3)] == ["b", "c", "d"]
        assert [message.body for message in log.read("news", 4, 3)] == ["e"]
        assert log.read("news", 5, 3) == []
        assert log.read("other", 0, 3) == []

    def test_the_newest_come_in_order(self):
        append(*"abc")
        assert [message.body for message in log.newest("news", 2)] == ["b", "c"]

    def test_what_waits_is_not_read(self):
        leave_waiting("waits")
        assert log.read("news", 0, 10) == log.newest("news", 10) == []


@pytest.mark.django_db
class TestPruning:
    def kept(self) -> list[int]:
        return [offset for offset, _ in stored()]

    def age(self, *offsets: int, hours: int = 2) -> None:
        Message.objects.filter(offset__in=offsets).update(sent_at=timezone.now() - timedelta(hours=hours))

    def test_by_count(self):
        append(*"abcde")
        assert log.prune("news", 2, None) is False
        assert self.kept() == [4, 5]
        assert Group.objects.get(name="news").floor == 3
        assert log.heads(["news"])["news"].floor == 3

    def test_in_steps(self):
        append(*"abcde")
        assert log.prune("news", 1, None, step=2) is True
        assert self.kept() == [3, 4, 5]
        assert log.prune("news", 1, None, step=2) in (True, False)
        assert self.kept() == [5]
        assert log.prune("news", 1, None, step=2) is False
        assert self.kept() == [5]

    def test_by_age(self):
        append(*"abcd")
        self.age(1, 2)
        assert log.prune("news", None, timezone.now() - timedelta(hours=1)) is False
        assert self.kept() == [3, 4]

    def test_by_age_in_steps(self):
        append(*"abcde")
        self.age(1, 2, 3, 4)
        since = timezone.now() - timedelta(hours=1)
        assert log.prune("news", None, since, step=3) is True
        assert self.kept() == [4, 5]
        assert log.prune("news", None, since, step=3) is False
        assert self.kept() == [5]

    def test_all_may_be_too_old(self):
        append(*"abc")
        self.age(1, 2, 3)
        log.prune("news", None, timezone.now() - timedelta(hours=1))
        assert self.kept() == []
        assert log.heads(["news"])["news"].floor == 3
        assert append("next")[0].offset == 4

    def test_only_a_prefix_goes_whatever_the_clocks_said(self):
        append(*"abc")
        self.age(2)
        log.prune("news", None, timezone.now() - timedelta(hours=1))
        assert self.kept() == [1, 2, 3]

    def test_by_whichever_lets_more_go(self):
        append(*"abcde")
        self.age(1, 2, 3)
        since = timezone.now() - timedelta(hours=1)
        log.prune("news", 4, since)
        assert self.kept() == [4, 5]
        log.prune("news", 1, since)
        assert self.kept() == [5]

    def test_without_limits_all_is_kept(self):
        append(*"abc")
        assert log.prune("news", None, None) is False
        assert self.kept() == [1, 2, 3]

    def test_what_waits_and_what_others_have_is_left_alone(self):
        append("a", "b")
        append("c", group="other")
        leave_waiting("waits")
        log.prune("news", 1, None)
        assert Counter(Message.objects.values_list("body", flat=True)) == Counter(["b", "c", "waits"])

    def test_an_empty_log_has_nothing_to_prune(self):
        assert log.prune("news", 1, timezone.now()) is False

    def test_raising_the_limit_brings_nothing_back(self):
        append(*"abc")
        log.prune("news", 1, None)
        assert log.prune("news", 2, None) is False
        assert log.heads(["news"])["news"].floor == 2

    def test_while_others_append(self, transactional_db):
        append(*"abcdefghij")
        together(
            lambda: [log.prune("news", 5, None, step=3) for _ in range(6)],
            lambda: [append("more") for _ in range(10)],
        )
        head = log.heads(["news"])["news"]
        assert self.kept() == list(range(head.floor + 1, head.offset + 1))
        assert head.offset == 20


@pytest.mark.django_db
class TestEpochs:
    def test_an_epoch_ends_where_the_log_ends_too_early(self):
        append("a", "b")
        epoch = log.heads(["news"])["news"].epoch
        assert log.renew_epoch("news", epoch, 3) is True
        assert log.heads(["news"])["news"].epoch != epoch
        assert log.renew_epoch("news", epoch, 3) is False

    def test_an_epoch_lasts_while_the_log_holds_what_was_delivered(self):
        append("a", "b")
        epoch = log.heads(["news"])["news"].epoch
        assert log.renew_epoch("news", epoch, 2) is False
        assert log.heads(["news"])["news"].epoch == epoch

    def test_one_of_many_hubs_renews_it(self, transactional_db):
        append("a")
        epoch = log.heads(["news"])["news"].epoch
        assert sorted(together(*[lambda: log.renew_epoch("news", epoch, 9)] * 4)) == [False, False, False, True]

    @pytest.mark.skipif("connection.vendor != 'postgresql'", reason="About PostgreSQL")
    def test_also_where_the_site_isolates_strictly(self, transactional_db):
        append("a")
        epoch = log.heads(["news"])["news"].epoch

        def renew():
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            return log.renew_epoch("news", epoch, 9)

        assert sorted(together(*[renew] * 8)) == [False] * 7 + [True]

    def test_a_deleted_group_begins_anew(self):
        append("a")
        epoch = log.heads(["news"])["news"].epoch
        Group.objects.get(name="news").delete()
        assert stored() == []
        head, _ = log.join("news")
        assert head.offset == 0
        assert head.epoch != epoch


@pytest.mark.django_db(transaction=True)
class TestInTheCallersTransaction:
    def test_it_takes_no_offset_and_no_groups_row(self):
        with transaction.atomic():
            [message] = log.insert_waiting([draft()])
            assert (message.offset, message.sent_at) == (None, None)
            assert not Group.objects.filter(name="news").exists()

    def test_a_rollback_takes_it_along(self):
        transaction.set_autocommit(False)
        try:
            log.insert_waiting([draft()])
            transaction.rollback()
        finally:
            transaction.set_autocommit(True)
        assert elsewhere(stored) == []

    def test_all_of_many_or_none(self):
        nobody = draft("b", user_id="not a key")
        with transaction.atomic():
            with pytest.raises(ValueError, match="not a key"):
                log.insert_waiting([draft("a"), nobody])
            log.insert_waiting([draft("c")])
        assert stored() == [(None, "c")]

    def test_a_ref_of_a_transaction_that_this_one_may_not_see(self):
        """As where the caller isolates strictly; the message comes to be the other one with the commit."""

        def taken(execute, sql, params, many, context):
            if sql.startswith("INSERT"):
                raise IntegrityError("duplicate key")
            return execute(sql, params, many, context)

        [other] = log.append([draft("other", ref=REF, has_client_ref=True)]).messages
        Message.objects.update(offset=None, ref=uuid.UUID(int=0))
        with transaction.atomic():
            with connection.execute_wrapper(taken):
                [mine] = log.insert_waiting([draft("mine", ref=REF, has_client_ref=True)])
            assert (mine.pk, mine.offset) == (None, None)
            Group.objects.create(name="sound", epoch="e")
        assert log.settle([mine]) is False
        Message.objects.update(offset=1, ref=REF)
        assert log.settle([mine]) is True
        assert (mine.pk, mine.offset, mine.sent_at) == (other.pk, 1, other.sent_at)

    def test_a_sender_gets_no_signals_of_the_log(self):
        def fail(**_):
            raise AssertionError("The log is no place for signals")

        post_save.connect(fail, sender=Message)
        try:
            leave_waiting("a")
            append("b")
        finally:
            post_save.disconnect(fail, sender=Message)
