"""What clients say: while some of it is being committed the rest gathers, to be committed together next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ...exceptions import LogUnavailable
from ...models import Message
from ..commit import MAX_BATCH, CommitRequest, group_commit
from ..storage.log import Draft
from ..storage.threads import DatabaseThreads
from .write_scheduler import sends

Waiting = tuple[Draft, asyncio.Future[Message]]


class Relays:
    """Hands the messages of one event loop's clients to the group commit, many at a time.

    Waking the event loop and passing on Python's lock cost more than a message does: so once for all.
    """

    def __init__(self, threads: Callable[[], Awaitable[DatabaseThreads]]) -> None:
        self._threads = threads
        self._waiting: list[Waiting] = []
        self._committing: asyncio.Task[None] | None = None

    async def send(self, draft: Draft) -> Message:
        """The message in the log. Raises as the log does; cancelled, takes back what is not yet being committed."""
        result: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting.append((draft, result))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_all())
        return await result

    async def _commit_all(self) -> None:
        try:
            while self._waiting:
                gathered = [one for one in self._waiting if not one[1].done()]
                batch, self._waiting = gathered[:MAX_BATCH], gathered[MAX_BATCH:]
                if batch:
                    await self._commit(batch)
        finally:
            self._committing = None

    async def _commit(self, batch: list[Waiting]) -> None:
        """Commits a batch; if something is wrong with one of it, each by itself, so that only that one fails."""
        try:
            with sends:
                messages = await self._append([draft for draft, _ in batch])
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, LogUnavailable):
                await asyncio.gather(*(self._commit([one]) for one in batch))
            else:
                fail(batch, error)
        else:
            for (_, result), message in zip(batch, messages, strict=True):
                if not result.done():
                    result.set_result(message)

    async def _append(self, drafts: list[Draft]) -> list[Message]:
        threads = await self._threads()
        entry = CommitRequest(drafts, lambda: threads.submit_write(group_commit.commit))
        group_commit.put(entry)
        return await asyncio.wrap_future(entry.result)


def fail(batch: list[Waiting], error: Exception) -> None:
    for _, result in batch:
        if not result.done():
            result.set_exception(error)
