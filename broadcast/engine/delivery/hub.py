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
from ...exceptions import LogUnavailable
from ..hinting import hints
from ..hinting.hints import tell_extensions
from ..hinting.layer import Hint
from ..hinting.membership import Membership
from ..outages import SENDING, log_failing
from ..storage import log
from ..storage.database import NoLog
from ..storage.retention import prune_step
from ..storage.threads import DatabaseThreads, HubDatabase
from ..wire import Frame, message_frame
from .feed import Feed, Follower, Position
from .pages import PAGE
from .relays import Relays
from .ring import MAX_FRAMES
from .rounds import Rounds

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
        self.feeds: dict[str, Feed] = {}
        self.rounds = Rounds(loop)
        self.membership = Membership(self.take)
        self.database = HubDatabase()
        self.relays = Relays(self.threads)
        self._opening: dict[str, asyncio.Task[Feed]] = {}
        self._catching_up: dict[Feed, asyncio.Task[None]] = {}
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
        feed = await self.open(group)
        feed.joining += 1
        try:
            if after is not None and epoch == feed.epoch and after > feed.head:
                with suppress(NoLog):
                    await self.catch_up(feed)
            return feed.follow(follower, after, epoch)
        finally:
            feed.joining -= 1

    async def open(self, group: str) -> Feed:
        """The feed of a group; the first to ask for it adds the hub to the group, then reads its head."""
        self._start()
        if group in self.feeds:
            return self.feeds[group]
        if group not in self._opening:
            self._opening[group] = asyncio.create_task(self._open(group))
            self._opening[group].add_done_callback(lambda _: self._opening.pop(group, None))
        return await asyncio.shield(self._opening[group])

    async def _open(self, group: str) -> Feed:
        feed = Feed(group, self.read_page)
        await self.membership.add(group)
        with suppress(NoLog):
            head = await self._log_join(group)
            feed.restart(head.epoch, head.begin, head.floor)
            feed.skip_to(head.offset)
        feed.idle_since = self.loop.time()
        self.feeds[group] = feed
        return feed

    async def _log_join(self, group: str) -> log.Head:
        head, extensions = await self.write(log.join, group)
        tell_extensions(extensions)
        return head

    async def read_page(self, group: str, after: int) -> list[Frame]:
        rows = await self.read(log.read, group, after, PAGE)
        return [message_frame(row) for row in rows if (row.offset or 0) <= after + PAGE]

    # Hints

    def take(self, hint: Hint) -> None:
        """Delivers a hint to the group's feed; what it shows to be missing is read from the log."""
        feed = self.feeds.get(hint.group)
        if feed is None:
            if opening := self._opening.get(hint.group):
                opening.add_done_callback(lambda _: self.take(hint))
        elif feed.take(hint):
            self.loop.call_later(EARLY_PATIENCE, self._look_again, feed, hint)

    def hand_over(self, hint: Hint) -> bool:
        """Takes a hint from any thread; false if the hub's loop has ended."""
        try:
            self.loop.call_soon_threadsafe(self.take, hint)
        except RuntimeError:
            return False
        return True

    def _look_again(self, feed: Feed, hint: Hint) -> None:
        missing = hint.epoch != feed.epoch or (hint.head or 0) > feed.head
        if missing and self.feeds.get(feed.name) is feed:
            self._start_catching_up(feed)

    # Catching up with the log

    async def catch_up(self, feed: Feed) -> None:
        """Reads what the log has beyond the feed; those who ask meanwhile wait for the same read."""
        await asyncio.shield(self._start_catching_up(feed))

    def _start_catching_up(self, feed: Feed) -> asyncio.Task[None]:
        task = self._catching_up.get(feed)
        if task is None:
            task = self._catching_up[feed] = asyncio.create_task(self._look([feed]))
            task.add_done_callback(lambda done: self._caught_up(feed, done))
        return task

    def _caught_up(self, feed: Feed, task: asyncio.Task[None]) -> None:
        del self._catching_up[feed]
        if not task.cancelled():
            report(task.exception())

    async def _look(self, feeds: list[Feed]) -> None:
        """Compares feeds with their heads in the log and brings them up to it."""
        known = {feed: (feed.epoch, feed.head) for feed in feeds}
        heads = await self.read(log.heads, [feed.name for feed in feeds])
        for feed, (epoch, delivered) in known.items():
            head = heads.get(feed.name) or await self._log_join(feed.name)
            if feed.epoch == epoch:  # otherwise it has heard newer things meanwhile
                await self._reconcile(feed, head, delivered)
        # Only now: where a backup was restored, these are the first to be given the lost offsets again.
        waiting = [name for name, head in heads.items() if head.waiting]
        if waiting:
            tell_extensions(await self.write(log.sequence, waiting))

    async def _reconcile(self, feed: Feed, head: log.Head, delivered: int) -> None:
        if head.epoch != feed.epoch:
            feed.restart(head.epoch, head.begin, head.floor)
            await self._fill(feed, head)
        elif head.offset < delivered:
            # A backup was restored, or a failover lost commits: the offsets will be given again.
            await self.write(log.renew_epoch, feed.name, feed.epoch, delivered)
            renewed = (await self.read(log.heads, [feed.name])).get(feed.name)
            if renewed is not None and renewed.epoch != feed.epoch:
                feed.restart(renewed.epoch, renewed.begin, renewed.floor)
        else:
            feed.floor = head.floor
            await self._fill(feed, head)

    async def _fill(self, feed: Feed, head: log.Head) -> None:
        """Reads what is missing below ``head``; of a very long gap only the newest part."""
        if head.offset - feed.head > MAX_FRAMES:
            feed.skip_to(head.offset - MAX_FRAMES)
        while feed.epoch == head.epoch and feed.head < head.offset:
            asked = feed.head
            rows = await self.read(log.read, feed.name, asked, PAGE)
            if feed.epoch == head.epoch:
                feed.absorb([message_frame(row) for row in rows], asked, head.offset)
        feed.notify()

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
                if not self.feeds and not self._opening:
                    return
        finally:
            await self._close()

    async def _tick(self) -> None:
        try:
            await self._look(list(self.feeds.values()))
        except Exception as error:
            report(error)
        self._let_go()
        if self._tidying is None or self._tidying.done():
            self._tidying = asyncio.create_task(self._tidy())

    def _let_go(self) -> None:
        for feed in list(self.feeds.values()):
            feed.ring.settle()
            if feed.idle_since is not None and not feed.joining and self.loop.time() - feed.idle_since > LINGER:
                del self.feeds[feed.name]

    async def _tidy(self) -> None:
        """Does what may take its time, beside the polling: the channel's groups, and what is too old."""
        try:
            await self.membership.renew()
            for group in self.membership.groups:
                if group not in self.feeds and group not in self._opening:
                    await self.membership.discard(group)
            if self.loop.time() >= self._next_prune or log_failing.is_on_in(SENDING):
                self._next_prune = self.loop.time() + PRUNE_EVERY
                for name in list(self.feeds):
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
    if error is not None and not isinstance(error, LogUnavailable | NoLog):
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
