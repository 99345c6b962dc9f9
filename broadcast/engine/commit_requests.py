"""Requests of group commit: the drafts of one thread or client, while they wait to be committed."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..exceptions import LockTimeout
from ..models import Message
from .storage.database import PATIENCE
from .storage.records import AppendResult, Draft
from .storage.threads import OwnThreads

if TYPE_CHECKING:
    from .commit import GroupCommit

TRY_AGAIN = 0.1  # seconds

Result = list[Message] | BaseException


class CommitRequest(ABC):
    """Drafts of one sender, waiting to be committed."""

    __slots__ = ("drafts", "has_lead", "is_aside", "result")

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.drafts = drafts
        self.has_lead = False
        self.is_aside = False  # somebody holds its group, so it waits where it is in nobody's way
        self.result: Result | None = None

    @abstractmethod
    def begin(self) -> bool:
        """Marks the drafts as being committed; false if the sender has taken them back."""

    @abstractmethod
    def finish(self, result: Result) -> None: ...

    @abstractmethod
    def set_aside(self, error: LockTimeout) -> None:
        """Has it tried by itself, or again later, because somebody holds its group; finishes it when that took long."""

    @abstractmethod
    def lead(self) -> None:
        """Has ``GroupCommit.commit`` called for all who wait. Raises RuntimeError where no thread can be started."""


class ThreadRequest(CommitRequest):
    """The request of a thread that waits; it leads itself when its turn comes."""

    __slots__ = ("_turn",)

    def __init__(self, drafts: Sequence[Draft], turn: threading.Event) -> None:
        super().__init__(drafts)
        self._turn = turn

    def begin(self) -> bool:
        return True

    def finish(self, result: Result) -> None:
        self.result = result
        self._turn.set()

    def set_aside(self, error: LockTimeout) -> None:
        self.is_aside = True
        self._turn.set()

    def lead(self) -> None:
        self._turn.set()

    def wait(self) -> None:
        """Returns when there is a result or it is this thread's turn to lead."""
        self._turn.wait()


class LoopRequest(CommitRequest):
    """The request of a client; the writer of its node leads for it. Cancelling ``future`` takes it back in time."""

    __slots__ = ("_begun", "_commit", "_threads", "future", "loop")

    def __init__(self, drafts: Sequence[Draft], threads: OwnThreads, commit: GroupCommit) -> None:
        super().__init__(drafts)
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[list[Message]] = self.loop.create_future()
        self._begun = self.loop.time()
        self._threads = threads
        self._commit = commit

    def begin(self) -> bool:
        return not self.future.done()

    def set_aside(self, error: LockTimeout) -> None:
        if self.loop.time() - self._begun > PATIENCE:
            self.finish(error)
        else:
            self.is_aside = True
            with suppress(RuntimeError):  # the loop has ended, and so has whoever waited
                self.loop.call_soon_threadsafe(self.loop.call_later, TRY_AGAIN, self._commit.put, self)

    def finish(self, result: Result) -> None:
        self.result = result

    def lead(self) -> None:
        self._threads.submit_write(self._commit_if_leading)

    def resolve(self) -> None:
        """Hands the result to whoever awaits the future; in its loop."""
        if self.future.done() or self.result is None:
            return
        if isinstance(self.result, BaseException):
            self.future.set_exception(self.result)
        else:
            self.future.set_result(self.result)

    def _commit_if_leading(self) -> None:
        """Commits, unless the lead was passed on because it seemed that no thread could be started."""
        if self.has_lead:
            self.has_lead = False
            self._commit.commit()


def by_groups(batch: Sequence[CommitRequest]) -> list[list[CommitRequest]]:
    """The requests, in parts that have no group in common unless one of them is for several groups at once."""
    parts: dict[frozenset[str], list[CommitRequest]] = {}
    for request in batch:
        parts.setdefault(frozenset(draft.group for draft in request.drafts), []).append(request)
    return list(parts.values())


def distribute(appended: AppendResult, batch: Sequence[CommitRequest]) -> None:
    """Gives each request its messages."""
    messages = iter(appended.messages)
    for request in batch:
        request.finish([next(messages) for _ in request.drafts])


def resolve_in_loops(batch: Iterable[CommitRequest]) -> None:
    """Wakes each event loop once, for all of its requests."""
    by_loop: dict[asyncio.AbstractEventLoop, list[LoopRequest]] = {}
    for request in batch:
        if isinstance(request, LoopRequest):
            by_loop.setdefault(request.loop, []).append(request)
    for loop, requests in by_loop.items():
        with suppress(RuntimeError):  # the loop has ended, and so has everybody who waited
            loop.call_soon_threadsafe(resolve_all, requests)


def resolve_all(requests: Iterable[LoopRequest]) -> None:
    for request in requests:
        request.resolve()
