"""The inbox of a connection: what its client has said and is not in the log yet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from django.utils.translation import gettext, gettext_noop

from ..exceptions import LogUnavailable, OutcomeUnknown, Refused
from ..models import Message
from .log_lines import say
from .publish import relay
from .storage.records import Draft

if TYPE_CHECKING:
    from .node import Node

MAX_LAG = 2.0  # seconds that a commit may take before the client is told to wait
PONG_SECONDS = 1.0  # that a pong waits for what was said before the ping
MAX_WAITING = 256 * 1024  # bytes of one client
DRAFT_COST = 512  # bytes of memory that a draft takes beside its text
LAST_SECONDS = 5.0  # that the end of a connection waits for what its client said before
NOT_SENT = gettext_noop("The message could not be kept, so it was not sent. Try again.")
UNCERTAIN = gettext_noop("The message may or may not have been sent. Send it again with the same ref to be sure.")
TOO_SLOW = gettext_noop("What you said before is still on its way into the message log. Try again.")

Outcome = Message | Exception


class Inbox:
    """Commits what one client says in the order in which it came, and together what came during a commit.

    So a client is not held to one message per commit, and who reads its frames does not wait for the log. ``answer``
    is told of each draft what became of it: its message, or the error for which it was not sent, as a rule a Refused.
    """

    __slots__ = ("_answer", "_begun", "_committing", "_is_cancelled", "_node", "_size", "_waiting")

    def __init__(self, node: Node, answer: Callable[[Draft, Outcome], Awaitable[None]]) -> None:
        self._node = node
        self._answer = answer
        self._waiting: list[Draft] = []
        self._size = 0  # bytes of what waits and what is being committed
        self._begun = 0.0  # when the commit that is under way began
        self._committing: asyncio.Task[None] | None = None
        self._is_cancelled = False

    async def put(self, draft: Draft, size: int) -> None:
        """Takes what the client said, in a frame of so many characters. Raises Refused where the log is too slow.

        Where much of it waits, it waits for that, so that the client is not read meanwhile.
        """
        if self._size > MAX_WAITING:
            await self.settle()
        elif self._committing is not None and self._left_of(MAX_LAG) < 0:
            raise unavailable(TOO_SLOW)
        if self._is_cancelled:  # while permission was asked, or what came before was waited for
            return
        self._waiting.append(draft)
        self._size += DRAFT_COST + size
        if self._committing is None:
            self._begun = self._node.loop.time()
            self._committing = self._node.loop.create_task(self._commit())

    async def settle(self) -> None:
        """Waits until all is in the log that was said so far. Raises Refused where that takes too long."""
        await self.wait(MAX_LAG)
        if self._committing is not None:
            raise unavailable(TOO_SLOW)

    async def wait(self, patience: float) -> None:
        """Waits for what was said so far, unless a commit takes longer than ``patience`` seconds."""
        if self._committing is not None:
            await asyncio.wait([self._committing], timeout=max(self._left_of(patience), 0))

    async def finish(self) -> None:
        """Waits for the last messages of a connection that has ended."""
        if self._committing is not None:
            await asyncio.wait([self._committing], timeout=LAST_SECONDS)

    def cancel(self) -> None:
        """Takes back what is not yet being committed, and takes nothing more."""
        self._is_cancelled = True
        self._waiting = []
        if self._committing is not None:
            self._committing.cancel()

    def _left_of(self, patience: float) -> float:
        return self._begun + patience - self._node.loop.time()

    async def _commit(self) -> None:
        try:
            while self._waiting:
                drafts, self._waiting = self._waiting, []
                size = self._size
                self._begun = self._node.loop.time()
                parts = by_group(drafts)
                if len(parts) == 1:
                    await self._send(drafts)
                else:  # one group's trouble is that group's
                    await asyncio.gather(*map(self._send, parts))
                self._size -= size
        finally:
            self._committing = None

    async def _send(self, drafts: Sequence[Draft]) -> None:
        """Sends drafts together; one by one if one of them will not do, so that only that one fails."""
        outcomes: Sequence[Outcome]
        try:
            outcomes = await relay(self._node, drafts)
        except Exception as error:
            if len(drafts) > 1 and not isinstance(error, LogUnavailable):
                for draft in drafts:
                    await self._send([draft])
                return
            outcomes = [refusal_of(error, draft) for draft in drafts]
        for draft, outcome in zip(drafts, outcomes, strict=True):
            try:
                await self._answer(draft, outcome)
            except Exception as error:  # what waits is sent all the same
                say(logging.ERROR, "A client could not be told what became of its message", error=error)


def by_group(drafts: Sequence[Draft]) -> list[list[Draft]]:
    parts: dict[str, list[Draft]] = {}
    for draft in drafts:
        parts.setdefault(draft.group, []).append(draft)
    return list(parts.values())


def refusal_of(error: Exception, draft: Draft) -> Exception:
    """The error as the client is told of it, with the ref that it chose."""
    if isinstance(error, LogUnavailable):
        error = unavailable(UNCERTAIN if isinstance(error, OutcomeUnknown) else NOT_SENT, str(error))
    if isinstance(error, Refused) and draft.has_client_ref:
        error.ref = draft.ref
    return error


def unavailable(text: str, detail: str = "") -> Refused:
    return Refused(gettext(text), LogUnavailable.code, retry_after=LogUnavailable.retry_after, detail=detail)
