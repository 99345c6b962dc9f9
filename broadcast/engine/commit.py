"""Group commit: what is sent at the same time, by whatever threads of this process, is committed together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from ..exceptions import LogUnavailable, OutcomeUnknown
from ..models import Message
from .forks import after_fork
from .hints.publisher import publish_news
from .storage import log
from .storage.pruning import prune_behind

MAX_BATCH = 500  # messages in one transaction


class CommitRequest:
    """What one sender wants appended, and how it is told that it is its turn to commit for all."""

    def __init__(self, drafts: Sequence[log.Draft], lead: Callable[[], None]) -> None:
        self.drafts = drafts
        self.lead = lead
        self.result: Future[list[Message]] = Future()


class GroupCommit:
    """The first to come commits for all who wait; when its own are in, the next in line takes over."""

    def __init__(self) -> None:
        self.reset()
        after_fork(self.reset)

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[CommitRequest] = deque()
        self._has_leader = False

    def put(self, entry: CommitRequest) -> None:
        """Queues an entry; calls its ``lead`` now, or later from another thread, unless others commit it.

        Until it is being committed, cancelling its result takes it back.
        """
        with self._lock:
            self._entries.append(entry)
            leads = not self._has_leader
        if leads:
            self._hand_off()

    def commit(self) -> None:
        """Commits one batch and passes the lead on. Only for whom ``lead`` was called."""
        try:
            news = commit_batch(self._next_batch())
        finally:
            self._hand_off()
        after_append(news)

    def _next_batch(self) -> list[CommitRequest]:
        batch: list[CommitRequest] = []
        room = MAX_BATCH
        with self._lock:
            while self._entries and (not batch or len(self._entries[0].drafts) <= room):
                entry = self._entries.popleft()
                if entry.result.set_running_or_notify_cancel():
                    batch.append(entry)
                    room -= len(entry.drafts)
        return batch

    def _hand_off(self) -> None:
        """Gives the lead to the next in line; one who cannot take it fails, and nobody else."""
        with self._lock:
            following = self._entries[0] if self._entries else None
            self._has_leader = following is not None
        if following is None:
            return
        try:
            following.lead()
        except RuntimeError as error:  # no thread can be started
            with self._lock:
                self._entries.remove(following)
            following.result.set_exception(LogUnavailable(f"Nothing can be sent right now: {error}"))
            self._hand_off()


def commit_batch(batch: list[CommitRequest]) -> list[log.NewMessages]:
    """Appends in one transaction; if one entry's content spoils it, one by one, so that only that one fails."""
    try:
        appended = log.append([draft for entry in batch for draft in entry.drafts])
    except Exception as error:
        if len(batch) > 1 and not isinstance(error, LogUnavailable):
            return [new_messages for entry in batch for new_messages in commit_batch([entry])]
        for entry in batch:
            entry.result.set_exception(error)
        return []
    except BaseException:
        for entry in batch:
            entry.result.set_exception(OutcomeUnknown("Sending was interrupted, perhaps during COMMIT."))
        raise
    messages = iter(appended.messages)
    for entry in batch:
        entry.result.set_result([next(messages) for _ in entry.drafts])
    return appended.news


def after_append(news: Sequence[log.NewMessages]) -> None:
    """What follows when logs have grown: those who listen are told, and what is too old goes."""
    publish_news(news)
    for new_messages in news:
        prune_behind(new_messages)


group_commit = GroupCommit()


def append_together(drafts: Sequence[log.Draft]) -> list[Message]:
    """Appends and hints from this thread; its turn may serve others, as theirs may serve it.

    Not from the main thread: Ctrl-C and signals interrupt it, and nobody else should be left waiting.
    """
    if threading.current_thread() is threading.main_thread():
        return append_alone(drafts)
    turn = threading.Event()
    entry = CommitRequest(drafts, turn.set)
    entry.result.add_done_callback(lambda _: turn.set())
    group_commit.put(entry)
    turn.wait()
    if not entry.result.done():
        group_commit.commit()
    return entry.result.result()


def append_alone(drafts: Sequence[log.Draft]) -> list[Message]:
    appended = log.append(drafts)
    after_append(appended.news)
    return appended.messages
