"""Sending: from anywhere, inside and outside of transactions, with a log and without."""

import asyncio
import json
import logging
import threading
import uuid
from contextlib import contextmanager, suppress
from types import MappingProxyType

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError, IntegrityError, OperationalError, connection, transaction
from django.db.models.signals import post_save
from django.http import JsonResponse
from django.test import TestCase, TransactionTestCase
from django.urls import path
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy

from broadcast import asend, asend_many, send, send_many
from broadcast.engine import publish as publishing
from broadcast.engine.hints import publisher as hints
from broadcast.engine.hints.hint import Hint
from broadcast.engine.hub.hub import current_hub
from broadcast.engine.publish import relay
from broadcast.engine.storage import log
from broadcast.engine.storage.log import Draft
from broadcast.exceptions import InvalidMessage, LogUnavailable
from broadcast.models import Group, Message
from tests.kit.processes import elsewhere, ended, python, together
from tests.kit.waiting import wait_until as until

User = get_user_model()

REF = uuid.UUID("12345678-1234-5678-1234-567812345678")


class Ear:
    """A hub as senders see it: it hears what this process is told."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.hints: list[Hint] = []

    def hand_over(self, hint: Hint) -> bool:
        self.hints.append(hint)
        return True

    @property
    def heard(self) -> list[tuple[int | None, str]]:
        return [(frame.offset, frame.fields["body"]) for hint in self.hints for frame in hint.frames]


@pytest.fixture
def ear():
    ear = Ear()
    hints.receivers.add(ear)
    yield ear
    hints.receivers.discard(ear)
    ear.loop.close()


def bodies(group: str = "broadcast") -> list[str]:
    """What a group's log holds, after a look that sequences what waits."""
    log.join(group)
    return [message.body for message in log.read(group, 0, 1000)]


def seen_by_others() -> list[tuple[int | None, str]]:
    """What has been committed, as another connection sees it."""
    return elsewhere(lambda: list(Message.objects.order_by("id").values_list("offset", "body")))


class Oops(Exception):
    pass


@contextmanager
def undone():
    """A transaction, or a part of one, that is rolled back."""
    with suppress(Oops), transaction.atomic():
        yield
        raise Oops


@pytest.mark.log_contract
@pytest.mark.django_db(transaction=True)
class TestOutsideATransaction:
    def test_a_message_is_in_the_log_when_send_returns(self, ear):
        message = send("hello")
        assert (message.offset, message.body, message.group_id, message.author) == (1, "hello", "broadcast", "Server")
        assert (message.source, message.user_id, message.data) == ("server", None, None)
        assert message.sent_at is not None
        assert seen_by_others() == [(1, "hello")]
        assert ear.heard == [(1, "hello")]

    def test_all_arguments(self):
        message = send("hi", group="news.sport", author="Ann", data={"level": "info"}, ref=str(REF))
        kept = Message.objects.get(pk=message.pk)
        assert (kept.group_id, kept.author, kept.data, kept.ref) == ("news.sport", "Ann", {"level": "info"}, REF)

    def test_a_user_signs_with_their_own_name(self):
        user = User.objects.create_user("ann")
        message = send("hi", author=user)
        assert (message.author, message.source, message.user_id) == ("ann", "user", user.pk)
        assert Message.objects.get(pk=message.pk).user == user

    def test_the_lazy_user_of_a_request_is_a_user(self):
        user = User.objects.create_user("ann")
        assert send("hi", author=SimpleLazyObject(lambda: user)).user_id == user.pk

    def test_data_is_copied_all_the_way_down(self, ear):
        data = {"steps": [1, (2, 3)]}
        message = send("hi", data=MappingProxyType(data))
        data["steps"].append("later")
        assert message.data == {"steps": [1, [2, 3]]}
        assert ear.hints[0].frames[0].fields["data"] == {"steps": [1, [2, 3]]}

    def test_a_ref_sends_once(self, ear):
        first = send("first", ref=REF)
        again = send("again", ref=str(REF))
        assert again == first
        assert again.body == "first"
        assert again.offset == 1
        assert ear.heard == [(1, "first")]

    def test_a_ref_sends_once_from_many_threads(self, ear):
        sent = together(*[lambda: send("hi", ref=REF)] * 8)
        assert {message.offset for message in sent} == {1}
        assert ear.heard == [(1, "hi")]

    def test_a_waiting_message_goes_first(self, ear):
        with transaction.atomic():
            log.insert_waiting([Draft("broadcast", "server", "Server", "waits")])
        assert send("next").offset == 2
        assert ear.heard == [(1, "waits"), (2, "next")]

    def test_threads_get_their_own_messages(self, ear):
        sent = together(*(lambda number=number: send(str(number)) for number in range(20)))
        assert [message.body for message in sent] == [str(number) for number in range(20)]
        assert {message.offset for message in sent} == set(range(1, 21))
        until(lambda: len(ear.heard) == 20)
        assert sorted(ear.heard) == sorted((message.offset, message.body) for message in sent)

    def test_a_send_that_starts_after_another_returned_comes_later(self):
        def some(name):
            for _ in range(5):
                before = log.heads(["broadcast"]).get("broadcast")
                assert send(name).offset > (before.offset if before else 0)

        assert together(*(lambda name=name: some(name) for name in "abcd")) == [None] * 4

    def test_what_a_signal_handler_sends(self, ear):
        def welcome(instance, created, **_):
            send(f"Welcome, {instance}")

        post_save.connect(welcome, sender=User)
        try:
            User.objects.create_user("ann")
        finally:
            post_save.disconnect(welcome, sender=User)
        assert ear.heard == [(1, "Welcome, ann")]

    def test_a_user_who_is_gone_cannot_send_and_holds_up_nobody(self, caplog):
        user = User.objects.create_user("ann")
        User.objects.filter(pk=user.pk).delete()
        with pytest.raises(InvalidMessage, match="The database does not accept the message"):
            send("hi", author=user)
        assert caplog.records == []
        assert bodies() == []
        assert send("next").offset == 1


