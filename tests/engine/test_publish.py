"""Sending: from anywhere, inside and outside of transactions, with a log and without."""

import asyncio
import json
import threading
import uuid
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import SynchronousOnlyOperation
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, OperationalError, connection, transaction
from django.test import SimpleTestCase, TestCase
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy

from broadcast import asend, asend_many, send, send_many
from broadcast.engine.hints.hint import Hint
from broadcast.engine.process import current_process, this_process
from broadcast.engine.publish import relay
from broadcast.engine.storage.database import PATIENCE
from broadcast.exceptions import InvalidMessage, LogUnavailable
from broadcast.models import Group, Message
from tests.kit.log import autocommit_off, committed, failing_if, stored, wrapper_of
from tests.kit.processes import elsewhere, together
from tests.kit.streams import draft
from tests.kit.waiting import wait_until

User = get_user_model()

REF = uuid.UUID("12345678-1234-5678-1234-567812345678")

with_log = pytest.mark.django_db(transaction=True)


class Ear:
    """A node as senders see it: it hears the hints of its process."""

    def __init__(self) -> None:
        self.loop: Any = asyncio.new_event_loop()
        self.loop.call_soon_threadsafe = lambda function, *args: function(*args)
        self.hub = self
        self.hints: list[Hint] = []

    def on_hint(self, hint: Hint) -> None:
        self.hints.append(hint)

    @property
    def heard(self) -> list[tuple[int | None, str]]:
        return [(frame.offset, frame.fields["body"]) for hint in self.hints for frame in hint.frames]


@pytest.fixture
def ear():
    ear = Ear()
    this_process.nodes[ear.loop] = ear
    yield ear
    this_process.nodes.pop(ear.loop)
    ear.loop.close()


def kept() -> list[str]:
    """What the log holds, once what waits is sequenced."""
    this_process.log.sequence("broadcast", PATIENCE)
    return [body for _, body in stored()]


@contextmanager
def undone():
    """A transaction, or a part of one, that is rolled back."""
    with suppress(ZeroDivisionError), transaction.atomic():
        yield
        raise ZeroDivisionError


@pytest.mark.log_contract
@with_log
class TestOutsideATransaction:
    def test_a_message_is_in_the_log_when_send_returns(self, ear):
        before = timezone.now()
        message = send("hello")
        assert (message.offset, message.body, message.group_id, message.author) == (1, "hello", "broadcast", "Server")
        assert (message.source, message.user_id, message.data) == ("server", None, None)
        assert before <= message.sent_at <= timezone.now()
        assert Message.objects.get(pk=message.pk).sent_at == message.sent_at
        assert committed() == ear.heard == [(1, "hello")]

    def test_all_arguments(self, ear):
        data = {"level": "info"}
        message = send("hi", group="news.sport", author="Ann", data=data, ref=str(REF))
        data["level"] = "changed later"
        found = Message.objects.get(pk=message.pk)
        assert message.data == ear.hints[0].frames[0].fields["data"] == {"level": "info"}
        assert (found.group_id, found.author, found.data, found.ref) == ("news.sport", "Ann", {"level": "info"}, REF)

    def test_a_user_signs_with_their_own_name(self):
        user = User.objects.create_user("ann")
        message = send("hi", author=user)
        assert (message.author, message.source, message.user_id) == ("ann", "user", user.pk)
        assert Message.objects.get(pk=message.pk).user == user
        assert send("hi", author=SimpleLazyObject(lambda: user)).user_id == user.pk  # as that of a request

    def test_a_ref_sends_once_from_many_threads(self, ear):
        first = send("hi", ref=REF)
        sent = together(*[lambda: send("again", ref=str(REF))] * 8)
        assert {(message.pk, message.offset, message.body) for message in sent} == {(first.pk, 1, "hi")}
        assert ear.heard == [(1, "hi")]

    def test_threads_get_their_own_messages(self, ear):
        """One that is sent after another's return comes later."""

        def some(name):
            offsets = [-1]
            for number in range(5):
                before = this_process.log.head("broadcast").offset
                message = send(f"{name}{number}")
                assert message.body == f"{name}{number}"
                assert message.offset > max(before, offsets[-1])
                offsets.append(message.offset)
            return offsets[1:]

        offsets = together(*(lambda name=name: some(name) for name in "abcdef"))
        assert sorted(each for some in offsets for each in some) == list(range(1, 31))
        wait_until(lambda: len(ear.heard) == 30)
        assert sorted(ear.heard) == committed()


