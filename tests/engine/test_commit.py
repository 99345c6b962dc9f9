"""Group commit: what is sent at the same time is committed together, and nobody's end is another's."""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connections

from broadcast.engine import commit as commits
from broadcast.engine import commit_requests
from broadcast.engine.commit import GroupCommit
from broadcast.engine.commit_requests import ThreadRequest
from broadcast.engine.process import this_process
from broadcast.engine.storage.database import PATIENCE, open_log
from broadcast.engine.storage.log import Log
from broadcast.engine.storage.records import AppendResult, Draft, NewMessages
from broadcast.engine.storage.threads import OwnThreads
from broadcast.engine.system import System
from broadcast.exceptions import InvalidMessage, LockTimeout, LogUnavailable, OutcomeUnknown
from broadcast.models import Message
from tests.kit.log import Stranger, committed
from tests.kit.processes import elsewhere, python
from tests.kit.streams import draft
from tests.kit.waiting import until, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = 30


class WatchedLog(Log):
    """Notes what each transaction is to append and in which thread; each waits until the gate is open."""

    def __init__(self) -> None:
        super().__init__(System())
        self.batches: list[str] = []
        self.threads: list[str] = []
        self.gate = threading.Event()
        self.error: BaseException | None = None
        self.locked = ""  # the group that somebody holds
        self.under_way = self.most_at_once = 0

    def append(self, drafts: Sequence[Draft], connection: Any = None, patience: float = PATIENCE) -> AppendResult:
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        self.batches.append("".join(draft.body for draft in drafts))
        self.threads.append(threading.current_thread().name)
        try:
            assert self.gate.wait(SECONDS)
            if self.error is not None:
                raise self.error
            while self.locked in {draft.group for draft in drafts}:
                if patience <= commits.FIRST_PATIENCE:
                    raise LockTimeout("somebody holds it")
            return super().append(drafts, connection, patience)
        finally:
            self.under_way -= 1


class Line:
    """The senders of one group commit: threads and clients, each of which gets in line before the next may begin."""

    def __init__(self, commit: GroupCommit, log: WatchedLog) -> None:
        self.commit = commit
        self.log = log
        self.threads = OwnThreads(System())
        self.is_begun = False
        self._started: list[threading.Thread] = []

    def is_in_line(self) -> Callable[[], bool]:
        """A condition: the sender that is about to start is committing, or waits behind those who wait now."""
        if not self.is_begun:
            self.is_begun = True
            return lambda: bool(self.log.batches)
        length = len(self.commit._requests)
        return lambda: len(self.commit._requests) > length

    def thread(self, *bodies: str, **fields: Any) -> "Awaitable[list[int | None]]":
        """Sends from a thread; the offsets, once it has sent."""
        done = self.is_in_line()
        sending = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()

        def send() -> None:
            result: Any
            try:
                result = [m.offset for m in self.commit.append([draft(b, **fields) for b in bodies], open_log())]
            except BaseException as error:
                result = error
            finally:
                connections.close_all()
            loop.call_soon_threadsafe(sending.set_result, result)

        thread = threading.Thread(target=send, name=f"thread-{bodies[0]}")
        self._started.append(thread)
        thread.start()
        wait_until(done)
        return sending

    async def client(self, body: str, **fields: Any) -> "asyncio.Task[list[Message]]":
        """Sends as a client of this loop does."""
        done = self.is_in_line()
        task = asyncio.create_task(self.commit.relay([draft(body, **fields)], self.threads))
        await until(done)
        return task

    def close(self) -> None:
        self.log.gate.set()
        for thread in self._started:
            thread.join(SECONDS)
        self.threads.close()


def commit_of(log: Log, tell: Callable[[Sequence[NewMessages]], None]) -> GroupCommit:
    return GroupCommit(
        log, SimpleNamespace(publish_news=tell), this_process.pruning, this_process.in_flight, this_process.system
    )


@pytest.fixture
def log() -> WatchedLog:
    return WatchedLog()