@pytest.mark.log_contract
@pytest.mark.django_db(transaction=True)
class TestManyAtOnce:
    def test_they_come_in_the_order_given(self, ear):
        sent = send_many(["a", {"body": "b", "author": "Ann"}, {"body": "c", "group": "news"}, "d"], data={"n": 1})
        assert [(message.group_id, message.offset, message.body) for message in sent] == [
            ("broadcast", 1, "a"),
            ("broadcast", 2, "b"),
            ("news", 1, "c"),
            ("broadcast", 3, "d"),
        ]
        assert [message.author for message in sent] == ["Server", "Ann", "Server", "Server"]
        assert all(message.data == {"n": 1} for message in sent)
        told = [(hint.group, len(hint.frames), hint.head) for hint in ear.hints]
        assert told == [("broadcast", 3, 3), ("news", 1, 1)]

    def test_none_is_nothing(self, ear):
        assert send_many([]) == []
        assert send_many(iter(())) == []
        assert ear.hints == []

    def test_thousands(self):
        sent = send_many(str(number) for number in range(2000))
        assert [message.offset for message in sent] == list(range(1, 2001))
        assert Message.objects.get(offset=1500).body == "1499"

    def test_all_or_nothing_when_one_will_not_do(self, ear):
        with pytest.raises(InvalidMessage):
            send_many(["a", ""])
        assert bodies() == []

    def test_all_or_nothing_when_the_database_refuses_one(self):
        gone = User.objects.create_user("ann")
        User.objects.filter(pk=gone.pk).delete()
        with pytest.raises(InvalidMessage):
            send_many(["a", {"body": "b", "author": gone}])
        assert bodies() == []

    def test_all_or_nothing_inside_a_transaction(self):
        class Stranger:
            is_authenticated, pk = True, "no key of a user"

            def get_username(self):
                return "stranger"

        with transaction.atomic():
            with pytest.raises(ValueError, match="no key of a user"):
                send_many([{"body": "a", "ref": REF}, {"body": "b", "author": Stranger()}])
            send("c")
        assert bodies() == ["c"]

    def test_a_ref_counts_once(self):
        first, second, third = send_many([{"body": "a", "ref": REF}, "b", {"body": "again", "ref": REF}])
        assert (first.offset, second.offset, third.offset) == (1, 2, 1)
        assert third.body == "a"

    @pytest.mark.parametrize("messages", ["text", {"body": "text"}, None, 5])
    def test_what_is_no_list(self, messages):
        with pytest.raises(InvalidMessage, match="send_many expects a list of messages; it came as "):
            send_many(messages)

    def test_what_is_no_message(self):
        with pytest.raises(InvalidMessage, match="A message must be text or a dict; it came as a number"):
            send_many([5])
        with pytest.raises(InvalidMessage, match="it came as nothing"):
            send_many([{"author": "Ann"}])
        with pytest.raises(InvalidMessage, match="may have author, body, data, group, ref, to; it came with 'pers"):
            send_many([{"body": "a", "persist": False, 5: 6}])


