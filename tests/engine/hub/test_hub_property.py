"""The guarantee, under whatever happens: each offset once, in order, unless a reset said otherwise.

A state machine drives the real hub, streams and transports on a real log, on a clock that it moves itself.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any

import pytest
from django.db import OperationalError, transaction
from django.db.backends.signals import connection_created
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from broadcast import send_many
from broadcast.engine.frames import message_frame
from broadcast.engine.hints.hint import Hint
from broadcast.engine.hub import hub as hub_module
from broadcast.engine.hub import pages as pages_module
from broadcast.engine.hub import ring as ring_module
from broadcast.engine.hub import stream as stream_module
from broadcast.engine.process import this_process
from broadcast.engine.storage.records import VOID
from broadcast.exceptions import LogUnavailable
from broadcast.models import Group, Message
from tests.kit.streams import Client, database_threads, drafts, frame

GROUPS = ("a", "b")
POLL = 1.0  # seconds of the machine's clock
ROUNDS = 20_000  # of the event loop: whoever is not quiet by then never will be

some_group = st.sampled_from(GROUPS)
somebody = st.integers(0, 99)


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still until it is moved, and which knows what its threads do."""

    def __init__(self) -> None:
        self.now = 0.0
        self.jobs: set[asyncio.Future[Any]] = set()
        super().__init__()

    def time(self) -> float:
        return self.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, function: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        job = super().run_in_executor(executor, function, *args)
        self.jobs.add(job)
        job.add_done_callback(self.jobs.discard)
        return job

    async def trim(self) -> None:
        """Returns when nothing goes on any more; only the clock could change that."""
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
            if self.jobs:
                await asyncio.wait(self.jobs)
            elif not self._ready:  # type: ignore[attr-defined]
                return
        raise AssertionError("something is busy for ever")

    async def advance(self, seconds: float) -> None:
        await self.trim()
        while seconds > 0:
            self.now += min(seconds, POLL)
            seconds -= POLL
            await self.trim()


class Outage:
    """Lets the statements of hubs fail, after some more that succeed."""

    def __init__(self) -> None:
        self.statements_left: int | None = None

    def __call__(self, execute: Callable[..., Any], *args: Any) -> Any:
        if self.statements_left is not None:
            if self.statements_left <= 0:
                raise OperationalError("disk I/O error")
            self.statements_left -= 1
        return execute(*args)

    def install(self, connection: Any, **kwargs: Any) -> None:
        if threading.current_thread().name.startswith("broadcast-") and self not in connection.execute_wrappers:
            connection.execute_wrappers.append(self)


class Truth:
    """What each epoch's offsets stand for, as far as the log has ever said."""

    def __init__(self) -> None:
        self.bodies: dict[str, dict[int, str]] = {}
        self.groups: dict[str, Group] = {}

    def refresh(self) -> None:
        self.groups = {group.name: group for group in Group.objects.all()}
        for message in Message.objects.filter(offset__isnull=False):
            epoch = self.groups[message.group_id].epoch
            self.bodies.setdefault(epoch, {})[message.offset or 0] = message.body


class Witness(Client):
    """A connection that follows one group and checks each frame against what went before."""

    def __init__(self, group: str) -> None:
        super().__init__()
        self.group = group
        self.read = 0
        self.epoch = ""
        self.offset = 0

    def check(self, truth: Truth) -> None:
        for fields in self.received[self.read :]:
            if fields["type"] == "reset":
                self.check_reset(fields, truth)
            elif fields["offset"] is not None:
                assert fields["offset"] == self.offset + 1, f"{fields['offset']} follows {self.offset}"
                assert fields["body"] == truth.bodies[self.epoch][fields["offset"]]
                self.offset += 1
        self.read = len(self.received)

    def check_reset(self, fields: dict[str, Any], truth: Truth) -> None:
        if fields["epoch"] == self.epoch:
            assert self.offset < fields["offset"], "a reset went back"
            current = truth.groups[self.group]
            assert current.epoch != self.epoch or fields["offset"] <= current.floor, "what was skipped is still there"
        self.epoch, self.offset = fields["epoch"], fields["offset"]


class HubMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        Message.objects.all().delete()
        Group.objects.all().delete()
        self.runner = asyncio.Runner(loop_factory=Loop)
        self.loop: Loop = self.runner.get_loop()  # type: ignore[assignment]
        self.outage = Outage()
        connection_created.connect(self.outage.install)
        self.truth = Truth()
        self.witnesses: list[Witness] = []
        self.mail: list[Hint] = []
        self.sent = 0

    def teardown(self) -> None:
        try:
            self.quiesce()
            self.everyone_leaves()
        finally:
            self.runner.close()
            connection_created.disconnect(self.outage.install)
            for thread in database_threads():
                thread.join(10)

    # Driving

    def run(self, work: Coroutine[Any, Any, Any] | None = None) -> Any:
        async def settled() -> Any:
            try:
                return await work if work is not None else None
            finally:
                await self.loop.trim()

        result = self.runner.run(settled())
        self.check()
        return result

    def check(self) -> None:
        self.truth.refresh()
        for witness in self.witnesses:
            witness.check(self.truth)
        node = this_process.nodes.get(self.loop)
        for stream in node.hub.streams.values() if node else ():
            assert len(stream.out_of_order) <= stream_module.MAX_OUT_OF_ORDER
            assert len(stream._pages._pages) <= pages_module.MAX_PAGES
            assert len(stream.ring.frames) <= ring_module.MAX_FRAMES

    def new_bodies(self, count: int) -> list[str]:
        self.sent += count
        return [str(number) for number in range(self.sent - count, self.sent)]

    def take(self, *hints: Hint) -> None:
        async def work() -> None:
            if node := this_process.nodes.get(self.loop):
                for hint in hints:
                    node.hub.on_hint(hint)

        self.run(work())

    def pick(self, number: int) -> Witness:
        return self.witnesses[number % len(self.witnesses)]

    # Sending

    @initialize(count=st.integers(0, 30))
    def history(self, count: int) -> None:
        for group in GROUPS:
            this_process.log.append(drafts(*self.new_bodies(count), group=group)) if count else None

    @rule(
        group=some_group,
        count=st.integers(1, 8) | st.integers(20, 60),
        how=st.sampled_from(["told", "lost", "late", "doubled", "split", "reversed", "partly", "only the head"]),
    )
    def another_process_sends(self, group: str, count: int, how: str) -> None:
        (new_messages,) = this_process.log.append(drafts(*self.new_bodies(count), group=group)).news
        frames = [message_frame(message) for message in new_messages.messages]
        head = frames[-1].offset
        whole = Hint(group, frames, new_messages.epoch, head)
        single = [Hint(group, [each], new_messages.epoch, each.offset) for each in frames]
        now, later = {
            "told": ([whole], []),
            "lost": ([], []),
            "late": ([], [whole]),
            "doubled": ([whole, whole], [whole]),
            "split": (single[::2], single[1::2]),
            "reversed": (single[::-1], []),
            "partly": ([Hint(group, frames[: count // 2 + 1], new_messages.epoch, head)], []),
            "only the head": ([Hint(group, frames[-1:], new_messages.epoch, head)], []),
        }[how]
        self.mail += later
        self.take(*now)

    @rule(group=some_group, count=st.integers(1, 8))
    def this_process_sends(self, group: str, count: int) -> None:
        send_many(self.new_bodies(count), group=group)
        self.run()

    @rule(group=some_group, commits=st.booleans())
    def a_transaction_sends(self, group: str, commits: bool) -> None:
        try:
            with transaction.atomic():
                send_many(self.new_bodies(2), group=group)
                if not commits:
                    raise InterruptedError
        except InterruptedError:
            pass
        self.run()

    @rule(group=some_group, count=st.integers(1, 3))
    def a_process_dies_between_commit_and_sequencing(self, group: str, count: int) -> None:
        this_process.log.insert_waiting(drafts(*self.new_bodies(count), group=group))

    @rule(group=some_group)
    def something_ephemeral(self, group: str) -> None:
        self.take(Hint(group, [frame(None, "typing")]))

    @precondition(lambda self: self.mail)
    @rule(number=somebody, stays=st.booleans())
    def a_late_hint_arrives(self, number: int, stays: bool) -> None:
        hint = self.mail[number % len(self.mail)]
        if not stays:
            self.mail.remove(hint)
        self.take(hint)

    # Connections

    @rule(group=some_group, back=st.none() | st.integers(-2, 70), is_current=st.booleans(), shut=st.booleans())
    def somebody_joins(self, group: str, back: int | None, is_current: bool, shut: bool) -> None:
        self.truth.refresh()
        known = self.truth.groups.get(group)
        after = None if back is None else max(0, (known.head if known else 0) - back)
        epoch = known.epoch if known and is_current else "old"
        witness = self.runner.run(self.joining(group, after, epoch, shut))
        if witness is None:
            assert self.outage.statements_left is not None
            return
        witness.epoch, witness.offset = witness.welcome
        self.witnesses.append(witness)
        can_recover = known is not None and is_current and after is not None and known.floor <= after <= known.head
        if self.outage.statements_left is None and can_recover:
            assert witness.recovered
        if witness.recovered:  # of pruning the hub may hear later; then a reset follows
            assert is_current
            assert witness.offset == after
        self.run()

    async def joining(self, group: str, after: int | None, epoch: str, shut: bool) -> Witness | None:
        """Whoever joined; None if the log did not let them."""
        witness = Witness(group)
        if shut:
            witness.socket.clear()
        try:
            await witness.join(group, after, epoch)
        except LogUnavailable:
            await witness.leave()
            return None
        return witness

    @precondition(lambda self: self.witnesses)
    @rule(number=somebody)
    def a_socket_is_shut(self, number: int) -> None:
        self.pick(number).socket.clear()

    @precondition(lambda self: self.witnesses)
    @rule(number=somebody)
    def a_socket_is_open(self, number: int) -> None:
        self.pick(number).socket.set()
        self.run()

    @precondition(lambda self: self.witnesses)
    @rule(number=somebody)
    def somebody_vanishes(self, number: int) -> None:
        witness = self.pick(number)
        self.witnesses.remove(witness)
        self.run(witness.leave())

    # The log

    @rule(group=some_group, keep=st.integers(1, 40))
    def old_messages_are_pruned(self, group: str, keep: int) -> None:
        self.truth.refresh()
        while this_process.pruning.prune(group, keep, None, 10):
            pass
        self.truth.refresh()

    @precondition(lambda self: self.outage.statements_left is None)
    @rule(group=some_group, lost=st.integers(1, 40))
    def a_backup_is_restored(self, group: str, lost: int) -> None:
        """It is noticed by the next look, so the machine lets one come before anyone sends."""
        self.time_passes(POLL)
        known = Group.objects.filter(name=group).first()
        if known is None:
            return
        head = max(0, known.head - lost)
        Message.objects.filter(group_id=group, offset__gt=head).delete()
        Group.objects.filter(name=group).update(head=head, floor=min(head, known.floor))
        self.run(self.loop.advance(POLL))
        if self.truth.groups[group].epoch == known.epoch:
            # Nobody listened, so nobody has seen what is lost, and no hint of it arrives later.
            self.mail = [hint for hint in self.mail if hint.group != group]

    @rule(statements=st.integers(0, 12))
    def the_log_fails(self, statements: int) -> None:
        self.outage.statements_left = statements

    @precondition(lambda self: self.outage.statements_left is not None)
    @rule()
    def the_log_is_back(self) -> None:
        self.outage.statements_left = None

    @rule(seconds=st.sampled_from([0.01, POLL, 7.0]))
    def time_passes(self, seconds: float) -> None:
        self.run(self.loop.advance(seconds))

    # The end

    def quiesce(self) -> None:
        """Everything works, everyone reads, and some seconds go by: now everyone must have everything."""
        self.outage.statements_left = None
        for witness in self.witnesses:
            witness.socket.set()
        self.run(self.loop.advance(4 * POLL))
        for witness in self.witnesses:
            group = self.truth.groups.get(witness.group) or Group(name=witness.group, epoch=VOID)
            note(f"{witness.group} is at {group.head}, a connection at {witness.offset}")
            assert (witness.offset, witness.epoch) == (group.head, group.epoch)
            assert witness.close_code is None
            assert not Message.objects.filter(group_id=group.name, offset=None).exists()

    def everyone_leaves(self) -> None:
        for witness in self.witnesses:
            self.run(witness.leave())
        self.run(self.loop.advance(hub_module.LINGER + 3 * POLL))
        assert self.loop not in this_process.nodes
        assert asyncio.all_tasks(self.loop) == set()


@pytest.mark.no_cover  # of what it runs, others have run each line
@pytest.mark.django_db(transaction=True)
def test_every_connection_gets_each_offset_once_and_in_order(monkeypatch, settings):
    settings.BROADCAST = {"POLL_INTERVAL": POLL}
    settings.CHANNEL_LAYERS = {}
    for module in (ring_module, hub_module):
        monkeypatch.setattr(module, "MAX_FRAMES", 20)
    monkeypatch.setattr(ring_module, "BURST_FACTOR", 1)
    for module in (pages_module, hub_module):
        monkeypatch.setattr(module, "PAGE", 7)
    monkeypatch.setattr(pages_module, "MAX_PAGES", 2)
    monkeypatch.setattr(stream_module, "MAX_OUT_OF_ORDER", 5)
    monkeypatch.setattr(stream_module, "BATCH_FRAMES", 4)
    run_state_machine_as_test(HubMachine, settings=machine_settings)


machine_settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
