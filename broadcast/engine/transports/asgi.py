"""Writes by ASGI: each visit of a round starts one ``send``, and who has to wait for a client waits in a task."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from contextvars import Context, copy_context
from typing import Any

from ...conf import conf
from ..frames import STALLED, Batch, Dialect
from ..hub.position import Position
from .daphne.behind import below_channels
from .daphne.internals import WriteBackpressure
from .direct import WriteScheduler
from .transport import ClientGone, Send, Transport

IS_EAGER = sys.version_info >= (3, 12)  # a task can begin at once, and may be over then

Step = tuple[Position, Batch, int]
"""What to send next: of a batch, from a piece on."""


class AsgiTransport(Transport):
    """Writes by ASGI's ``send``, in the hub's rounds; needs a task only while the server waits for the client.

    A client that reads slowly holds up this task alone; what it has not got yet is a position. Where
    ``send`` does not wait for the client, ``backpressure`` tells whether it takes what it is sent.
    """

    __slots__ = ("_context", "_is_behind", "_older", "_rest", "_send_below", "_sending", "backpressure")

    def __init__(self, send: Send, dialect: Dialect, scheduler: WriteScheduler) -> None:
        super().__init__(send, dialect, scheduler)
        self.backpressure: WriteBackpressure | None = None
        self._send_below: Send = below_channels(send) or send  # its sessions are saved with an answer, not with frames
        self._context = copy_context()  # that of the connection; a round is begun in whose ever message it was
        self._is_behind = False  # something may have come since the last look
        self._rest: Step | None = None  # of a batch of which a part has been sent
        self._older: tuple[Position, Batch, int] | None = None  # what was read from the log, after which offset
        self._sending: asyncio.Task[None] | None = None

    def notify(self) -> None:
        if self._is_waiting:
            self._is_behind = True
        else:
            self._scheduler.add(self)

    def write_ready(self) -> bool:
        """Starts to send what comes next. True if that is over already, and there is more."""
        if self._is_waiting:
            return False
        try:
            step = self._next_step()
        except Exception as error:
            self.failed(error)
            return False
        if step is None:
            return False
        self._pause()
        task = started(self._deliver(step), self._context)
        if task.done():
            if self._rest is None and self._is_behind:
                self.notify()  # what else there is waits for the next round
            return not self._is_waiting and self._rest is not None
        self._sending = task
        self._scheduler.note_task()
        return False

    def _next_step(self) -> Step | None:
        self._is_behind = True
        rest, self._rest = self._rest, None
        if rest is not None and self.is_following(rest[0]):
            return rest
        older, self._older = self._older, None
        if older is not None and self.is_following(older[0]):
            position, read, offset = older
            if (position.offset, position.stream.epoch) == (offset, read.epoch):
                return position, read, 0
        for position in self.positions.values():
            batch = position.stream.batch(position)
            if batch is None:
                self._read_older(position)
            elif batch.frames:
                self._is_behind = len(self.positions) > 1 or not batch.is_last
                self._let_others_first(position)
                return position, batch, 0
        self._is_behind = False
        return None

    async def _deliver(self, step: Step) -> None:
        """Sends the next piece of a batch; all of it where each piece would need a task of its own."""
        try:
            position, batch, piece = step
            pieces = batch.pieces(self.dialect)
            while piece < len(pieces) and self.is_following(position):
                text, count = pieces[piece]
                await self.send_text(text, self._send_below)
                position.passed(batch, count)
                piece += 1
                if self.backpressure is not None and self.backpressure.is_full:
                    await self._wait_for_client(self.backpressure)
                if IS_EAGER and self._sending is None:  # the visit has not returned yet
                    break
            if piece < len(pieces) and self.is_following(position):
                self._rest, self._is_behind = (position, batch, piece), True
            self._go_on()
        except ClientGone:
            self._end(self._linger_then_abort())
        except Exception as error:
            self.failed(error)

    def _go_on(self) -> None:
        """Is visited again, if there is a reason."""
        task, self._sending = self._sending, None
        self._is_waiting = self._ending is not None
        if self._is_behind and task is not None:  # else it is being visited
            self.notify()

    def _write_older(self, position: Position, batch: Batch) -> None:
        self._older = position, batch, position.offset

    def _tasks(self) -> list[asyncio.Task[None] | None]:
        return [*super()._tasks(), self._sending]

    async def _wait_for_client(self, flow: WriteBackpressure) -> None:
        """Returns when the client has taken what it was sent; one that takes nothing for long has to go."""
        drained = asyncio.Event()
        flow.when_drained(drained.set)
        try:
            async with asyncio.timeout(conf.STALLED_TIMEOUT):
                await drained.wait()
        except TimeoutError:
            flow.abort_if_closing()
            await self.give_up(STALLED)
            raise ClientGone from None

    async def _linger_then_abort(self) -> None:
        """Aborts a closing connection whose client has read nothing for STALLED_TIMEOUT."""
        if self.backpressure is not None:
            await asyncio.sleep(conf.STALLED_TIMEOUT)
            self.backpressure.abort_if_closing()


def started(work: Coroutine[Any, Any, None], context: Context) -> asyncio.Task[None]:
    """A task that has begun already, where Python can; it may be done."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(work, loop=asyncio.get_running_loop(), context=context, eager_start=True)
    return asyncio.create_task(work, context=context)