@pytest.mark.log_contract
@pytest.mark.django_db(transaction=True)
class TestInsideATransaction:
    def test_the_offset_comes_with_the_commit(self, ear):
        with transaction.atomic():
            message = send("hi")
            assert (message.offset, message.sent_at) == (None, None)
            assert message.pk
            assert ear.hints == []
        assert message.offset == 1
        assert message.sent_at is not None
        assert ear.heard == [(1, "hi")]
        assert seen_by_others() == [(1, "hi")]

    def test_a_rollback_leaves_nothing(self, ear):
        with undone():
            message = send("gone", ref=REF)
        assert message.offset is None
        sentinel = send("sentinel", ref=REF)
        assert ear.heard == [(1, "sentinel")]
        assert sentinel.offset == 1
        assert message.offset is None
        assert seen_by_others() == [(1, "sentinel")]

    def test_a_rolled_back_message_never_gets_the_offset_of_another_with_its_key(self):
        with undone():
            gone = send("gone")
        with transaction.atomic():
            kept = send("kept")
        assert (gone.offset, kept.offset) == (None, 1)

    def test_nobody_else_waits_for_the_groups_row(self):
        with transaction.atomic():
            send("hi", group="news")
            assert not Group.objects.filter(name="news").exists()
        assert Group.objects.get(name="news").head == 1

    def test_many_messages_of_one_transaction(self, ear):
        with transaction.atomic():
            first = send("a")
            more = send_many(["b", {"body": "c", "group": "news"}])
            last = send("d")
        assert [message.offset for message in (first, *more, last)] == [1, 2, 1, 3]
        assert all(message.sent_at for message in (first, *more, last))
        assert sorted(ear.heard) == [(1, "a"), (1, "c"), (2, "b"), (3, "d")]

    def test_a_savepoint_takes_its_messages_along(self, ear):
        with transaction.atomic():
            send("a")
            with undone():
                gone = send("b")
            with transaction.atomic():
                send("c")
        assert ear.heard == [(1, "a"), (2, "c")]
        assert gone.offset is None

    def test_somebody_else_may_have_sequenced_it(self, ear):
        with transaction.atomic():
            transaction.on_commit(lambda: elsewhere(lambda: send("other")))
            mine = send("mine")
        assert ear.heard == [(1, "mine"), (2, "other")]
        assert mine.offset == 1
        assert mine.sent_at is not None

    def test_a_ref_sends_once(self, ear):
        send("before", ref=REF)
        with transaction.atomic():
            again = send("again", ref=REF)
            assert (again.offset, again.body) == (1, "before")
            User.objects.create_user("ann")  # the transaction is sound
        assert User.objects.filter(username="ann").exists()
        assert ear.heard == [(1, "before")]

    def test_a_ref_sends_once_in_one_transaction(self, ear):
        with transaction.atomic():
            first = send("first", ref=REF)
            second = send("again", ref=REF)
            [third, other] = send_many([{"body": "and again", "ref": REF}, "other"])
        assert [message.offset for message in (first, second, third, other)] == [1, 1, 1, 2]
        assert ear.heard == [(1, "first"), (2, "other")]

    @pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has one writer at a time")
    @pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
    def test_a_ref_that_another_transaction_is_about_to_commit(self, ear, level, caplog):
        """Where it is the database that sees the conflict, it says so as ever, and the caller tries again."""
        inserted, finish = threading.Event(), threading.Event()

        def isolate():
            with connection.cursor() as cursor:
                cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")

        def other():
            with transaction.atomic():
                isolate()
                send("other", ref=REF)
                inserted.set()
                finish.wait(30)

        def say_mine():
            with transaction.atomic():
                isolate()
                mine = send("mine", ref=REF)
                User.objects.create_user("ann")
            return mine

        thread = threading.Thread(target=lambda: elsewhere(other))
        thread.start()
        inserted.wait(30)
        threading.Timer(0.1, finish.set).start()
        if level == "SERIALIZABLE":
            with pytest.raises(OperationalError) as conflict:
                say_mine()
            assert conflict.value.__cause__.sqlstate == "40001"
        mine = say_mine()
        thread.join()
        assert caplog.records == []
        assert mine.offset == 1
        assert ear.heard == [(1, "other")]
        assert User.objects.filter(username="ann").exists()

    def test_an_error_of_the_callers_own_stays_the_callers_own(self):
        User.objects.create_user("ann")

        def announce_and_create():
            with transaction.atomic():
                send("hi")
                User.objects.create_user("ann")

        with pytest.raises(IntegrityError):
            announce_and_create()
        assert bodies() == []

    def test_a_transaction_that_the_caller_broke_is_told_as_django_tells_it(self, caplog):
        User.objects.create_user("ann")
        with transaction.atomic():
            with pytest.raises(IntegrityError):
                User(username="ann").save(force_insert=True)
            with pytest.raises(transaction.TransactionManagementError):
                send("hi")
            transaction.set_rollback(True)
        assert caplog.records == []
        assert bodies() == []

    def test_a_transaction_of_many_threads_each(self, ear):
        def both(name: str):
            with transaction.atomic():
                return send_many([f"{name}1", f"{name}2"])

        sent = together(*(lambda name=name: both(name) for name in "abcdef"))
        assert sorted(message.offset for messages in sent for message in messages) == list(range(1, 13))
        for one, two in sent:
            assert one.offset < two.offset
        until(lambda: len(ear.heard) == 12)
        assert len(set(ear.heard)) == 12

    def test_with_autocommit_off_it_comes_with_the_commit(self):
        transaction.set_autocommit(False)
        try:
            gone = send_many(["gone", {"body": "gone too", "ref": REF}])
            transaction.rollback()
            kept = send("kept", ref=REF)
            assert seen_by_others() == []
            transaction.commit()
        finally:
            transaction.set_autocommit(True)
        assert kept.offset is None
        assert [message.offset for message in gone] == [None, None]
        assert seen_by_others() == [(None, "kept")]
        assert bodies() == ["kept"]

    def test_atomic_blocks_where_autocommit_is_off(self):
        transaction.set_autocommit(False)
        try:
            User.objects.create_user("ann")  # SQLite has no savepoints before a transaction has begun
            with transaction.atomic():
                send("kept")
            transaction.commit()
        finally:
            transaction.set_autocommit(True)
        assert bodies() == ["kept"]

    def test_a_failure_to_sequence_is_left_to_the_next_look(self, ear, caplog):
        def close_the_log():
            connection.execute_wrappers.append(refuse)

        def refuse(execute, sql, params, many, context):
            raise DatabaseError("gone for a while")

        with transaction.atomic():
            transaction.on_commit(close_the_log)
            message = send("hi")
        connection.execute_wrappers.remove(refuse)
        assert message.offset is None
        [record] = caplog.records
        assert record.levelname == "ERROR"
        assert "gone for a while" in record.message
        assert send("next").offset == 2
        assert ear.heard == [(1, "hi"), (2, "next")]

    def test_a_message_that_is_deleted_meanwhile(self):
        with transaction.atomic():
            message = send("hi")
            Message.objects.all().delete()
        assert message.offset is None

    def test_one_whose_process_dies_before_it_is_sequenced(self):
        process = python(
            """
            import os
            from django.db import transaction
            with transaction.atomic():
                transaction.on_commit(lambda: os._exit(9))
                send("committed")
            """
        )
        ended(process, 9)
        assert seen_by_others() == [(None, "committed")]
        assert log.heads(["broadcast"]) == {}
        assert send("next").offset == 2
        assert bodies() == ["committed", "next"]