@pytest.fixture
def news() -> list[NewMessages]:
    return []


@pytest.fixture
def commit(log: WatchedLog, news: list[NewMessages]) -> GroupCommit:
    return commit_of(log, news.extend)


@pytest.fixture
def line(commit: GroupCommit, log: WatchedLog) -> Iterator[Line]:
    line = Line(commit, log)
    yield line
    line.close()


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message is a batch, so everyone leads in turn."""
    monkeypatch.setattr(commits, "MAX_BATCH", 1)


@pytest.fixture
def exhausted(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No thread of the engine's can be started, until this is undone."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("broadcast-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        yield patch


async def outcome(sending: Awaitable[Any]) -> Any:
    """The offsets that a sender got, or its error's type."""
    [result] = await asyncio.wait_for(asyncio.gather(sending, return_exceptions=True), SECONDS)
    if isinstance(result, BaseException):
        return type(result)
    return [each.offset if isinstance(each, Message) else each for each in result]


async def test_whom_nobody_is_ahead_of_commits_in_its_own_thread(line, log, news):
    log.gate.set()
    assert await line.thread("a", "b") == [1, 2]
    assert (log.batches, log.threads) == (["ab"], ["thread-a"])
    assert [message.body for each in news for message in each.messages] == ["a", "b"]


async def test_who_sends_during_a_commit_is_committed_together(line, log, news):
    sent = [line.thread("a"), await line.client("b"), line.thread("c", "d"), await line.client("e")]
    log.gate.set()
    assert [await outcome(each) for each in sent] == [[1], [2], [3, 4], [5]]
    assert log.batches == ["a", "bcde"]
    await until(lambda: sorted(message.offset for each in news for message in each.messages) == [1, 2, 3, 4, 5])


async def test_a_batch_has_a_size_which_only_a_single_request_may_exceed(line, log, monkeypatch):
    monkeypatch.setattr(commits, "MAX_BATCH", 4)
    sent = [line.thread(*bodies) for bodies in ("-", "ab", "cd", "e", "fghijklmn", "o")]
    log.gate.set()
    assert [len(await each) for each in sent] == [1, 2, 2, 1, 9, 1]
    assert log.batches == ["-", "abcd", "e", "fghijklmn", "o"]


@pytest.mark.usefixtures("one_by_one")
async def test_the_lead_goes_from_threads_to_clients_and_back(line, log):
    sent = [line.thread("a"), await line.client("b"), await line.client("c"), line.thread("d"), await line.client("e")]
    log.gate.set()
    assert [await outcome(each) for each in sent] == [[1], [2], [3], [4], [5]]
    writer = "broadcast-writer_0"
    assert log.threads == ["thread-a", writer, writer, "thread-d", writer]


async def test_the_lead_is_passed_on_before_anyone_is_told(log):
    """So a listener, or a handler of the log's records, may send in its turn."""
    told = []

    def tell(news: Sequence[NewMessages]) -> None:
        told.extend(message.body for each in news for message in each.messages)
        if len(told) == 1:
            elsewhere(lambda: commit.append([draft("again")], open_log()))

    log.gate.set()
    commit = commit_of(log, tell)
    await asyncio.to_thread(elsewhere, lambda: commit.append([draft("first")], open_log()))
    assert told == ["first", "again"]


def test_the_main_thread_commits_alone(commit, log, line):
    """It alone can be interrupted by a signal: it neither waits for a leader nor leads."""
    commit._put(ThreadRequest([draft("waits")], threading.Event()))  # of a leader who never comes
    log.gate.set()
    assert [message.offset for message in commit.append([draft("a")], open_log())] == [1]
    assert log.batches == ["a"]


