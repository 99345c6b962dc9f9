"""Group commit: what is sent at the same time is committed together, and nobody's end is another's."""

import os
import signal
import threading
from concurrent.futures import CancelledError

import pytest
from django.contrib.auth import get_user_model

from broadcast.engine import commit as commits
from broadcast.engine.commit import CommitRequest, GroupCommit, append_together
from broadcast.engine.storage import log
from broadcast.engine.storage.log import Draft
from broadcast.exceptions import InvalidMessage, LogUnavailable, OutcomeUnknown
from broadcast.models import Message
from tests.kit.processes import elsewhere, python, together
from tests.kit.waiting import wait_until as until

User = get_user_model()

pytestmark = pytest.mark.django_db(transaction=True)


def draft(body: str = "hi", **fields) -> Draft:
    return Draft("news", "server", "Server", body, **fields)


def entry(*drafts: Draft, lead=lambda: None) -> CommitRequest:
    return CommitRequest(drafts or [draft()], lead)


class Stranger:
    """Not the key of a user; where it is written, something else than a database error comes of it."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __int__(self) -> int:
        raise self.error("a stranger")


@pytest.fixture
def commit() -> GroupCommit:
    return GroupCommit()


@pytest.fixture
def transactions(monkeypatch) -> list[int]:
    """How many messages each transaction appended."""
    counts: list[int] = []
    append = log.append

    def counted(drafts):
        appended = append(drafts)
        counts.append(len(drafts))
        return appended

    monkeypatch.setattr(log, "append", counted)
    return counts


class TestTheLead:
    def test_the_first_in_line_leads_at_once(self, commit):
        led = []
        commit.put(entry(lead=lambda: led.append(1)))
        commit.put(entry(lead=lambda: led.append(2)))
        assert led == [1]

    def test_the_leader_commits_for_all_who_wait(self, commit, transactions):
        entries = [entry(draft(str(number))) for number in range(5)]
        for each in entries:
            commit.put(each)
        commit.commit()
        assert [[message.body for message in each.result.result(0)] for each in entries] == [[c] for c in "01234"]
        assert transactions == [5]

    def test_a_batch_has_a_size_and_the_next_in_line_leads_the_rest(self, commit, transactions, monkeypatch):
        monkeypatch.setattr(commits, "MAX_BATCH", 4)
        led = []
        entries = [
            entry(*[draft() for _ in range(size)], lead=lambda number=number: led.append(number))
            for number, size in enumerate([2, 2, 1, 9, 1])
        ]
        for each in entries:
            commit.put(each)
        while transactions != [4, 1, 9, 1]:
            commit.commit()
        assert led == [0, 2, 3, 4]
        assert [len(each.result.result(0)) for each in entries] == [2, 2, 1, 9, 1]

    def test_the_lead_is_passed_on_before_anyone_is_told(self, commit, monkeypatch):
        """So a listener, or a handler of the log's records, may send in its turn."""
        told = []

        def tell(news):
            told.extend(news)
            if len(told) == 1:
                again = entry(draft("again"), lead=commit.commit)
                commit.put(again)
                assert again.result.done()

        monkeypatch.setattr(commits, "publish_news", tell)
        commit.put(entry())
        commit.commit()
        assert [message.body for new_messages in told for message in new_messages.messages] == ["hi", "again"]

    def test_one_that_cannot_take_the_lead_fails_alone(self, commit):
        def no_thread():
            raise RuntimeError("can't start new thread")

        unlucky = entry(lead=no_thread)
        commit.put(unlucky)
        with pytest.raises(LogUnavailable, match="can't start new thread"):
            unlucky.result.result(0)
        led = []
        first, second, third = (
            entry(lead=lambda: led.append(1)),
            entry(lead=no_thread),
            entry(lead=lambda: led.append(3)),
        )
        commit.put(first)
        for late in (second, third):
            late.drafts = [draft() for _ in range(commits.MAX_BATCH)]
            commit.put(late)
        commit.commit()
        assert led == [1, 3]
        assert isinstance(second.result.exception(0), LogUnavailable)
        commit.commit()
        assert first.result.result(0)
        assert third.result.result(0)

    def test_one_taken_back_in_time_is_not_sent(self, commit, transactions):
        entries = [entry(draft(c)) for c in "abc"]
        for each in entries:
            commit.put(each)
        assert entries[0].result.cancel()
        assert entries[1].result.cancel()
        commit.commit()
        assert [message.body for message in entries[2].result.result(0)] == ["c"]
        with pytest.raises(CancelledError):
            entries[0].result.result(0)
        assert transactions == [1]

    def test_one_that_is_being_committed_cannot_be_taken_back(self, commit, monkeypatch):
        entries = [entry(draft(c)) for c in "ab"]
        append = log.append

        def slow(drafts):
            assert not entries[0].result.cancel()
            return append(drafts)

        monkeypatch.setattr(log, "append", slow)
        for each in entries:
            commit.put(each)
        commit.commit()
        assert [message.offset for each in entries for message in each.result.result(0)] == [1, 2]

    def test_when_all_were_taken_back_the_next_goes_on(self, commit):
        alone = entry()
        commit.put(alone)
        alone.result.cancel()
        commit.commit()
        led = []
        commit.put(entry(lead=lambda: led.append(1)))
        assert led == [1]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="This system has no fork")
    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_a_fork_begins_with_nobody_waiting(self, commit):
        commit.put(entry())
        child = os.fork()
        if child == 0:
            led = []
            commit.put(entry(lead=lambda: led.append(1)))
            os._exit(0 if led == [1] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class TestABadMember:
    def test_of_which_the_database_will_not_have_it_fails_alone(self, commit):
        gone = User.objects.create_user("gone")
        User.objects.filter(pk=gone.pk).delete()
        entries = [entry(draft("a")), entry(draft("b", user_id=gone.pk)), entry(draft("c"))]
        for each in entries:
            commit.put(each)
        commit.commit()
        assert isinstance(entries[1].result.exception(0), InvalidMessage)
        assert [entries[0].result.result(0)[0].offset, entries[2].result.result(0)[0].offset] == [1, 2]

    def test_that_no_database_ever_saw_fails_alone(self, commit):
        entries = [entry(draft("a")), entry(draft("b", user_id=Stranger(TypeError))), entry(draft("c"))]
        for each in entries:
            commit.put(each)
        commit.commit()
        assert isinstance(entries[1].result.exception(0), TypeError)
        assert [entries[0].result.result(0)[0].offset, entries[2].result.result(0)[0].offset] == [1, 2]

    def test_among_many_threads(self):
        def sender(number: int):
            if number % 4:
                return append_together([draft(str(number))])[0].body
            return append_together([draft(user_id=Stranger(TypeError))])

        results = together(*(lambda number=number: sender(number) for number in range(16)))
        for number, result in enumerate(results):
            assert result == str(number) if number % 4 else isinstance(result, TypeError)
        assert sorted(Message.objects.values_list("offset", flat=True)) == list(range(1, 13))


class TestALogThatFails:
    def test_all_of_a_batch_hear_of_it_at_once(self, commit, monkeypatch):
        tries = []

        def fail(drafts):
            tries.append(len(drafts))
            raise LogUnavailable("no disk")

        monkeypatch.setattr(log, "append", fail)
        entries = [entry() for _ in range(5)]
        for each in entries:
            commit.put(each)
        commit.commit()
        assert tries == [5]
        assert all(isinstance(each.result.exception(0), LogUnavailable) for each in entries)

    def test_an_interrupt_leaves_nobody_waiting(self, commit):
        led = []
        entries = [entry(draft(user_id=Stranger(SystemExit))), entry()]
        for each in entries:
            commit.put(each)
        with pytest.raises(SystemExit):
            commit.commit()
        assert all(isinstance(each.result.exception(0), OutcomeUnknown) for each in entries)
        assert not Message.objects.exists()
        commit.put(entry(lead=lambda: led.append(1)))
        assert led == [1]


class TestThreads:
    def test_who_sends_meanwhile_is_committed_together(self, transactions, monkeypatch):
        """While the first commits, the others gather; then one of them commits for all."""
        gathered = threading.Event()
        append = log.append

        def slow(drafts):
            if not transactions:
                assert gathered.wait(30)
            return append(drafts)

        monkeypatch.setattr(log, "append", slow)
        results: list = []
        threads = [
            threading.Thread(target=lambda body=body: results.append(elsewhere(lambda: append_together([draft(body)]))))
            for body in "abcdefgh"
        ]
        for thread in threads:
            thread.start()
        until(lambda: len(commits.group_commit._entries) == 7)
        gathered.set()
        for thread in threads:
            thread.join(30)
        assert transactions == [1, 7]
        assert sorted(message.offset for [message] in results) == list(range(1, 9))

    def test_many_rounds(self):
        def sender(name: int) -> list[int]:
            return [append_together([draft(f"{name}")])[0].offset for _ in range(15)]

        results = together(*(lambda name=name: sender(name) for name in range(12)))
        assert sorted(offset for offsets in results for offset in offsets) == list(range(1, 181))
        assert commits.group_commit._entries == commits.deque()
        assert commits.group_commit._has_leader is False

    def test_the_main_thread_serves_itself_alone(self):
        """It alone can be interrupted. Others wait for the leader, which never comes; it does not."""
        commits.group_commit.put(entry())
        try:
            assert append_together([draft()])[0].offset == 1
        finally:
            commits.group_commit.commit()


def test_ctrl_c_leaves_nobody_waiting():
    """The main thread is interrupted while it waits for the database; the other threads' messages are sent."""
    process = python(
        """
        import threading
        sent = []

        def sender():
            for _ in range(20):
                sent.append(send("from a thread").offset)

        send("first")
        threads = [threading.Thread(target=sender) for _ in range(4)]
        print("ready", flush=True)
        try:
            for thread in threads:
                thread.start()
            while True:
                send("from the main thread")
        except KeyboardInterrupt:
            for thread in threads:
                thread.join()
            print(len(sent), len(set(sent)), flush=True)
        """
    )
    assert process.stdout.readline() == "ready\n"
    until(lambda: Message.objects.filter(body="from the main thread").exists())
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert out == "80 80\n", error
    offsets = sorted(Message.objects.values_list("offset", flat=True))
    assert offsets == list(range(1, len(offsets) + 1))