@pytest.mark.log_contract
@with_log
class TestManyAtOnce:
    def test_they_come_in_the_order_given(self, ear):
        assert send_many([]) == send_many(iter(())) == ear.hints == []
        sent = send_many(["a", {"body": "b", "author": "Ann"}, {"body": "c", "group": "news"}, "d"], data={"n": 1})
        assert [(message.group_id, message.offset, message.body, message.author) for message in sent] == [
            ("broadcast", 1, "a", "Server"),
            ("broadcast", 2, "b", "Ann"),
            ("news", 1, "c", "Server"),
            ("broadcast", 3, "d", "Server"),
        ]
        assert all(message.data == {"n": 1} for message in sent)
        told = [(hint.group, len(hint.frames), hint.head) for hint in ear.hints]
        assert told == [("broadcast", 3, 3), ("news", 1, 1)]

    def test_all_or_nothing_when_one_will_not_do(self):
        stranger = SimpleNamespace(is_authenticated=True, pk="no key of a user", get_username=lambda: "stranger")
        with pytest.raises(InvalidMessage):
            send_many(["a", ""])
        with transaction.atomic():
            with pytest.raises(ValueError, match="no key of a user"):
                send_many([{"body": "a", "ref": REF}, {"body": "b", "author": stranger}])
            send("c")
        assert kept() == ["c"]

    @pytest.mark.parametrize("messages", ["text", {"body": "text"}, None, 5])
    def test_what_is_no_list(self, messages):
        with pytest.raises(InvalidMessage, match="send_many expects a list of messages; it came as "):
            send_many(messages)

    @pytest.mark.parametrize(
        ("item", "text"),
        [
            (5, "A message must be text or a dict; it came as a number"),
            ({"author": "Ann"}, "it came as nothing"),
            (
                {"body": "a", "persist": False, 5: 6},
                "may have author, body, by, data, group, ref, to; it came with 'pers",
            ),
        ],
    )
    def test_what_is_no_message(self, item, text):
        with pytest.raises(InvalidMessage, match=text):
            send_many([item])


@pytest.mark.log_contract
@with_log
class TestInsideATransaction:
    def test_offsets_come_with_the_commit(self, ear):
        with transaction.atomic():
            first = send("a")
            assert (first.offset, first.sent_at) == (None, None)
            assert first.pk
            more = send_many(["b", {"body": "c", "group": "news"}])
            last = send("d")
            assert not Group.objects.exists()  # so nobody else waits for a row of it
            assert ear.hints == []
        assert [message.offset for message in (first, *more, last)] == [1, 2, 1, 3]
        assert all(message.sent_at for message in (first, *more, last))
        assert sorted(ear.heard) == [(1, "a"), (1, "c"), (2, "b"), (3, "d")]
        assert committed() == [(1, "a"), (2, "b"), (3, "d")]

    def test_a_rollback_leaves_nothing(self, ear):
        """The key of what is gone may be given again, and then to a message that is another."""
        with undone():
            gone = send("gone", ref=REF)
        with transaction.atomic():
            kept = send("kept", ref=REF)
            with undone():
                also_gone = send("also gone")
            with transaction.atomic():
                send("c")
        assert [message.offset for message in (gone, kept, also_gone)] == [None, 1, None]
        assert committed() == ear.heard == [(1, "kept"), (2, "c")]

    def test_somebody_else_may_have_sequenced_it(self, ear):
        with transaction.atomic():
            transaction.on_commit(lambda: elsewhere(lambda: send("other")))
            mine = send("mine")
        assert ear.heard == [(1, "mine"), (2, "other")]
        assert (mine.offset, mine.sent_at is None) == (1, False)

    def test_a_ref_sends_once(self, ear):
        send("before", ref=REF)
        new = uuid.uuid4()
        with transaction.atomic():
            again = send("again", ref=REF)
            assert (again.offset, again.body) == (1, "before")
            sent = [send("new", ref=new), send("again", ref=new), *send_many([{"body": "again", "ref": new}, "other"])]
        assert [message.offset for message in sent] == [2, 2, 2, 3]
        assert committed() == ear.heard == [(1, "before"), (2, "new"), (3, "other")]

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

    def test_an_error_of_the_callers_own_stays_the_callers_own(self, caplog):
        User.objects.create_user("ann")

        @transaction.atomic
        def announce_and_create():
            send("hi")
            User.objects.create_user("ann")

        with pytest.raises(IntegrityError):
            announce_and_create()
        with transaction.atomic():
            with pytest.raises(IntegrityError):
                User(username="ann").save(force_insert=True)
            with pytest.raises(transaction.TransactionManagementError):  # as Django tells of a broken transaction
                send("hi")
            transaction.set_rollback(True)
        assert caplog.records == []
        assert kept() == []

    def test_with_autocommit_off_it_comes_with_the_commit(self):
        with autocommit_off():
            gone = send_many(["gone", {"body": "gone too", "ref": REF}])
            transaction.rollback()
            sent = [send("kept", ref=REF)]
            with transaction.atomic():
                sent.append(send("too"))
            assert committed() == []
            transaction.commit()
        assert [message.offset for message in (*gone, *sent)] == [None] * 4
        assert committed() == [(None, "kept"), (None, "too")]
        assert kept() == ["kept", "too"]

    def test_a_failure_to_sequence_is_left_to_the_next_who_looks(self, ear, caplog):
        refuse = wrapper_of(lambda sql: DatabaseError("gone for a while"))
        with transaction.atomic():
            transaction.on_commit(lambda: connection.execute_wrappers.append(refuse))
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