async def test_many_threads_and_clients(commit, log, line):
    def some(name: str) -> list[int | None]:
        return [commit.append([draft(name)], open_log())[0].offset for _ in range(15)]

    async def others(name: str) -> list[int | None]:
        return [(await commit.relay([draft(name)], line.threads))[0].offset for _ in range(15)]

    log.gate.set()
    threads = [asyncio.to_thread(elsewhere, lambda name=name: some(name)) for name in "abcd"]
    results = await asyncio.gather(*threads, *(others(name) for name in "efgh"))
    assert sorted(offset for offsets in results for offset in offsets) == list(range(1, 121))
    assert log.most_at_once == 1


@pytest.mark.parametrize("is_client", [True, False])
@pytest.mark.parametrize("error", [ArithmeticError, InvalidMessage])
async def test_one_that_cannot_be_written_fails_alone(line, log, is_client, error):
    """Whether the database will not have it, or never saw it."""
    bad: Any = {"user_id": Stranger()} if error is ArithmeticError else {"author": None}
    sent = [line.thread("a"), line.thread("b"), await line.client("c")]
    sent.append(await line.client("d", **bad) if is_client else line.thread("d", **bad))
    sent += [line.thread("e"), await line.client("f")]
    log.gate.set()
    assert [await outcome(each) for each in sent] == [[1], [2], [3], error, [4], [5]]


async def test_who_sends_to_a_group_that_somebody_holds_keeps_nobody_else_waiting(line, log):
    log.locked = "a"
    held = [line.thread("u", group="a"), line.thread("v", group="a"), await line.client("w", group="a")]
    others = [line.thread("x"), await line.client("y"), line.thread("z", group="b")]
    log.gate.set()
    assert [await outcome(each) for each in others] == [[1], [2], [1]]
    assert not any(each.done() for each in held)
    log.locked = ""
    assert sorted([await outcome(each) for each in held]) == [[1], [2], [3]]


async def test_a_client_is_told_of_a_group_that_somebody_holds_for_long(line, log, monkeypatch):
    monkeypatch.setattr(commit_requests, "PATIENCE", 0.2)
    log.locked = "a"
    log.gate.set()
    assert await outcome(await line.client("w", group="a")) is LockTimeout


async def test_all_of_a_batch_hear_of_a_log_that_fails_and_the_next_tries_again(line, log):
    log.error = LogUnavailable("no disk")
    sent = [line.thread("a"), line.thread("b"), await line.client("c")]
    log.gate.set()
    assert [await outcome(each) for each in sent] == [LogUnavailable] * 3
    assert log.batches == ["a", "bc"]
    log.error = None
    assert (await line.commit.relay([draft("later")], line.threads))[0].offset == 1


async def test_an_interrupted_leader_leaves_nobody_waiting(line, log):
    sent = [line.thread("a", user_id=Stranger(SystemExit)), line.thread("b"), await line.client("c")]
    log.gate.set()
    assert [await outcome(each) for each in sent] == [SystemExit, [1], [2]]
    log.gate.clear()
    line.is_begun = False
    log.batches.clear()
    sent = [line.thread("d"), line.thread("e"), await line.client("f", user_id=Stranger(SystemExit)), line.thread("g")]
    log.gate.set()
    assert [await outcome(each) for each in sent] == [[3], SystemExit, OutcomeUnknown, OutcomeUnknown]
    assert committed() == [(1, "b"), (2, "c"), (3, "d")]


async def test_a_client_that_is_cancelled_in_time_takes_its_message_back(line, log):
    sent = [line.thread("a"), await line.client("b"), await line.client("c"), line.thread("d")]
    for each in sent[1:3]:
        each.cancel()
    await asyncio.wait(sent[1:3])
    log.gate.set()
    assert [await outcome(each) for each in (sent[0], sent[3])] == [[1], [2]]
    assert committed() == [(1, "a"), (2, "d")]


async def test_when_all_took_theirs_back_the_next_goes_on(line, log):
    sent = [line.thread("a"), await line.client("b")]
    sent[1].cancel()
    log.gate.set()
    assert await sent[0] == [1]
    assert (await line.commit.relay([draft("c")], line.threads))[0].offset == 2