@pytest.mark.django_db(transaction=True)
class TestARequestThatIsATransaction:
    def test_its_messages_come_with_its_end(self, settings, client, ear):
        settings.ROOT_URLCONF = __name__
        settings.DATABASES["default"]["ATOMIC_REQUESTS"] = True
        try:
            assert client.get("/send").json() == {"offset": None}
            assert ear.heard == [(1, "from a view")]
            with pytest.raises(Oops):
                client.get("/send?fail")
            assert client.get("/send").json() == {"offset": None}
        finally:
            settings.DATABASES["default"]["ATOMIC_REQUESTS"] = False
        assert ear.heard == [(1, "from a view"), (2, "from a view")]
        assert client.get("/send").json() == {"offset": 3}


def sending_view(request):
    message = send("from a view")
    if "fail" in request.GET:
        raise Oops
    return JsonResponse({"offset": message.offset})


async def async_view(request):
    message = await asend("from a view", author=request.user)
    return JsonResponse({"offset": message.offset, "author": message.author})


urlpatterns = [path("send", sending_view), path("asend", async_view)]


class TestWithinATestCase(TestCase):
    def test_a_message_is_sent_at_once(self):
        assert send("a").offset == 1
        assert [message.offset for message in send_many(["b", "c"])] == [2, 3]
        assert bodies() == ["a", "b", "c"]

    def test_nothing_is_left_by_other_tests(self):
        assert send("a").offset == 1

    def test_a_ref_sends_once(self):
        assert send("a", ref=REF) == send("b", ref=REF)

    def test_a_transaction_of_the_code_under_test_waits_for_its_commit(self):
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            message = send("a")
            assert message.offset is None
        assert message.offset == 1

    def test_an_error_does_not_spoil_the_test(self):
        with pytest.raises(InvalidMessage):
            send("")
        assert send("a").offset == 1

    async def test_from_async_code(self):
        assert (await asend("a")).offset == 1

    def test_through_async_code(self):
        assert async_to_sync(asend)("a").offset == 1


