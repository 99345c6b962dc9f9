"""The hub while things overlap: what it reads may be older than what has happened by the time it acts on it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.db import connection, transaction

from broadcast.engine.hints.hint import Hint
from broadcast.engine.hub.hub import Hub
from broadcast.engine.process import this_process
from broadcast.engine.storage.records import VOID
from broadcast.models import Group, Message
from tests.kit.streams import Client, append, drafts, elsewhere, end_nodes, frame, hint_for, publish
from tests.kit.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.hub_contract]

SLOW = 60.0  # seconds: a poll that does not come while the test runs


@pytest.fixture(autouse=True)
async def nodes_that_end(settings: Any) -> AsyncIterator[None]:
    settings.BROADCAST = {"POLL_INTERVAL": SLOW}
    settings.CHANNEL_LAYERS = {}
    yield
    await end_nodes()


async def one(group: str = "broadcast") -> tuple[Client, Hub]:
    client = Client()
    await client.join(group)
    return client, client.node.hub


class Held:
    """A method of the log that has done its work and does not return before it is let go, once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.reached, self.gate = threading.Event(), threading.Event()
        method = getattr(this_process.log, name)

        def held(*args: Any) -> Any:
            monkeypatch.setattr(this_process.log, name, method)
            result = method(*args)
            self.reached.set()
            self.gate.wait(10)
            return result

        monkeypatch.setattr(this_process.log, name, held)


async def test_any_number_of_ephemeral_frames_between_two_messages_holds_up_nobody_who_comes_back() -> None:
    client, hub = await one()
    first = await append("one")
    hub.on_hint(hint_for(first))
    await until(lambda: client.offsets == [1])
    hub.on_hint(Hint("broadcast", [frame(None, f"typing {number}") for number in range(700)]))
    hub.on_hint(hint_for(await append("two")))
    await until(lambda: client.offsets[-1] == 2)
    back = Client()
    await back.join(after=0, epoch=first.epoch)
    await until(lambda: back.offsets == [1, 2])


async def test_whoever_is_ahead_waits_for_a_look_that_began_after_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    first = await append("one")
    _, hub = await one()
    held = Held(monkeypatch, "heads")
    looking = asyncio.ensure_future(hub.catch_up(hub.streams["broadcast"]))
    await until(held.reached.is_set)
    await append("two")  # told by another hub, to a client that comes here now
    back = Client()
    joining = asyncio.ensure_future(back.join(after=2, epoch=first.epoch))
    await asyncio.sleep(0)
    held.gate.set()
    await asyncio.gather(looking, joining)
    assert (back.welcome[1], back.recovered) == (2, True)
    await publish("three")
    await until(lambda: back.offsets == [3])


async def test_whoever_is_ahead_waits_for_what_another_look_has_begun_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    _, hub = await one()
    first = await append("one")  # the first of its log, told by another hub
    heads = Held(monkeypatch, "heads")
    polling = asyncio.ensure_future(hub.tick())
    await until(heads.reached.is_set)
    back = Client()
    joining = asyncio.ensure_future(back.join(after=1, epoch=first.epoch))
    await until(lambda: hub.streams["broadcast"] in hub._catching_up)
    page = Held(monkeypatch, "read")
    heads.gate.set()
    await until(page.reached.is_set)
    page.gate.set()
    await asyncio.gather(polling, joining)
    assert (back.welcome, back.recovered) == ((first.epoch, 1), True)


async def test_whoever_knows_an_epoch_that_is_new_to_the_hub_lets_it_look() -> None:
    await append("old")
    client, _ = await one()
    await elsewhere(this_process.pruning.erase, "broadcast")
    new = await append("new")
    back = Client()
    await back.join(after=2, epoch=new.epoch)
    assert (back.welcome, back.recovered) == ((new.epoch, 2), True)
    await until(lambda: client.bodies == ["new"])
    assert [reset["offset"] for reset in client.resets] == [1]


async def test_whoever_is_ahead_while_an_epoch_ends_goes_on_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    first = await append("one")
    await one()
    await append("two", "three")  # told by another hub, to a client that comes here now
    held = Held(monkeypatch, "heads")
    back = Client()
    joining = asyncio.ensure_future(back.join(after=3, epoch=first.epoch))
    await until(held.reached.is_set)
    await elsewhere(this_process.log.renew, "broadcast")
    held.gate.set()
    await joining
    assert back.welcome == ((await elsewhere(this_process.log.head, "broadcast")).epoch, 3)