async def test_a_client_that_is_cancelled_during_the_commit_has_sent(line, log):
    first = await line.client("a")
    first.cancel()
    await asyncio.wait([first])
    log.gate.set()
    assert (await line.commit.relay([draft("b")], line.threads))[0].offset == 2
    assert await asyncio.to_thread(committed) == [(1, "a"), (2, "b")]


class Interrupted(BaseException):
    pass


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("has_lead", [False, True])
async def test_a_thread_that_is_interrupted_while_it_waits_leaves_nothing_behind(line, log, has_lead, monkeypatch):
    """Also when it has just been given the lead."""
    wait = ThreadRequest.wait

    def interrupted_wait(request: ThreadRequest) -> None:
        if request.drafts[0].body != "b" or has_lead:
            wait(request)
        if request.drafts[0].body == "b":
            assert go_on.wait(SECONDS)
            raise Interrupted

    go_on = threading.Event()
    monkeypatch.setattr(ThreadRequest, "wait", interrupted_wait)
    sent = [line.thread("a"), line.thread("b"), line.thread("c"), await line.client("d")]
    if not has_lead:
        go_on.set()
        await until(lambda: len(line.commit._requests) == 2)
    log.gate.set()
    assert await sent[0] == [1]
    go_on.set()
    assert [await outcome(each) for each in sent[1:]] == [Interrupted, [2], [3]]
    assert log.batches == ["a", "c", "d"]


def test_a_loop_that_ended_loses_nobody_elses_messages(log):
    """Neither its own that wait already, nor those of threads behind them."""
    commit, loop, threads = commit_of(log, lambda news: None), asyncio.new_event_loop(), OwnThreads(System())

    async def scenario() -> list[Any]:
        line = Line(commit, log)
        first = line.thread("a")
        relayed = loop.create_task(commit.relay([draft("b")], threads))
        await asyncio.to_thread(loop.run_until_complete, asyncio.wait([relayed], timeout=0))
        relayed._log_destroy_pending = False
        loop.close()
        threads.close()
        sent = [first, line.thread("c"), await line.client("d")]
        log.gate.set()
        outcomes = [await outcome(each) for each in sent]
        line.close()
        return outcomes

    assert asyncio.run(scenario()) == [[1], [3], [4]]
    assert committed() == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]


async def test_a_client_for_whom_no_thread_can_be_started_fails_alone(line, log, exhausted):
    log.gate.set()
    with pytest.raises(LogUnavailable, match="Nothing can be sent right now: can't start new thread"):
        await line.commit.relay([draft("a")], line.threads)
    assert await line.thread("b") == [1]
    exhausted.undo()
    assert (await line.commit.relay([draft("c")], line.threads))[0].offset == 2


@pytest.mark.usefixtures("one_by_one", "exhausted")
async def test_however_many_cannot_lead_the_next_who_can_goes_on(line, log):
    first = line.thread("a")
    clients = [asyncio.create_task(line.commit.relay([draft("b")], line.threads)) for _ in range(1500)]
    await until(lambda: len(line.commit._requests) == 1500)
    last = line.thread("c")
    log.gate.set()
    assert [await outcome(first), await outcome(last)] == [[1], [2]]
    assert {await outcome(client) for client in clients} == {LogUnavailable}


@pytest.mark.usefixtures("one_by_one")
async def test_a_lead_that_could_not_be_taken_is_not_taken_later(line, log, exhausted):
    with pytest.raises(LogUnavailable):
        await line.commit.relay([draft("a")], line.threads)
    sent = [line.thread("b"), line.thread("c")]
    exhausted.undo()
    await line.threads.write(lambda: None)  # the writer works off what it was given before
    assert log.batches == ["b"]
    log.gate.set()
    assert [await outcome(each) for each in sent] == [[1], [2]]
    assert log.most_at_once == 1


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
    wait_until(lambda: Message.objects.filter(body="from the main thread").exists())
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert out == "80 80\n", error
    offsets = sorted(Message.objects.values_list("offset", flat=True))
    assert offsets == list(range(1, len(offsets) + 1))