class TestWithinATestCase(TestCase):
    def test_nothing_is_left_by_other_tests_and_an_error_spoils_nothing(self):
        with pytest.raises(InvalidMessage):
            send("")
        assert send("a", ref=REF) == send("b", ref=REF)
        assert kept() == ["a"]

    def test_a_transaction_of_the_code_under_test_waits_for_its_commit(self):
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            message = send("a")
            assert message.offset is None
        assert message.offset == 1

    async def test_from_async_code(self):
        assert (await asend("a")).offset == 1

    def test_through_async_code(self):
        async def relayed() -> list[Message]:
            with current_process().node() as node:
                return await relay(node, [draft("b")])

        assert async_to_sync(asend)("a").offset == 1
        assert async_to_sync(relayed)()[0].offset == 2
        assert kept() == ["a", "b"]


class TestWithinASimpleTestCase(SimpleTestCase):
    def test_a_message_is_live_only(self):
        assert send("hi").offset is None


@with_log
class TestAsyncCode:
    async def test_all_arguments(self, ear):
        message = await asend("hi", author="Ann", data={"a": 1}, ref=REF, group="news")
        assert (message.offset, message.author, message.data, message.ref) == (1, "Ann", {"a": 1}, REF)
        sent = await asend_many(["a", "b"], group="news", author="Ann", data={"n": 1})
        assert [(m.offset, m.author, m.data) for m in sent] == [(2, "Ann", {"n": 1}), (3, "Ann", {"n": 1})]
        assert ear.heard == [(1, "hi"), (2, "a"), (3, "b")]

    async def test_an_ephemeral_one_has_nothing_to_wait_for_where_somebody_listens(self, ear):
        turns: list[None] = []
        with current_process().node():
            asyncio.get_running_loop().call_soon(turns.append, None)
            await asend("0", persist=False)
            assert send("1", persist=False).offset is None
        assert (turns, ear.heard) == ([], [(None, "0"), (None, "1")])

    async def test_a_user_who_is_not_loaded_yet(self):
        user = await User.objects.acreate(username="ann")
        for sending in (lambda lazy: asend("hi", author=lazy), lambda lazy: asend_many(["hi"], author=lazy)):
            await sending(SimpleLazyObject(lambda: User.objects.get(pk=user.pk)))
        assert await Message.objects.filter(user_id=user.pk).acount() == 2

    async def test_inside_the_transaction_of_a_thread_sensitive_call(self, ear):
        def work():
            with transaction.atomic():
                message = async_to_sync(asend)("hi")
                assert message.offset is None
            return message

        assert (await sync_to_async(work)()).offset == 1
        assert ear.heard == [(1, "hi")]

    async def test_send_names_the_way_out_and_bad_arguments_are_refused(self, ear):
        for sending in (lambda: send("hi"), lambda: send_many(["hi"])):
            with pytest.raises(SynchronousOnlyOperation, match=r"await asend\(…\)"):
                sending()
        for refused in (asend(""), asend_many([""])):
            with pytest.raises(InvalidMessage):
                await refused
        assert ear.hints == []


@with_log
def test_an_ephemeral_message_is_shown_and_not_kept(ear):
    """It waits for no commit, and is checked all the same."""
    with undone():
        message = send("typing", persist=False, group="news", data={"a": [1, None, True, 1.5, "x"]})
        send_many(["a", "b"], persist=False)
    assert (message.offset, message.sent_at, message.pk) == (None, None, None)
    assert ear.heard == [(None, "typing"), (None, "a"), (None, "b")]
    assert (ear.hints[0].group, ear.hints[0].head, ear.hints[0].epoch) == ("news", None, "")
    assert json.loads(json.dumps(ear.hints[0].frames[0].fields))["data"] == message.data
    with pytest.raises(InvalidMessage):
        send("", persist=False)
    with pytest.raises(InvalidMessage, match="persist must be True or False"):
        send("hi", persist="no")
    assert not Message.objects.exists()