class TestWithinATransactionTestCase(TransactionTestCase):
    def test_a_message_is_sent_at_once(self):
        assert send("a").offset == 1


@pytest.mark.django_db(transaction=True)
class TestAsyncCode:
    async def test_asend(self, ear):
        message = await asend("hi", author="Ann", data={"a": 1}, ref=REF, group="news")
        assert (message.offset, message.author, message.data, message.ref) == (1, "Ann", {"a": 1}, REF)
        assert ear.heard == [(1, "hi")]

    async def test_asend_many(self, ear):
        sent = await asend_many(["a", "b"], group="news", author="Ann", data={"n": 1})
        assert [(message.offset, message.author, message.data) for message in sent] == [
            (1, "Ann", {"n": 1}),
            (2, "Ann", {"n": 1}),
        ]
        assert ear.heard == [(1, "a"), (2, "b")]

    async def test_an_ephemeral_one_has_nothing_to_wait_for_where_somebody_listens(self, ear):
        current_hub()
        turns: list[None] = []
        asyncio.get_running_loop().call_soon(turns.append, None)
        for number in range(3):
            await asend(str(number), persist=False)
        assert turns == []
        await asyncio.to_thread(until, lambda: ear.heard == [(None, "0"), (None, "1"), (None, "2")])

    async def test_many_at_once(self):
        sent = await asyncio.gather(*(asend(str(number)) for number in range(20)))
        assert sorted(message.offset for message in sent) == list(range(1, 21))

    async def test_bad_arguments(self):
        with pytest.raises(InvalidMessage):
            await asend("")
        with pytest.raises(InvalidMessage):
            await asend_many([""])

    async def test_a_user_who_is_not_loaded_yet(self):
        user = await User.objects.acreate(username="ann")
        lazy = SimpleLazyObject(lambda: User.objects.get(pk=user.pk))
        assert (await asend("hi", author=lazy)).user_id == user.pk
        lazy = SimpleLazyObject(lambda: User.objects.get(pk=user.pk))
        assert (await asend_many(["hi"], author=lazy))[0].user_id == user.pk

    async def test_inside_the_transaction_of_a_thread_sensitive_call(self, ear):
        def work():
            with transaction.atomic():
                message = async_to_sync(asend)("hi")
                assert message.offset is None
            return message

        assert (await sync_to_async(work)()).offset == 1
        assert ear.heard == [(1, "hi")]

    async def test_send_names_the_way_out(self, ear):
        with pytest.raises(SynchronousOnlyOperation, match=r"await asend\(…\)"):
            send("hi")
        with pytest.raises(SynchronousOnlyOperation, match=r"await asend\(…\)"):
            send_many(["hi"])
        assert ear.hints == []

    async def test_an_ephemeral_message_may_be_sent_without_waiting(self, ear):
        assert send("typing", persist=False).offset is None
        assert ear.heard == [(None, "typing")]
        await asyncio.sleep(0)


