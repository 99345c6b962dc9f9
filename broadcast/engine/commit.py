"""Group commit: what threads and clients of this process send at the same time is committed together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress

from django.db.backends.base.base import BaseDatabaseWrapper

from ..exceptions import LockTimeout, LogUnavailable, OutcomeUnknown
from ..models import Message
from .commit_requests import CommitRequest, LoopRequest, ThreadRequest, by_groups, distribute, resolve_in_loops
from .hints.publisher import HintPublisher
from .storage.database import PATIENCE, open_log
from .storage.log import Log
from .storage.pruning import EVERY, Pruning
from .storage.records import Draft, NewMessages
from .storage.threads import OwnThreads
from .system import System

MAX_BATCH = 500  # messages in one transaction
FIRST_PATIENCE = 0.5  # seconds that those who send to other groups may wait for a lock on this one
NEXT_PATIENCE = 0.1  # seconds, once it is known that somebody holds it


class GroupCommit:
    """The first to come commits for all who wait; when its own are in, the next in line takes over.

    Whoever commits also follows up on what is new: those who listen are told, and what is too old goes. The next
    may commit meanwhile.
    """

    def __init__(
        self,
        log: Log,
        hints: HintPublisher,
        pruning: Pruning,
        in_flight: AbstractContextManager[None],
        system: System,
    ) -> None:
        self._system = system
        self._log = log
        self._in_flight = in_flight
        self._hints = hints
        self._pruning = pruning
        self._lock = threading.Lock()
        self._requests: deque[CommitRequest] = deque()
        self._has_leader = False

    def append(self, drafts: Sequence[Draft], connection: BaseDatabaseWrapper) -> list[Message]:
        """Commits from this thread, which may serve others or be served by them. Raises as the log does.

        Not in turns from the main thread: Ctrl-C and signals interrupt it, and nobody else should be left waiting.
        """
        if threading.current_thread() is threading.main_thread():
            return self.append_alone(drafts, connection)
        with self._lock:
            is_alone, self._has_leader = not self._has_leader, True
        if not is_alone:
            return self._append_in_turn(drafts, connection)
        try:
            try:
                appended = self._log.append(drafts, connection, FIRST_PATIENCE)
            finally:
                self._hand_off()
        except LockTimeout:
            return self._append_aside(drafts, connection)
        self.follow_up(appended.news)
        return appended.messages

    def _append_in_turn(self, drafts: Sequence[Draft], connection: BaseDatabaseWrapper) -> list[Message]:
        """Is committed by another, or commits for all when the turn comes."""
        request = ThreadRequest(drafts, self._system.event())
        if not self._put(request):
            self._wait(request)
        if request.result is None and not request.is_aside:
            self.commit(connection)
        if request.is_aside:
            return self._append_aside(drafts, connection)
        if isinstance(request.result, BaseException):
            raise request.result
        return request.result or []

    def _append_aside(self, drafts: Sequence[Draft], connection: BaseDatabaseWrapper) -> list[Message]:
        """Goes on waiting for whoever holds the group, where nobody else has to wait for it."""
        return self.append_alone(drafts, connection, PATIENCE - FIRST_PATIENCE)

    def append_alone(
        self, drafts: Sequence[Draft], connection: BaseDatabaseWrapper | None = None, patience: float = PATIENCE
    ) -> list[Message]:
        """Commits these drafts by themselves."""
        appended = self._log.append(drafts, connection, patience)
        self.follow_up(appended.news)
        return appended.messages

    def follow_up(self, news: Sequence[NewMessages]) -> None:
        """Tells those who listen, and prunes at every ``EVERY``th offset. Never raises."""
        self._hints.publish_news(news)
        for each in news:
            if each.messages and (each.messages[-1].offset or 0) % EVERY < len(each.messages):
                self._pruning.follow(each)

    async def relay(self, drafts: Sequence[Draft], threads: OwnThreads) -> list[Message]:
        """Commits what a client said, all or none and in order, in the writer of its node. Raises as the log does.

        While one batch is committed the next gathers. Cancelled, it takes back what is not yet being committed.
        """
        request = LoopRequest(drafts, threads, self)
        self.put(request)
        return await request.future

    def put(self, request: LoopRequest) -> None:
        """Queues what a client said, for the first time or again, and has it committed."""
        if self._put(request):
            self._lead(request)

    def commit(self, connection: BaseDatabaseWrapper | None = None) -> None:
        """Commits one batch and hands the lead on. Only for whose turn it is."""
        news: list[NewMessages] = []
        batch: list[CommitRequest] = []
        try:
            batch = self._next_batch()
            with self._in_flight:
                news = self._commit_batch(batch, connection)
        finally:
            for request in batch:
                if request.result is None and not request.is_aside:
                    request.finish(OutcomeUnknown("Sending was interrupted, perhaps during COMMIT."))
            resolve_in_loops(batch)
            self._hand_off()
        self.follow_up(news)

    def _put(self, request: CommitRequest) -> bool:
        """Queues a request. Returns True if it leads."""
        with self._lock:
            self._requests.append(request)
            request.has_lead, self._has_leader = not self._has_leader, True
        return request.has_lead

    def _wait(self, request: ThreadRequest) -> None:
        """Waits for a result or for the lead; one that is interrupted leaves nothing behind."""
        try:
            request.wait()
        except BaseException:
            with self._lock, suppress(ValueError):
                self._requests.remove(request)
            if request.has_lead:
                self._hand_off()
            raise

    def _next_batch(self) -> list[CommitRequest]:
        batch: list[CommitRequest] = []
        room = MAX_BATCH
        with self._lock:
            while self._requests and (not batch or len(self._requests[0].drafts) <= room):
                request = self._requests.popleft()
                if request.begin():
                    batch.append(request)
                    room -= len(request.drafts)
        return batch

    def _hand_off(self) -> None:
        """Gives the lead to the next in line who can take it."""
        while (following := self._next_in_line()) is not None:
            if self._can_lead(following):
                return

    def _next_in_line(self) -> CommitRequest | None:
        with self._lock:
            following = self._requests[0] if self._requests else None
            self._has_leader = following is not None
            if following is not None:
                following.has_lead = True
        return following

    def _lead(self, request: CommitRequest) -> None:
        if not self._can_lead(request):
            self._hand_off()

    def _can_lead(self, request: CommitRequest) -> bool:
        """Lets a request lead; one that cannot fails, and nobody else."""
        try:
            request.lead()
        except RuntimeError as error:  # no thread can be started
            with self._lock, suppress(ValueError):
                request.has_lead = False
                self._requests.remove(request)
            request.finish(LogUnavailable(f"Nothing can be sent right now: {error}"))
            resolve_in_loops([request])
            return False
        return True

    def _commit_batch(
        self, batch: Sequence[CommitRequest], connection: BaseDatabaseWrapper | None, patience: float = FIRST_PATIENCE
    ) -> list[NewMessages]:
        """Appends in one transaction; if one request's content spoils it, one by one, so that only that one fails."""
        if not batch:
            return []
        if any(request.is_aside for request in batch):
            patience = NEXT_PATIENCE
        for request in batch:
            request.is_aside = False
        try:
            drafts = [draft for request in batch for draft in request.drafts]
            appended = self._log.append(drafts, connection or open_log(), patience)
        except LockTimeout as error:
            if len(parts := by_groups(batch)) > 1:
                return [news for part in parts for news in self._commit_batch(part, connection, NEXT_PATIENCE)]
            for request in batch:
                request.set_aside(error)
            return []
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, LogUnavailable):
                return [news for request in batch for news in self._commit_batch([request], connection)]
            for request in batch:
                request.finish(error)
            return []
        distribute(appended, batch)
        return appended.news
