"""The hub: takes hints, keeps the stream of each group, and asks the log about whatever it has not been told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ...exceptions import NoLog
from ..batcher import Batcher
from ..frames import Frame, message_frame
from ..hints.hint import Hint
from ..slices import slices
from ..storage.database import EpochEnded
from ..storage.records import VOID, Head
from .housekeeping import Housekeeping, report
from .pages import PAGE
from .poll import Poll
from .position import Follower, Position
from .ring import MAX_FRAMES
from .stream import GroupStream

if TYPE_CHECKING:
    from ..node import Node

EARLY_PATIENCE = 0.005  # seconds that a missing hint may be late before the log is asked
LINGER = 5.0  # seconds that a group outlives its last connection
DROPPED_PER_SECOND = 5000  # groups that are looked at, on average, to drop those that nobody follows
AT_ONCE = 400  # groups in one look at their heads: SQLite may take less than a thousand parameters


class Hub:
    """Feeds the connections of one event loop. It belongs to a node, which polls it."""

    def __init__(self, node: Node) -> None:
        self.streams: dict[str, GroupStream] = {}
        self._node = node
        self._loop = node.loop
        self._log = node.process.log
        self._database = node.database
        self._poll = Poll(self._log, self._database)
        self._page_reader = self._read_page  # one for all streams
        self._opening = Batcher(self._open, AT_ONCE)
        self._housekeeping = Housekeeping(node, self)
        self._drops_at = 0.0
        self._catching_up: dict[GroupStream, asyncio.Task[None]] = {}
        self._sequencing: dict[str, asyncio.Task[None]] = {}
        self._told_meanwhile: dict[GroupStream, Hint] = {}

    @property
    def is_busy(self) -> bool:
        """True if a group is followed, was a moment ago, or is about to be."""
        return bool(self.streams or len(self._opening))

    def has(self, group: str) -> bool:
        """True if a group is followed, was a moment ago, or is about to be."""
        return group in self.streams or group in self._opening

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
            if after is not None and not stream.knows(after, epoch):
                with suppress(NoLog):
                    await self.catch_up(stream)
            return stream.follow(follower, after, epoch)
        finally:
            stream.joining -= 1

    async def open(self, group: str) -> GroupStream:
        """The stream of a group. The first to ask for it joins the Channels group, then reads the head."""
        return self.streams.get(group) or await self._opening.ask(group)

    async def _open(self, groups: list[str]) -> Mapping[str, GroupStream]:
        """The streams of groups that nobody follows yet: one look for the heads of all."""
        opened = {group: GroupStream(group, self._page_reader) for group in groups}
        try:
            await self._node.receiver.add(*groups)
            with suppress(NoLog):
                for group, head in (await self._database.read(self._log.heads, groups)).items():
                    opened[group].restart(head.epoch, head.begin, head.floor)
                    opened[group].skip_to(head.offset)
                    if head.has_waiting:
                        self._start_sequencing(group)
        except BaseException:
            self._housekeeping.leave(groups)
            raise
        for stream in opened.values():
            stream.idle_since = self._loop.time()
        self.streams.update(opened)
        return opened

    async def _read_page(self, stream: GroupStream, after: int) -> list[Frame]:
        """A page of the stream's epoch. Raises EpochEnded if that is over: its readers wait for what is next."""
        try:
            page = await self._read(stream.name, after, stream.epoch)
        except EpochEnded:
            self._start_catching_up(stream)
            raise
        return [frame for frame in page if (frame.offset or 0) <= after + PAGE]

    async def _read(self, group: str, after: int, epoch: str) -> list[Frame]:
        """What follows an offset of an epoch. Raises EpochEnded if that is over: then nothing was pruned but erased."""
        rows = await self._database.read(self._log.read, group, after, PAGE, epoch)
        if not rows and (await self._database.read(self._log.head, group)).epoch != epoch:
            raise EpochEnded("The message log starts anew.")
        return [message_frame(row) for row in rows]

    # Hints

    def on_hint(self, hint: Hint) -> None:
        """Delivers a hint to the group's stream; what it shows to be missing is read from the log."""
        stream = self.streams.get(hint.group)
        if stream is None:
            if opening := self._opening.under_way(hint.group):
                opening.add_done_callback(lambda _: self.on_hint(hint))
        elif not hint.frames:
            self._look_for(stream, hint)
        elif stream.head == 0 and (looking := self._catching_up.get(stream)):
            looking.add_done_callback(lambda _: self.on_hint(hint))  # the first message of the log comes before it
        elif stream.apply_hint(hint):
            if stream.epoch == VOID:
                self._start_catching_up(stream)
            else:
                self._loop.call_later(EARLY_PATIENCE, self._look_for, stream, hint)

    def _look_for(self, stream: GroupStream, hint: Hint) -> None:
        """Reads what a hint shows to be missing: all that come during one look have one more look together."""
        looking, told = self._catching_up.get(stream), self._told_meanwhile.get(stream)
        if looking is None and stream.is_behind(hint) and self.streams.get(stream.name) is stream:
            self._start_catching_up(stream, hint)
        elif looking is not None and told is None:
            looking.add_done_callback(lambda _: self._look_for(stream, self._told_meanwhile.pop(stream)))
        if looking is not None and (told is None or told.epoch != hint.epoch or (told.head or 0) < (hint.head or 0)):
            self._told_meanwhile[stream] = hint

    # Catching up with the log

    async def catch_up(self, stream: GroupStream) -> None:
        """Reads what the log has beyond the stream by now; those who ask meanwhile wait for the same read.

        A read that is under way may have begun before what is asked for here came to be.
        """
        if (under_way := self._catching_up.get(stream)) is not None:
            await asyncio.wait([under_way])
        if self.streams.get(stream.name) is stream:  # otherwise the hub was closed meanwhile
            await asyncio.shield(self._start_catching_up(stream))

    def _start_catching_up(self, stream: GroupStream, hint: Hint | None = None) -> asyncio.Task[None]:
        task = self._catching_up.get(stream)
        if task is None:
            look = self._compare_with_log([stream]) if hint is None else self._read_on(stream, hint)
            task = self._catching_up[stream] = asyncio.create_task(look)
            task.add_done_callback(lambda done: self._caught_up(stream, done))
        return task

    def _caught_up(self, stream: GroupStream, task: asyncio.Task[None]) -> None:
        del self._catching_up[stream]
        if not task.cancelled():
            report(task.exception())

    async def _read_on(self, stream: GroupStream, hint: Hint) -> None:
        """Reads what follows in a stream, by one query; compares the stream with its head where that is not all."""
        if hint.epoch == stream.epoch:
            with suppress(EpochEnded):
                page = await self._read(stream.name, stream.head, hint.epoch)
                if hint.epoch == stream.epoch:
                    for frame in page:
                        stream.put(frame)
                    stream.notify()
        if stream.is_behind(hint):
            await self._compare_with_log([stream])

    async def _compare_with_log(self, streams: Sequence[GroupStream]) -> None:
        """Compares streams with their heads in the log and brings them up to it, each as far as it can be read.

        Raises the first failure, when all have had their turn.
        """
        known = {stream: (stream.epoch, stream.head) for stream in streams}
        heads = await self._database.read(self._log.heads, [stream.name for stream in streams])
        failures: list[Exception] = []
        for stream, (epoch, delivered) in known.items():
            head = heads[stream.name]
            try:
                if stream.epoch == epoch:
                    await self._reconcile(stream, head, delivered)
                else:  # another look has gone over to another epoch meanwhile, and may still read what is in it
                    await self._go_on(stream, head)
            except Exception as error:
                failures.append(error)
                continue
            # Not before: where a backup was restored, these are the first to be given the lost offsets again.
            if head.has_waiting:
                self._start_sequencing(stream.name)
        if failures:
            raise failures[0]

    def _start_sequencing(self, group: str) -> None:
        """Gives offsets to what waits in a group, beside everything else: somebody may hold the group's row."""
        if group not in self._sequencing:
            self._sequencing[group] = asyncio.create_task(self._sequence(group))

    async def _sequence(self, group: str) -> None:
        try:
            news = await self._database.write(self._log.sequence, group)
            self._node.process.hints.publish_news([news])
        except Exception as error:
            report(error)
        finally:
            del self._sequencing[group]

    async def _go_on(self, stream: GroupStream, head: Head) -> None:
        """Brings a stream of another epoch than it was up to the log: to this head, or to that of a newer look."""
        if head.epoch == stream.epoch:
            await self._fill(stream, head)
        else:
            await self._compare_with_log([stream])

    async def _reconcile(self, stream: GroupStream, head: Head, delivered: int) -> None:
        if head.epoch != stream.epoch:
            stream.restart(head.epoch, head.begin, head.floor)
            await self._fill(stream, head)
        elif head.offset < delivered:
            # A backup was restored, or a failover lost commits: the offsets will be given again.
            await self._database.write(self._log.renew_epoch, stream.name, stream.epoch, delivered)
            renewed = await self._database.read(self._log.head, stream.name)
            if renewed.epoch != stream.epoch:
                stream.restart(renewed.epoch, renewed.begin, renewed.floor)
        else:
            stream.floor = head.floor
            await self._fill(stream, head)

    async def _fill(self, stream: GroupStream, head: Head) -> None:
        """Reads what is missing below ``head``; of a very long gap only the newest part."""
        if head.offset - stream.head > MAX_FRAMES:
            stream.skip_to(head.offset - MAX_FRAMES)
        try:
            while stream.epoch == head.epoch and stream.head < head.offset:
                asked = stream.head
                page = await self._read(stream.name, asked, head.epoch)
                if stream.epoch == head.epoch:
                    stream.apply_page(page, asked, head.offset)
        except EpochEnded:
            await self._compare_with_log([stream])
        finally:
            stream.notify()

    # Polling and leaving

    async def tick(self) -> None:
        """One poll: compares every stream with its head in the log. Never raises; the next poll makes up for it."""
        try:
            if self.streams:  # otherwise a node that is only held or kept needs no database
                await self._look(await self._poll.due(self.streams, self._opening))
        except Exception as error:
            report(error)
        self._drop_idle()
        self._housekeeping.begin()

    async def _look(self, due: list[GroupStream]) -> None:
        for some in slices(due, AT_ONCE):
            try:
                await self._compare_with_log(some)
            except Exception as error:
                self._poll.again(some)
                report(error)

    def close(self) -> None:
        """Ends what is under way, and lets nothing more begin."""
        self.streams.clear()
        self._opening.close()
        self._housekeeping.close()
        for task in (*self._catching_up.values(), *self._sequencing.values()):
            task.cancel()

    def _drop_idle(self) -> None:
        now, dropped = self._loop.time(), []
        if now < self._drops_at:
            return
        self._drops_at = now + len(self.streams) / DROPPED_PER_SECOND
        for stream in self.streams.values():
            if stream.ring.frames:
                stream.ring.trim()
            idle_since = stream.idle_since
            if idle_since is not None and not stream.joining and now - idle_since > LINGER:
                dropped.append(stream.name)
        for name in dropped:
            del self.streams[name]
        self._housekeeping.leave(dropped)