def test_the_user_of_an_async_view(settings, async_client, transactional_db):
    settings.ROOT_URLCONF = __name__

    async def visit():
        user = await User.objects.acreate(username="ann")
        await async_client.aforce_login(user)
        return await async_client.get("/asend")

    assert async_to_sync(visit)().json() == {"offset": 1, "author": "ann"}


@pytest.mark.django_db(transaction=True)
class TestEphemeral:
    def test_it_is_shown_and_not_kept(self, ear):
        message = send("typing", persist=False, group="news")
        assert (message.offset, message.sent_at, message.pk) == (None, None, None)
        assert ear.heard == [(None, "typing")]
        assert (ear.hints[0].group, ear.hints[0].head, ear.hints[0].epoch) == ("news", None, "")
        assert not Message.objects.exists()

    def test_it_waits_for_no_commit(self, ear):
        with undone():
            send_many(["a", "b"], persist=False)
        assert ear.heard == [(None, "a"), (None, "b")]

    def test_it_is_checked_all_the_same(self):
        with pytest.raises(InvalidMessage):
            send("", persist=False)


class TestWithoutALog:
    """This module's tests without a mark may not use the database, as in any site's tests."""

    def test_without_database_access_it_is_live_only(self, ear, caplog):
        message = send("hi")
        assert (message.offset, message.sent_at, message.body) == (None, None, "hi")
        assert [message.offset for message in send_many(["a", "b"])] == [None, None]
        assert ear.heard == [(None, "hi"), (None, "a"), (None, "b")]
        [record] = caplog.records
        assert (record.name, record.levelno) == ("broadcast", logging.ERROR)
        assert "There is no message log" in record.message

    async def test_from_async_code(self, ear):
        assert (await asend("hi")).offset is None
        assert ear.heard == [(None, "hi")]

    def test_before_migrate_it_is_live_only(self, tmp_path):
        """In a process of its own, on a database without tables."""
        process = python(
            """
            from django.db import transaction
            assert send("a").offset is None
            assert send("b", ref="12345678-1234-5678-1234-567812345678").offset is None
            with transaction.atomic():
                assert send("c").offset is None
            from django.core.management import call_command
            call_command("migrate", verbosity=0)
            assert send("d").offset == 1
            """,
            DATABASE_URL=f"sqlite:///{tmp_path / 'empty.sqlite3'}",
        )
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        lines = [line for line in said.splitlines() if "broadcast" in line]
        assert len(lines) == 2, said
        assert " ERROR " in lines[0]
        assert lines[0].endswith("its tables do not exist; run: python manage.py migrate")
        assert "messages are kept and can be caught up on" in lines[1]


class TestTestCaseWithoutDatabase:
    def test_a_simple_test_case(self):
        from django.test import SimpleTestCase

        class Case(SimpleTestCase):
            def runTest(self):
                assert send("hi").offset is None

        result = Case().run()
        assert result.wasSuccessful(), result.errors + result.failures


class TestAUser:
    @pytest.mark.parametrize("user", [AnonymousUser(), User(username="unsaved")])
    def test_must_be_saved(self, user):
        with pytest.raises(InvalidMessage, match="a saved user"):
            send("hi", author=user)

    def test_may_have_a_number_for_a_name(self, ear):
        class Employee:
            is_authenticated, pk = True, 7

            def get_username(self):
                return 4711

        assert send("hi", author=Employee()).author == "4711"

    def test_may_have_a_name_that_is_too_long(self, ear):
        assert send("hi", author=User(pk=1, username="x" * 300)).author == "x" * 255

    def test_must_have_a_name(self):
        with pytest.raises(InvalidMessage, match="The author must be text that is not empty"):
            send("hi", author=User(pk=1, username=""))