async def test_a_page_of_a_log_that_has_begun_anew_is_not_told_in_the_old_epoch() -> None:
    old = await append(*[f"old {number}" for number in range(1, 31)])
    client, _ = await one()
    await elsewhere(Message.objects.filter(offset__gt=10).delete)  # an older backup, and the hub has not looked yet
    await elsewhere(lambda: Group.objects.update(epoch="restored", head=10, begin=10))
    await append(*[f"new {number}" for number in range(11, 21)])
    back = Client()
    await back.join(after=5, epoch=old.epoch)
    await until(lambda: back.bodies[-1:] == client.bodies[-1:] == ["new 20"])
    assert len(back.bodies) == len(set(back.bodies))
    assert [len(each.resets) for each in (back, client)] == [1, 1]


async def test_an_erased_log_is_told_of_once_though_its_head_was_read_before(monkeypatch: pytest.MonkeyPatch) -> None:
    await append("one")
    client, hub = await one()
    await append("two")
    held = Held(monkeypatch, "heads")
    looking = asyncio.ensure_future(hub.catch_up(hub.streams["broadcast"]))
    await until(held.reached.is_set)
    await elsewhere(this_process.pruning.erase, "broadcast")
    held.gate.set()
    await looking
    hub.on_hint(Hint("broadcast", [frame(None, "typing")]))
    await until(lambda: client.bodies == ["typing"])
    await hub.tick()
    new = await publish("three")
    await until(lambda: client.bodies == ["typing", "three"])
    assert [(reset["epoch"], reset["offset"]) for reset in client.resets] == [(new.epoch, 2)]


async def test_a_frame_that_came_early_in_an_epoch_that_ended_is_not_told_in_the_next() -> None:
    old = await append("one")
    client, hub = await one()
    hub.on_hint(Hint("broadcast", [frame(3, "old 3")], old.epoch, 3))
    await elsewhere(this_process.log.renew, "broadcast")
    hub.on_hint(hint_for(await append("new 2")))
    await until(lambda: client.bodies == ["new 2"])
    await publish("new 3")
    await until(lambda: client.bodies == ["new 2", "new 3"])


# The void epoch


async def test_a_group_in_which_nothing_was_said_is_void_and_its_first_message_comes_after_a_reset() -> None:
    client, _ = await one()
    assert client.welcome == (VOID, 0)
    assert not await elsewhere(Group.objects.exists)
    await publish("first")
    await until(lambda: client.bodies == ["first"])
    epoch = (await elsewhere(this_process.log.head, "broadcast")).epoch
    began = {"type": "reset", "group": "broadcast", "epoch": epoch, "offset": 0}
    assert client.received[0] == {**began, "reason": "The message log begins.", "lost": False}
    back = Client()
    await back.join(after=0, epoch=VOID)
    assert back.recovered
    await until(lambda: back.bodies == ["first"])


async def test_each_of_many_leaves_the_void_epoch_by_a_reset_of_its_own() -> None:
    (one_client, hub), (other, _) = await one(), await one()
    hub.on_hint(Hint("broadcast", [frame(None, "typing")]))
    await publish("first")
    expected = ["message", "reset", "message"]
    await until(
        lambda: [[each["type"] for each in client.received] for client in (one_client, other)] == [expected] * 2
    )


@pytest.mark.parametrize(("after", "floor"), [(1, 0), (0, 1)])
async def test_a_void_position_that_cannot_be_had_is_told_so(after: int, floor: int) -> None:
    await append("one", "two")
    if floor:
        await elsewhere(this_process.pruning.prune, "broadcast", 1, None)
    back = Client()
    await back.join(after=after, epoch=VOID)
    assert not back.recovered


async def test_a_void_hub_that_finds_a_log_of_which_something_is_gone_tells_of_a_loss() -> None:
    client, hub = await one()
    await append("one", "two")
    await elsewhere(this_process.pruning.prune, "broadcast", 1, None)
    await hub.tick()
    await until(lambda: client.bodies == ["two"])
    assert [reset["offset"] for reset in client.resets] == [1]


