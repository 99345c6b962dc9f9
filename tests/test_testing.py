"""What sites test with: messages are collected wherever and however they are sent."""

import subprocess
import sys
import threading

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import transaction
from django.test import SimpleTestCase, TestCase, TransactionTestCase

from broadcast import asend, asend_many, send, send_many
from broadcast.exceptions import InvalidMessage
from broadcast.models import Message
from broadcast.testing import capture_broadcasts
from tests.site import ROOT


class InSimpleTestCase(SimpleTestCase):
    async def test_messages_of_async_tests_are_collected(self):
        with capture_broadcasts() as captured:
            await asend_many(["one", "two"])
        assert [message.body for message in captured] == ["one", "two"]


class InTestCase(TestCase):
    def test_messages_are_collected_with_their_offsets_and_authors(self):
        ann, bob = (User.objects.create(username=name) for name in ("ann", "bob"))
        with capture_broadcasts() as captured:
            send("one", author=ann)
            send_many(["two", "three"])
        assert [(message.offset, message.body) for message in captured] == [(1, "one"), (2, "two"), (3, "three")]
        captured.assert_sent(author=ann)
        captured.assert_sent(author="ann")
        captured.assert_sent(author=bob, times=0)

    def test_a_message_that_is_rolled_back_was_sent_all_the_same(self):
        with capture_broadcasts() as captured, transaction.atomic():
            send("hello")
            captured.assert_sent(body="hello")
            transaction.set_rollback(True)
        assert not Message.objects.exists()
        captured.assert_sent(body="hello")


class InTransactionTestCase(TransactionTestCase):
    def test_messages_are_collected_and_get_their_offsets_with_the_commit(self):
        with capture_broadcasts() as captured, transaction.atomic():
            send("hello")
            assert captured[0].offset is None
        assert captured[0].offset == 1


def test_the_fixture_collects_without_database_access(broadcasts):
    send("hello", persist=False)
    broadcasts.assert_sent(body="hello")
    with pytest.raises(InvalidMessage):
        send("")
    assert [message.body for message in broadcasts] == ["hello"]


@pytest.mark.django_db(transaction=True)
async def test_the_fixture_collects_in_async_tests_with_database_access(broadcasts):
    await asend("hello")
    assert [message.offset for message in broadcasts] == [1]


def test_what_other_threads_and_loops_send_is_collected(broadcasts):
    thread = threading.Thread(target=send, args=["from a thread"])
    thread.start()
    thread.join()
    async_to_sync(asend)("from a loop")
    assert [message.body for message in broadcasts] == ["from a thread", "from a loop"]


def test_it_ends_with_the_block_however_that_ends():
    with pytest.raises(ZeroDivisionError), capture_broadcasts() as captured:
        raise ZeroDivisionError
    send("later")
    captured.assert_nothing_sent()


def test_blocks_inside_each_other_collect_for_themselves():
    with capture_broadcasts() as outer, capture_broadcasts("staff") as of_staff:
        with capture_broadcasts() as inner:
            send("both")
        send("outer", group="staff")
    assert [message.body for message in inner] == ["both"]
    assert [message.body for message in outer] == ["both", "outer"]
    assert [message.body for message in of_staff] == ["outer"]


# What failing assertions say


def test_a_failure_shows_what_was_sent(broadcasts):
    send("dinner")
    send("lunch", group="staff", data={"level": "info"})
    with pytest.raises(AssertionError) as failure:
        broadcasts.assert_sent(body="lunch", group="broadcast", data=None)
    assert str(failure.value) == (
        "Expected 1 of send(group='broadcast', body='lunch', data=None), found 0. This was sent:\n"
        "  author='Server', group='broadcast', body='dinner'\n"
        "  author='Server', group='staff', body='lunch', data={'level': 'info'}"
    )


def test_messages_are_counted(broadcasts):
    with pytest.raises(AssertionError, match=r"^Expected 1 of send\(\), found 0. Nothing was sent.$"):
        broadcasts.assert_sent()
    send_many(["again", "again", "other"])
    broadcasts.assert_sent(body="again", times=2)
    broadcasts.assert_sent(body="never", times=0)
    broadcasts.assert_sent(times=3)
    with pytest.raises(AssertionError, match=r"Expected 1 of send\(body='again'\), found 2\."):
        broadcasts.assert_sent(body="again")


@pytest.mark.parametrize("wrong", [{"author": "Ann"}, {"group": "staff"}, {"body": "other"}, {"data": None}])
def test_everything_given_must_fit(broadcasts, wrong):
    send("hello", data={"a": 1})
    sent = {"author": "Server", "group": "broadcast", "body": "hello", "data": {"a": 1}}
    broadcasts.assert_sent(**sent)
    with pytest.raises(AssertionError):
        broadcasts.assert_sent(**(sent | wrong))


def test_sending_nothing_can_be_asked_for(broadcasts):
    broadcasts.assert_nothing_sent()
    send("hello")
    sent = r"This was sent:\n  author='Server', group='broadcast', body='hello'"
    with pytest.raises(AssertionError, match=f"^Expected that nothing is sent. {sent}$"):
        broadcasts.assert_nothing_sent()


OF_ALL_KINDS = """
import pytest
from django.test import SimpleTestCase, TestCase, TransactionTestCase

from broadcast import asend, send


class InSimpleTestCase(SimpleTestCase):
    def test_sync(self):
        assert send("hi").offset is None

    async def test_async(self):
        assert (await asend("hi")).offset is None


class InTestCase(TestCase):
    def test_sync(self):
        assert send("hi").offset == 1

    async def test_async(self):
        assert (await asend("hi")).offset == 1


class InTransactionTestCase(TransactionTestCase):
    test_sync, test_async = InTestCase.test_sync, InTestCase.test_async


@pytest.mark.parametrize("turn", range(3))
class TestWithoutAccess:
    def test_sync(self, turn):
        assert send("hi").offset is None

    async def test_async(self, turn):
        assert (await asend("hi")).offset is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("turn", range(3))
class TestWithAccess:
    def test_sync(self, turn):
        assert send("hi").offset == 1

    async def test_async(self, turn):
        assert (await asend("hi")).offset == 1
"""
IN_ANY_ORDER = """
import pytest
from random import Random


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    Random({seed}).shuffle(items)
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_tests_with_and_without_database_access_take_turns_in_one_process(tmp_path, seed):
    (tmp_path / "test_site.py").write_text(OF_ALL_KINDS)
    (tmp_path / "conftest.py").write_text(IN_ANY_ORDER.format(seed=seed))
    (tmp_path / "pytest.ini").write_text("[pytest]\nDJANGO_SETTINGS_MODULE = project.settings\nasyncio_mode = auto\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "18 passed" in done.stdout