class TestWithoutALog:
    """Tests without a mark may not use the database, as in any site's tests."""

    async def test_without_database_access_it_is_live_only(self, ear, caplog):
        sent = await sync_to_async(lambda: [send("hi"), *send_many(["a", "b"])])()
        with current_process().node() as node:
            sent += [await asend("c"), *await relay(node, [draft("d")])]
        assert [(message.offset, message.sent_at) for message in sent] == [(None, None)] * 5
        assert ear.heard == [(None, body) for body in ("hi", "a", "b", "c", "d")]
        [record] = caplog.records
        assert (record.name, record.levelname) == ("broadcast", "ERROR")
        assert "There is no message log" in record.message

    @with_log
    def test_before_migrate_it_is_live_only(self, caplog):
        call_command("migrate", "broadcast", "zero", verbosity=0)
        try:
            assert [message.offset for message in (send("a"), send("b", ref=REF))] == [None, None]
            with transaction.atomic():
                assert send("c").offset is None
        finally:
            call_command("migrate", "broadcast", verbosity=0)
        assert send("d").offset == 1
        first, last = [record for record in caplog.records if record.name == "broadcast"]
        assert (first.levelname, last.levelname) == ("ERROR", "WARNING")
        assert first.message.endswith("its tables do not exist; run: python manage.py migrate")
        assert "messages are kept and can be caught up on" in last.message


class TestAUser:
    @pytest.mark.parametrize(
        ("user", "text"),
        [
            (AnonymousUser(), "a saved user"),
            (User(username="unsaved"), "a saved user"),
            (User(pk=1, username=""), "The author must be text that is not empty"),
            (User(pk=1, username="SERVER"), "under which this site speaks"),
        ],
    )
    def test_must_be_saved_and_have_a_name_of_their_own(self, user, text):
        with pytest.raises(InvalidMessage, match=text):
            send("hi", author=user)

    def test_may_have_a_number_or_a_long_text_for_a_name(self):
        employee = SimpleNamespace(is_authenticated=True, pk=7, get_username=lambda: 4711)
        assert send("hi", author=employee).author == "4711"
        assert send("hi", author=User(pk=1, username="x" * 300)).author == "x" * 255


def test_a_lazy_translation_is_text():
    assert send(gettext_lazy("Yes")).body == "Yes"


@with_log
def test_when_the_log_fails_nothing_is_sent_until_it_is_back(ear, caplog):
    with failing_if(lambda sql: DatabaseError("no disk")):
        for _ in range(2):
            with pytest.raises(LogUnavailable, match="The message log cannot be used right now: no disk"):
                send("hi")
    assert ear.hints == []
    this_process.health.log.fail("as a reader reports it")
    send("hi")
    said = [(record.levelname, record.message) for record in caplog.records]
    assert [level for level, _ in said] == ["ERROR", "WARNING"]
    assert said[1][1] == "The message log can be used again"


@with_log
class TestRelaying:
    """What a client says is sent in the threads of its node."""

    @pytest.fixture
    async def relayed(self):
        async def relayed(body: str = "hi", **fields: Any) -> Message:
            [message] = await relay(node, [draft(body, source="guest", **fields)])
            return message

        with current_process().node() as node:
            yield relayed

    async def test_a_ref_sends_once_and_listeners_are_told_of_it_once(self, relayed, ear):
        told = []
        this_process.listeners.append(told.extend)
        try:
            sent = [await relayed(ref=REF), *await asyncio.gather(*(relayed(ref=REF) for _ in range(4)))]
        finally:
            this_process.listeners.remove(told.extend)
        assert {(message.offset, message.source) for message in sent} == {(1, "guest")}
        await asyncio.to_thread(wait_until, lambda: ear.heard == [(1, "hi")])
        assert told == [sent[0]]

    async def test_many_at_once_however_many_leave(self, relayed, ear):
        """However far each had come when it was cancelled, it holds up nobody."""
        sends = [asyncio.create_task(relayed(str(number))) for number in range(60)]
        for number, task in enumerate(sends):
            if number % 3 == 0:
                await asyncio.sleep(0)
                task.cancel()
        results = await asyncio.wait_for(asyncio.gather(*sends, return_exceptions=True), 30)
        stayed = [results[number].offset for number in range(60) if number % 3]
        assert stayed == sorted(stayed)
        assert len(set(stayed)) == 40