async def test_a_row_that_vanishes_under_a_hub_is_an_epoch_that_has_ended() -> None:
    await append("one")
    client, hub = await one()
    await elsewhere(Message.objects.all().delete)
    await elsewhere(Group.objects.all().delete)
    await hub.tick()
    await until(lambda: [reset["epoch"] for reset in client.resets] == [VOID])
    assert not await elsewhere(Group.objects.exists)
    await publish("first")
    await until(lambda: client.bodies == ["first"])


# One group's trouble


def unsound(group: str) -> None:
    """A table of groups that is older than that of messages: what waits cannot be given the offset that comes next."""
    Group.objects.filter(name=group).update(head=0)


async def test_a_group_that_cannot_be_sequenced_keeps_no_other_waiting() -> None:
    await append("x", group="a")
    _, hub = await one("a")
    good, _ = await one("b")
    await elsewhere(unsound, "a")
    for group in "ab":
        await elsewhere(this_process.log.insert_waiting, drafts("waits", group=group))
    await hub.tick()
    await until(lambda: good.bodies == ["waits"])


class HeldRow:
    """A group's row that somebody else has locked, as a sender that was stopped between its write and its commit."""

    def __init__(self, group: str) -> None:
        self.locked, self.going_on = threading.Event(), threading.Event()
        self.holding = asyncio.ensure_future(elsewhere(self._hold, group))

    def _hold(self, group: str) -> None:
        with transaction.atomic():
            Group.objects.select_for_update().get(name=group)
            self.locked.set()
            self.going_on.wait(60)

    async def let_go(self) -> None:
        self.going_on.set()
        await self.holding


async def test_whoever_holds_a_groups_row_holds_up_no_other_group_and_nobody_who_reads() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("About locks of rows")
    await append("x", group="a")
    await append("x", group="b")
    there, hub = await one("a")
    other, _ = await one("b")
    row = HeldRow("a")
    await until(row.locked.is_set)
    for group in "ab":
        await elsewhere(this_process.log.insert_waiting, drafts("waits", group=group))
    await append("sent", group="b")
    await hub.tick()
    await until(lambda: other.bodies == ["waits", "sent"])
    newcomer, _ = await one("c")
    assert newcomer.welcome == (VOID, 0)
    assert there.bodies == []
    assert not this_process.health.failing
    await row.let_go()
    await hub.tick()
    await until(lambda: there.bodies == ["waits"])


def head_of(epoch: str, head: int) -> Hint:
    """A hint without messages, as it goes where there is no layer."""
    return Hint("broadcast", [], epoch, head)


async def test_heads_that_are_told_during_a_look_have_one_more_look_together(monkeypatch) -> None:
    client, hub = await one()
    first = await append("one")
    hub.on_hint(hint_for(first))
    await until(lambda: client.offsets == [1])
    epoch = hub.streams["broadcast"].epoch
    await append("two")
    held = Held(monkeypatch, "read")
    hub.on_hint(head_of(epoch, 2))
    await asyncio.to_thread(held.reached.wait, 10)
    await append("three", "four")
    reads: list[int] = []
    method = this_process.log.read
    monkeypatch.setattr(this_process.log, "read", lambda *args: reads.append(args[1]) or method(*args))
    for head in (4, 3):  # not the newest last
        hub.on_hint(head_of(epoch, head))
    held.gate.set()
    await until(lambda: client.offsets == [1, 2, 3, 4])
    hub.on_hint(head_of(epoch, 4))
    assert reads == [2]


@pytest.mark.parametrize("epoch", ["own", "another"])
async def test_a_head_that_is_told_twice_or_too_late_harms_nobody(epoch: str) -> None:
    client, hub = await one()
    hub.on_hint(hint_for(await append("one")))
    await until(lambda: client.offsets == [1])
    own = hub.streams["broadcast"].epoch
    for _ in range(3):
        hub.on_hint(head_of(own if epoch == "own" else "another", 1))
    await append("two")
    hub.on_hint(head_of(own, 2))
    await until(lambda: client.offsets == [1, 2])
    assert hub.streams["broadcast"].epoch == own
