"""The hub: takes hints, keeps each group's feed, and asks the log about whatever it has not been told.

One per event loop, made with the first connection and gone some seconds after the last.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from ...conf import conf
from ...exceptions import LogUnavailable, NoLog
from ..frames import Frame, message_frame
from ..health import SENDING, log_failing
from ..hints import publisher as hints
from ..hints.hint import Hint
from ..hints.publisher import publish_news
from ..hints.receiver import LayerReceiver
from ..storage import log
from ..storage.pruning import prune_step
from ..storage.threads import DatabaseThreads, HubDatabase
from .pages import PAGE
from .relays import Relays
from .ring import MAX_FRAMES
from .stream import Follower, GroupStream, Position
from .write_scheduler import WriteScheduler

T = TypeVar("T")

logger = logging.getLogger("broadcast")

EARLY_PATIENCE = 0.005  # seconds that a missing hint may be late before the log is asked
LINGER = 5.0  # seconds that a group, and then the hub, outlives its last connection
PRUNE_EVERY = 60.0  # seconds
END_TIMEOUT = 2.0  # seconds that the end of the process waits for a hub


class Hub:
    """Feeds the connections of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.streams: dict[str, GroupStream] = {}
        self.scheduler = WriteScheduler(loop)
        self.membership = LayerReceiver(self.take)
        self.database = HubDatabase()
        self.relays = Relays(self.threads)
        self._opening: dict[str, asyncio.Task[GroupStream]] = {}
        self._catching_up: dict[GroupStream, asyncio.Task[None]] = {}
        self._polling: asyncio.Task[None] | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._next_prune = loop.time() + PRUNE_EVERY

    # The database

    async def read(self, function: Callable[..., T], *args: object) -> T:
        """Runs ``function`` in the reader's thread. Raises as the log does."""
        self._start()
        return await self.database.read(function, *args)

    async def write(self, function: Callable[..., T], *args: object) -> T:
        """Runs ``function`` in the writer's thread. Raises as the log does."""
        self._start()
        return await self.database.write(function, *args)

    async def threads(self) -> DatabaseThreads:
        """The threads themselves, for who commits for others too."""
        self._start()
        return await self.database.threads()

    # Joining

    async def join(
        self, follower: Follower, group: str, after: int | None = None, epoch: str = ""
    ) -> tuple[Position, bool]:
        """A position in ``group`` and whether it is where ``after`` of ``epoch`` asked for.

        Nothing that is sent from now on is missed. Raises LogUnavailable if the log fails.
        """
        stream = await self.open(group)
        stream.joining += 1
        try:
            if after is not None and epoch == stream.epoch and after > stream.head:
                with suppress(NoLog):
                    await self.catch_up(stream)
            return stream.follow(follower, after, epoch)
        finally:
            stream.joining -= 1

    async def open(self, group: str) -> GroupStream:
        """The feed of a group; the first to ask for it adds the hub to the group, then reads its head."""
        self._start()
        if group in self.streams:
            return self.streams[group]
        if group not in self._opening:
            self._opening[group] = asyncio.create_task(self._open(group))
            self._opening[group].add_done_callback(lambda _: self._opening.pop(group, None))
        return await asyncio.shield(self._opening[group])

    async def _open(self, group: str) -> GroupStream:
        stream = GroupStream(group, self.read_page)
        await self.membership.add(group)
        with suppress(NoLog):
            head = await self._log_join(group)
            stream.restart(head.epoch, head.begin, head.floor)
            stream.skip_to(head.offset)
        stream.idle_since = self.loop.time()
        self.streams[group] = stream
        return stream

    async def _log_join(self, group: str) -> log.Head:
        head, news = await self.write(log.join, group)
        publish_news(news)
        return head

    async def read_page(self, group: str, after: int) -> list[Frame]:
        rows = await self.read(log.read, group, after, PAGE)
        return [message_frame(row) for row in rows if (row.offset or 0) <= after + PAGE]

    # Hints

    def take(self, hint: Hint) -> None:
        """Delivers a hint to the group's feed; what it shows to be missing is read from the log."""
        stream = self.streams.get(hint.group)
        if stream is None:
            if opening := self._opening.get(hint.group):
                opening.add_done_callback(lambda _: self.take(hint))
        elif stream.take(hint):
            self.loop.call_later(EARLY_PATIENCE, self._look_again, stream, hint)

    def hand_over(self, hint: Hint) -> bool:
        """Takes a hint from any thread; false if the hub's loop has ended."""
        try:
            self.loop.call_soon_threadsafe(self.take, hint)
        except RuntimeError:
            return False
        return True

    def _look_again(self, stream: GroupStream, hint: Hint) -> None:
        missing = hint.epoch != stream.epoch or (hint.head or 0) > stream.head
        if missing and self.streams.get(stream.name) is stream:
            self._start_catching_up(stream)

    # Catching up with the log

    async def catch_up(self, stream: GroupStream) -> None:
        """Reads what the log has beyond the feed; those who ask meanwhile wait for the same read."""
        await asyncio.shield(self._start_catching_up(stream))

    def _start_catching_up(self, stream: GroupStream) -> asyncio.Task[None]:
        task = self._catching_up.get(stream)
        if task is None:
            task = self._catching_up[stream] = asyncio.create_task(self._look([stream]))
            task.add_done_callback(lambda done: self._caught_up(stream, done))
        return task

    def _caught_up(self, stream: GroupStream, task: asyncio.Task[None]) -> None:
        del self._catching_up[stream]
        if not task.cancelled():
            report(task.exception())

    async def _look(self, streams: list[GroupStream]) -> None:
        """Compares feeds with their heads in the log and brings them up to it."""
        known = {stream: (stream.epoch, stream.head) for stream in streams}
        heads = await self.read(log.heads, [stream.name for stream in streams])
        for stream, (epoch, delivered) in known.items():
            head = heads.get(stream.name) or await self._log_join(stream.name)
            if stream.epoch == epoch:  # otherwise it has heard newer things meanwhile
                await self._reconcile(stream, head, delivered)
        # Only now: where a backup was restored, these are the first to be given the lost offsets again.
        waiting = [name for name, head in heads.items() if head.waiting]
        if waiting:
            publish_news(await self.write(log.sequence, waiting))

    async def _reconcile(self, stream: GroupStream, head: log.Head, delivered: int) -> None:
        if head.epoch != stream.epoch:
            stream.restart(head.epoch, head.begin, head.floor)
            await self._fill(stream, head)
        elif head.offset < delivered:
            # A backup was restored, or a failover lost commits: the offsets will be given again.
            await self.write(log.renew_epoch, stream.name, stream.epoch, delivered)
            renewed = (await self.read(log.heads, [stream.name])).get(stream.name)
            if renewed is not None and renewed.epoch != stream.epoch:
                stream.restart(renewed.epoch, renewed.begin, renewed.floor)
        else:
            stream.floor = head.floor
            await self._fill(stream, head)

    async def _fill(self, stream: GroupStream, head: log.Head) -> None:
        """Reads what is missing below ``head``; of a very long gap only the newest part."""
        if head.offset - stream.head > MAX_FRAMES:
            stream.skip_to(head.offset - MAX_FRAMES)
        while stream.epoch == head.epoch and stream.head < head.offset:
            asked = stream.head
            rows = await self.read(log.read, stream.name, asked, PAGE)
            if stream.epoch == head.epoch:
                stream.apply_page([message_frame(row) for row in rows], asked, head.offset)
        stream.notify()

    # Polling and leaving

    def _start(self) -> None:
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll())
            hints.receivers.add(self)

    async def _poll(self) -> None:
        try:
            while True:
                await asyncio.sleep(conf.POLL_INTERVAL)
                await self._tick()
                if not self.streams and not self._opening:
                    return
        finally:
            await self._close()

    async def _tick(self) -> None:
        try:
            await self._look(list(self.streams.values()))
        except Exception as error:
            report(error)
        self._let_go()
        if self._tidying is None or self._tidying.done():
            self._tidying = asyncio.create_task(self._tidy())

    def _let_go(self) -> None:
        for stream in list(self.streams.values()):
            stream.ring.settle()
            if stream.idle_since is not None and not stream.joining and self.loop.time() - stream.idle_since > LINGER:
                del self.streams[stream.name]

    async def _tidy(self) -> None:
        """Does what may take its time, beside the polling: the channel's groups, and what is too old."""
        try:
            await self.membership.renew()
            for group in self.membership.groups:
                if group not in self.streams and group not in self._opening:
                    await self.membership.discard(group)
            if self.loop.time() >= self._next_prune or log_failing.is_failing_in(SENDING):
                self._next_prune = self.loop.time() + PRUNE_EVERY
                for name in list(self.streams):
                    while await self.write(prune_step, name):
                        pass
        except Exception as error:
            report(error)

    async def _close(self) -> None:
        self.end()
        for task in [*self._opening.values(), *self._catching_up.values(), self._tidying]:
            if task is not None:
                task.cancel()
        await self.membership.close()

    def end(self) -> None:
        """Takes no more hints and closes the threads; for a loop that was closed there is no more to do."""
        if hubs.pop(self.loop, None) is self:
            hints.receivers.discard(self)
            self.database.close()


def report(error: BaseException | None) -> None:
    """Tells of a failure that the next poll makes up for; that the log is away has been told."""
    if error is not None and not isinstance(error, LogUnavailable):
        logger.error("A look at the message log failed; the next follows", exc_info=error)


hubs: dict[asyncio.AbstractEventLoop, Hub] = {}


@atexit.register
def end_all() -> None:
    """Ends what runs on loops that were stopped and not closed, as a Twisted reactor's: else it is torn apart."""
    for loop, hub in list(hubs.items()):
        if not (loop.is_running() or loop.is_closed()):
            # Its polling first: that leaves the layer, which needs tasks of its own to be left.
            cancel(loop, asyncio.all_tasks(loop) & {hub._polling})
            cancel(loop, asyncio.all_tasks(loop))


def cancel(loop: asyncio.AbstractEventLoop, tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=END_TIMEOUT))


def current_hub() -> Hub:
    """The hub of the running event loop. It may end when it has no listeners: do not keep it."""
    loop = asyncio.get_running_loop()
    if loop not in hubs:
        for other in list(hubs.values()):
            if other.loop.is_closed():
                other.end()
        hubs[loop] = Hub(loop)
    return hubs[loop]
