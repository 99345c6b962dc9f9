"""Relays: what clients say at the same time is committed together, and nobody's fault is another's."""

import asyncio
import threading

import pytest

from broadcast.engine.hub.hub import current_hub
from broadcast.engine.storage import log
from broadcast.engine.storage.log import Draft
from broadcast.exceptions import LogUnavailable
from broadcast.models import Message
from tests.engine.listening import elsewhere, until

pytestmark = pytest.mark.django_db(transaction=True)


class Stranger:
    """Not the key of a user: writing it fails."""

    def __int__(self) -> int:
        raise ArithmeticError("a stranger")


class Commits:
    """Notes how many messages each transaction is to append; the first one waits until it may go on."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go_on = threading.Event()
        self.error: Exception | None = None
        self._append = log.append

    def append(self, drafts: list[Draft]) -> log.AppendResult:
        self.sizes.append(len(drafts))
        if len(self.sizes) == 1:
            self.go_on.wait()
        elif self.error is not None:
            raise self.error
        return self._append(drafts)


@pytest.fixture
def commits(monkeypatch):
    commits = Commits()
    monkeypatch.setattr(log, "append", commits.append)
    yield commits
    commits.go_on.set()


def say(body: str, **fields: object) -> asyncio.Task[Message]:
    return asyncio.create_task(current_hub().relays.send(Draft("broadcast", "guest", "Ann", body, **fields)))


async def say_during_a_commit(commits: Commits, *bodies: str) -> list[asyncio.Task[Message]]:
    """What comes of the first message, and of those that gather behind it."""
    said = [say("first")]
    await until(lambda: commits.sizes)
    said += [say(body) for body in bodies]
    await asyncio.sleep(0)
    return said


async def test_what_comes_during_a_commit_is_committed_together(commits):
    said = await say_during_a_commit(commits, "a", "b", "c")
    commits.go_on.set()
    assert [message.offset for message in await asyncio.gather(*said)] == [1, 2, 3, 4]
    assert commits.sizes == [1, 3]


async def test_one_that_cannot_be_written_fails_alone(commits):
    said = [*await say_during_a_commit(commits, "a"), say("b", user_id=Stranger()), say("c")]
    await asyncio.sleep(0)
    commits.go_on.set()
    results = await asyncio.gather(*said, return_exceptions=True)
    assert [type(result) for result in results] == [Message, Message, ArithmeticError, Message]
    assert await elsewhere(Message.objects.count) == 3


async def test_one_who_leaves_before_its_turn_takes_it_back(commits):
    said = await say_during_a_commit(commits, "a", "b")
    said[1].cancel()
    await asyncio.wait([said[1]])
    commits.go_on.set()
    assert (await said[2]).offset == 2
    assert await elsewhere(lambda: list(Message.objects.values_list("body", flat=True))) == ["b", "first"]


async def test_a_log_that_fails_is_told_to_all_and_tried_again_for_the_next(commits):
    commits.error = LogUnavailable("no disk")
    said = await say_during_a_commit(commits, "a", "b")
    commits.go_on.set()
    results = await asyncio.gather(*said, return_exceptions=True)
    assert [type(result) for result in results] == [Message, LogUnavailable, LogUnavailable]
    assert commits.sizes == [1, 2]
    commits.error = None
    assert (await say("later")).offset == 2