@pytest.mark.django_db(transaction=True)
class TestWhenTheLogFails:
    @pytest.fixture
    def failing(self):
        def refuse(execute, sql, params, many, context):
            raise DatabaseError("no disk")

        with connection.execute_wrapper(refuse):
            yield

    def test_nothing_is_sent(self, failing, ear, caplog):
        for _ in range(2):
            with pytest.raises(LogUnavailable, match="The message log cannot be used right now: no disk"):
                send("hi")
        assert ear.hints == []
        assert [record.levelname for record in caplog.records] == ["ERROR"]

    @pytest.mark.parametrize("places", [{""}, {"sending"}, {"", "sending"}])
    def test_it_is_told_when_the_log_is_back(self, ear, caplog, places):
        publishing.log_failing._places |= places
        send("hi")
        assert [(record.levelname, record.message) for record in caplog.records] == [
            ("WARNING", "The message log can be used again")
        ]

    def test_a_database_that_cannot_be_opened(self, tmp_path):
        process = python(
            """
            from broadcast.exceptions import LogUnavailable
            try:
                send("hi")
            except LogUnavailable as error:
                print(error)
            """,
            DATABASE_URL=f"sqlite:///{tmp_path / 'no' / 'such' / 'directory.sqlite3'}",
        )
        assert "The message log cannot be reached: unable to open database file" in ended(process)


def test_listeners_are_told_what_was_sent(ear):
    told = []
    publishing.listeners.append(told.append)
    try:
        message = send("hi", persist=False)
    finally:
        publishing.listeners.remove(told.append)
    assert told == [[message]]


@pytest.mark.django_db(transaction=True)
class TestRelaying:
    """What a connection says is sent in the threads of its loop's hub."""

    async def relayed(self, body: str = "hi", **fields) -> Message:
        return await relay(Draft("broadcast", "guest", "Ann", body, **fields))

    async def test_it_is_sent(self, ear):
        message = await self.relayed()
        assert (message.offset, message.source) == (1, "guest")
        await asyncio.to_thread(until, lambda: ear.heard == [(1, "hi")])

    async def test_many_at_once(self, ear):
        sent = await asyncio.gather(*(self.relayed(str(number)) for number in range(50)))
        assert [message.offset for message in sent] == list(range(1, 51))
        await asyncio.to_thread(until, lambda: len(ear.heard) == 50)

    async def test_one_whose_connection_ends_meanwhile_holds_up_nobody(self):
        """However far each had come when it was cancelled."""
        sends = [asyncio.create_task(self.relayed(str(number))) for number in range(60)]
        for number, task in enumerate(sends):
            if number % 3 == 0:
                await asyncio.sleep(0)
                task.cancel()
        results = await asyncio.wait_for(asyncio.gather(*sends, return_exceptions=True), 30)
        assert all(isinstance(results[number], Message) for number in range(60) if number % 3)

    async def test_a_ref_sends_once(self, ear):
        sent = await asyncio.gather(*(self.relayed(ref=REF, has_client_ref=True) for _ in range(5)))
        assert {message.offset for message in sent} == {1}

    async def test_when_the_log_fails(self, ear, caplog, monkeypatch):
        def refuse(execute, sql, params, many, context):
            raise DatabaseError("no disk")

        def fail_there():
            connection.execute_wrappers.append(refuse)

        threads = await current_hub().threads()
        await threads.write(fail_there)
        with pytest.raises(LogUnavailable, match="no disk"):
            await self.relayed()
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        await threads.write(lambda: connection.execute_wrappers.clear())
        assert (await self.relayed()).offset == 1
        assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


async def test_relaying_without_a_log_is_live_only(ear, caplog):
    message = await relay(Draft("broadcast", "guest", "Ann", "hi"))
    assert message.offset is None
    assert ear.heard == [(None, "hi")]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


class TestRelayingWithinATestCase(TestCase):
    def test_it_is_part_of_the_tests_own_transaction(self):
        assert async_to_sync(relay)(Draft("broadcast", "guest", "Ann", "hi")).offset == 1
        assert bodies() == ["hi"]


def test_json_is_what_hints_carry(ear):
    send("hi", persist=False, data={"a": [1, None, True, 1.5, "x"]})
    assert json.loads(json.dumps(ear.hints[0].frames[0].fields))["data"] == {"a": [1, None, True, 1.5, "x"]}


def test_no_user_writes_under_the_servers_name(django_user_model, db):
    user = django_user_model.objects.create_user("SERVER")
    with pytest.raises(InvalidMessage, match="under which this site speaks"):
        send("hi", author=user)


def test_a_lazy_translation_is_text(db):
    assert send(gettext_lazy("Yes")).body == "Yes"


def test_persist_must_be_a_bool():
    with pytest.raises(InvalidMessage, match="persist must be True or False"):
        send("hi", persist="no")  # type: ignore[arg-type]
