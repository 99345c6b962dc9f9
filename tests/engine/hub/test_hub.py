"""The hub on a real log and a real channel layer: joining, hints, catching up, polling, leaving."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from itertools import chain, repeat
from typing import Any
from unittest.mock import Mock

import pytest

from broadcast import asend_many
from broadcast.engine.health import SENDING
from broadcast.engine.hints.hint import EVENT, Hint, event_of
from broadcast.engine.hints.layer import current_layer
from broadcast.engine.hub import housekeeping
from broadcast.engine.hub import hub as hub_module
from broadcast.engine.hub import pages as pages_module
from broadcast.engine.hub import ring as ring_module
from broadcast.engine.hub.hub import Hub
from broadcast.engine.process import this_process
from broadcast.exceptions import LogUnavailable, NoLog
from broadcast.models import Group, Message
from tests.kit.layers import Failing, Gated, Watched, only_in_memory, use
from tests.kit.streams import (
    Client,
    append,
    database_threads,
    drafts,
    elsewhere,
    end_nodes,
    foreign_event,
    frame,
    hint_for,
    publish,
)
from tests.kit.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

SLOW = 60.0  # seconds: a poll that does not come while the test runs
FAST = 0.01


@pytest.fixture(autouse=True)
async def nodes_that_end(settings: Any) -> AsyncIterator[None]:
    settings.BROADCAST = {"POLL_INTERVAL": SLOW}
    use(settings, Watched)
    yield
    await end_nodes()


@pytest.fixture
def polling(settings: Any) -> None:
    settings.BROADCAST = {"POLL_INTERVAL": FAST}


class Away:
    """The log as hubs use it; it fails, or hangs, as long as the test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.calls: list[str] = []
        self._patch = monkeypatch
        for name in ("head", "heads", "read", "sequence", "renew_epoch"):
            self.wrap(name, self.guarded)

    def wrap(self, name: str, wrapper: Callable[..., Any]) -> None:
        """Puts ``wrapper(name, method, *args)`` in the place of a method of the log."""
        method = getattr(this_process.log, name)
        self._patch.setattr(this_process.log, name, lambda *args: wrapper(name, method, *args))

    def guarded(self, name: str, method: Callable[..., Any], *args: Any) -> Any:
        self.calls.append(name)
        self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return method(*args)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Away:
    return Away(monkeypatch)


async def joined(count: int = 1, group: str = "broadcast") -> list[Client]:
    clients = [Client() for _ in range(count)]
    for client in clients:
        await client.join(group)
    return clients


async def one() -> tuple[Client, Hub]:
    """A connection that has joined, and its hub."""
    [client] = await joined()
    return client, client.node.hub


def restore_backup(head: int, group: str = "broadcast") -> None:
    """What a restored backup does: the newest messages never were."""
    Message.objects.filter(group_id=group, offset__gt=head).delete()
    Group.objects.filter(name=group).update(head=head)


async def epoch_now() -> str:
    return (await elsewhere(this_process.log.head, "broadcast")).epoch


async def patience_is_over() -> None:
    """Returns when a missing hint that was noticed before has been waited for."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(hub_module.EARLY_PATIENCE, over.set)
    await over.wait()
    await asyncio.sleep(0)


async def test_many_who_join_at_once_open_the_group_once(away):
    clients = [Client() for _ in range(20)]
    positions = await asyncio.gather(*(client.join() for client in clients))
    assert current_layer().calls == [("add", "broadcast")]
    assert away.calls == ["heads"]
    assert {(position.offset, position.epoch) for position in positions} == {(0, await epoch_now())}
    assert not any(client.recovered for client in clients)


@pytest.mark.hub_contract
async def test_a_newcomer_begins_at_the_head_and_whoever_comes_back_gets_what_was_missed_and_what_waits():
    news = await append(*"abcd")
    newcomer, client = Client(), Client()
    assert (await newcomer.join()).offset == 4
    await elsewhere(this_process.log.insert_waiting, drafts("waiting"))
    position = await client.join(after=1, epoch=news.epoch)
    assert (position.offset, client.recovered) == (1, True)
    await newcomer.node.hub.tick()
    await until(lambda: (newcomer.bodies, client.bodies) == (["waiting"], ["b", "c", "d", "waiting"]))


@pytest.mark.hub_contract
async def test_whoever_knows_more_than_the_hub_lets_it_look():
    [first] = await joined()
    new_messages = await append("a", "b", "c")
    client = Client()
    position = await client.join(after=2, epoch=new_messages.epoch)
    assert (position.offset, client.recovered) == (2, True)
    await until(lambda: client.bodies == ["c"])
    await until(lambda: first.bodies == ["a", "b", "c"])
    position = await client.join(after=99, epoch=new_messages.epoch)
    assert (position.offset, client.recovered) == (3, False)


async def test_whoever_knows_more_than_the_hub_waits_for_a_log_that_is_away_and_not_for_one_that_is_no_more(away):
    await joined()
    new_messages = await append("a", "b")
    away.error = LogUnavailable("away")
    client = Client()
    with pytest.raises(LogUnavailable):
        await client.join(after=2, epoch=new_messages.epoch)
    away.error = NoLog("gone")
    await client.join(after=2, epoch=new_messages.epoch)
    assert client.recovered is False
    away.error = None
    await client.join(after=2, epoch=new_messages.epoch)
    assert client.recovered is True


@pytest.mark.hub_contract
async def test_a_message_that_is_committed_while_a_group_opens_is_not_held_up(away):
    """The hint falls between the reading of the head and the joining."""

    def heads(name: str, method: Callable[..., Any], groups: list[str]) -> Any:
        result = method(groups)
        if not result["broadcast"].offset:
            this_process.hints.publish_news(this_process.log.append(drafts("meanwhile")).news)
        return result

    away.wrap("heads", heads)
    _, hub = await one()
    await until(lambda: hub.streams["broadcast"].head == 1)


async def test_a_log_that_is_away_refuses_to_join_and_leaves_nothing_behind(away, polling):
    await joined(group="other")
    away.error = LogUnavailable("away")
    with pytest.raises(LogUnavailable):
        await joined()
    await until(lambda: set(current_layer().groups) == {"broadcast.other"})
    away.error = None
    await joined()
    assert set(current_layer().groups) == {"broadcast", "broadcast.other"}


async def test_a_join_that_is_given_up_harms_no_other(away):
    away.gate.clear()
    leaving, staying = Client(), Client()
    tasks = [asyncio.ensure_future(client.join()) for client in (leaving, staying)]
    await until(lambda: away.calls)
    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    away.gate.set()
    await tasks[1]
    assert len(staying.node.hub.streams["broadcast"].positions) == 1


async def test_that_nobody_is_there_any_more_to_be_told_of_a_failure_is_no_error(away):
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context))
    client, away.error = Client(), LogUnavailable("away")
    away.gate.clear()
    joining = asyncio.ensure_future(client.join())
    await until(lambda: away.calls)
    joining.cancel()
    await asyncio.wait([joining])
    away.gate.set()
    await until(lambda: not client.node.hub.is_busy)
    gc.collect()
    assert errors == []


@pytest.mark.hub_contract
async def test_hints_from_other_threads_arrive_and_those_for_nobody_are_dropped():
    client, hub = await one()
    hub.on_hint(Hint("other", [frame(1)], "e", 1))
    new_messages = await append("a")
    await asyncio.to_thread(this_process.hints.publish, hint_for(new_messages))
    await until(lambda: client.bodies == ["a"])
    assert list(hub.streams) == ["broadcast"]


@pytest.mark.hub_contract
async def test_hints_that_are_lost_are_read_from_the_log_by_one_look_when_others_come(away):
    client, hub = await one()
    await append("lost")
    news = [await append(str(number)) for number in range(5)]
    away.calls.clear()
    for new_messages in news:
        hub.on_hint(hint_for(new_messages))
    await until(lambda: client.bodies == ["lost", *"01234"])
    assert away.calls == ["heads", "read"]


async def test_a_hint_that_is_a_little_late_costs_no_read(away):
    await append("before")
    client, hub = await one()
    first, second = await append("first"), await append("second")
    away.calls.clear()
    hub.on_hint(hint_for(second))
    hub.on_hint(hint_for(first))
    await until(lambda: client.bodies == ["first", "second"])
    await patience_is_over()
    assert away.calls == []


@pytest.mark.hub_contract
async def test_a_hint_of_another_epoch_makes_the_hub_look(away):
    client, hub = await one()
    away.calls.clear()
    hub.on_hint(Hint("broadcast", [frame(1)], "old", 1))
    await until(lambda: away.calls == ["heads"])
    await publish("a")
    await until(lambda: client.bodies == ["a"])
    assert client.resets == []


async def test_a_group_that_was_left_before_its_hint_is_looked_at_is_not(away):
    await append("before")
    _, hub = await one()
    hub.on_hint(Hint("broadcast", [frame(7)], "old", 7))
    del hub.streams["broadcast"]
    away.calls.clear()
    await patience_is_over()
    assert away.calls == []


@pytest.mark.hub_contract
async def test_ephemeral_frames_reach_those_who_are_live():
    client, _ = await one()
    await current_layer().group_send("broadcast", {"type": EVENT, "author": "Bot", "body": "typing"})
    await until(lambda: client.received)
    shown = {"type": "message", "author": "Bot", "body": "typing", "group": "broadcast", "offset": None}
    assert client.received == [shown]


@pytest.mark.hub_contract
@pytest.mark.parametrize("sender", ["here", "elsewhere"])
async def test_three_hundred_at_once_overflow_the_layer_and_reach_everyone_in_order(sender):
    clients = await joined(20)
    bodies = [str(number) for number in range(300)]
    if sender == "here":
        await asend_many(bodies)
    else:
        news = await append(*bodies)
        single = [Hint("broadcast", [frame(each.offset, each.body)], news.epoch, each.offset) for each in news.messages]
        events = [foreign_event(**event_of(hint)) for hint in single]
        # A layer may say that it is full, or not.
        sending = (current_layer().group_send("broadcast", event) for event in events)
        await asyncio.gather(*sending, return_exceptions=True)
        await until(lambda: clients[0].bodies)
    clients[0].node.hub.on_hint(hint_for(await append("last")))
    await until(lambda: all(client.bodies == [*bodies, "last"] for client in clients))


@pytest.mark.hub_contract
async def test_of_a_very_long_gap_the_hub_reads_the_newest_part_and_readers_the_rest(monkeypatch, away):
    for module in (ring_module, hub_module):
        monkeypatch.setattr(module, "MAX_FRAMES", 20)
    monkeypatch.setattr(ring_module, "BURST_FACTOR", 1)
    for module in (pages_module, hub_module):
        monkeypatch.setattr(module, "PAGE", 10)
    clients = await joined(10)
    bodies = [str(number) for number in range(95)]
    await append(*bodies)
    away.calls.clear()
    await clients[0].node.hub.tick()
    await until(lambda: all(client.bodies == bodies for client in clients))
    # 2 reads for the newest 20, 8 pages for the 75 before them.
    assert away.calls.count("read") <= 10


@pytest.mark.hub_contract
@pytest.mark.parametrize("notices", ["who comes later", "who is overtaken"])
async def test_what_was_pruned_is_told(notices):
    new_messages = await append(*"abcdef")
    _, hub = await one()
    client = Client()
    if notices == "who is overtaken":
        position, client.recovered = await hub.join(client.transport, "broadcast", 1, new_messages.epoch)
        await elsewhere(this_process.pruning.prune, "broadcast", 2, None)
        await hub.tick()
        client.transport.follow(position)
    else:
        await elsewhere(this_process.pruning.prune, "broadcast", 2, None)
        await hub.tick()
        assert (await client.join(after=1, epoch=new_messages.epoch)).offset == 4
    await until(lambda: client.bodies == ["e", "f"])
    # Whoever was told by the answer to its joining needs no reset.
    assert [(each["offset"], each["epoch"]) for each in client.resets] == [(4, new_messages.epoch)] * client.recovered
    assert client.recovered is (notices == "who is overtaken")


@pytest.mark.hub_contract
@pytest.mark.parametrize("waiting", [[], ["waiting"]])
async def test_a_restored_backup_renews_the_epoch_before_offsets_are_given_and_everyone_is_told(waiting):
    client, hub = await one()
    await publish(*"abc")
    await until(lambda: client.bodies == ["a", "b", "c"])
    old = await epoch_now()
    await elsewhere(restore_backup, 1)
    await elsewhere(this_process.log.insert_waiting, drafts(*waiting))
    await hub.tick()
    await publish("x")
    await until(lambda: client.bodies == ["a", "b", "c", *waiting, "x"])
    new = await epoch_now()
    assert new != old
    assert [(reset["offset"], reset["epoch"]) for reset in client.resets] == [(1, new)]


@pytest.mark.hub_contract
@pytest.mark.parametrize(("resets", "other"), [(1, "renews it first"), (0, "has it back")])
async def test_the_epoch_is_renewed_once_and_only_while_something_is_lost(resets, other, away):
    client, hub = await one()
    await publish(*"abc")
    await until(lambda: client.bodies == ["a", "b", "c"])
    await elsewhere(restore_backup if resets else lambda head: Group.objects.update(head=head), 1)

    def renew_epoch(name: str, method: Callable[..., Any], *args: Any) -> bool:
        method(*args) if resets else Group.objects.update(head=3)
        return bool(method(*args))

    away.wrap("renew_epoch", renew_epoch)
    await hub.tick()
    await publish("d")
    await until(lambda: client.bodies == [*"abc", "d"])
    assert len(client.resets) == resets


@pytest.mark.hub_contract
@pytest.mark.parametrize("how", ["erased", "deleted"])
async def test_a_group_that_is_no_more_is_opened_anew(how):
    clients = await joined(2)
    await publish("old")
    await until(lambda: all(client.bodies == ["old"] for client in clients))
    if how == "erased":
        await elsewhere(this_process.pruning.erase, "broadcast")
        clients[0].node.hub.on_hint(hint_for(await append("new")))
    else:
        await elsewhere(Message.objects.all().delete)
        await elsewhere(Group.objects.all().delete)
        await clients[0].node.hub.tick()
        await until(lambda: all(client.resets for client in clients))
        await publish("new")
    await until(lambda: all(client.bodies == ["old", "new"] for client in clients))
    assert [client.resets[0]["offset"] for client in clients] == [1 if how == "erased" else 0] * 2


async def test_what_a_poll_read_before_a_hint_came_renews_no_epoch(away):
    """The poll's head is older than what was delivered since: that is no restored backup."""
    await append("before")
    client, hub = await one()
    epoch = await epoch_now()
    away.calls.clear()
    away.gate.clear()
    polling = asyncio.ensure_future(hub.tick())
    await until(lambda: "heads" in away.calls)
    hub.on_hint(Hint("broadcast", [frame(2)], epoch, 2))
    await until(lambda: client.offsets == [2])
    away.gate.set()
    await polling
    assert await epoch_now() == epoch
    assert "renew_epoch" not in away.calls


async def test_what_a_poll_read_before_a_new_epoch_does_not_bring_the_old_one_back(away):
    """The poll is still at another group when a hint and a look of its own have told of the new epoch."""
    [another] = await joined(group="another")
    client, hub = await one()
    await publish(*"abc")
    await publish("lost", group="another")
    await until(lambda: len(client.bodies) == 3 and another.bodies)
    await elsewhere(restore_backup, 0, "another")
    old = await epoch_now()
    renewing, going_on = threading.Event(), threading.Event()

    def renew_epoch(name: str, method: Callable[..., Any], group: str, *args: Any) -> Any:
        if group == "another":
            renewing.set()
            going_on.wait(10)
        return method(group, *args)

    away.wrap("renew_epoch", renew_epoch)
    polling = asyncio.ensure_future(hub.tick())
    await until(renewing.is_set)
    await elsewhere(restore_backup, 1)
    await elsewhere(this_process.log.renew_epoch, "broadcast", old, 3)
    new_messages = await append("new")
    hub.on_hint(hint_for(new_messages))
    await until(lambda: hub.streams["broadcast"].epoch == new_messages.epoch)
    going_on.set()
    await polling
    await publish("newer")
    await until(lambda: client.bodies[-1] == "newer")
    assert [reset["epoch"] for reset in client.resets] == [new_messages.epoch]
    assert await epoch_now() == new_messages.epoch


async def test_a_new_epoch_in_the_middle_of_a_fill_ends_the_fill(away):
    _, hub = await one()
    stream = hub.streams["broadcast"]
    await append("a")
    loop = asyncio.get_running_loop()

    def read(name: str, method: Callable[..., Any], *args: Any) -> Any:
        rows = method(*args)
        restarted = threading.Event()
        loop.call_soon_threadsafe(lambda: (stream.restart("new", 0, 0), restarted.set()))
        restarted.wait(10)
        return rows

    away.wrap("read", read)
    await hub.catch_up(stream)
    assert (stream.epoch, stream.head) == ("new", 0)


@pytest.mark.hub_contract
async def test_what_nobody_told_of_arrives_with_the_next_poll(polling):
    client, _ = await one()
    await append("a")
    await until(lambda: client.bodies == ["a"])
    await append("b", "c")
    await until(lambda: client.bodies == ["a", "b", "c"])
    await elsewhere(this_process.log.insert_waiting, drafts("of a process that died"))
    await until(lambda: client.bodies == ["a", "b", "c", "of a process that died"])


@pytest.mark.parametrize("error", [LogUnavailable("away"), NoLog("away"), ZeroDivisionError()])
async def test_a_log_that_is_away_ends_neither_polls_nor_looks(error, away, polling):
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    client, hub = await one()
    away.error = error
    await append("lost")
    hub.on_hint(hint_for(await append("came")))
    await patience_is_over()
    away.calls.clear()
    await until(lambda: len(away.calls) > 2)
    away.error = None
    await until(lambda: client.bodies == ["lost", "came"])
    assert complaints == []


@pytest.mark.hub_contract
@pytest.mark.parametrize("kind", [Failing, Gated])
async def test_a_layer_that_fails_or_hangs_loses_no_message_and_does_not_hold_up_the_polling(kind, polling, settings):
    layer = use(settings, kind)
    layer.broken = {"new_channel", "group_add", "group_discard", "receive"}
    client, _ = await one()
    if kind is Gated:
        layer.gate.clear()
    for count in (1, 2, 3):
        await append("a")
        await until(lambda count=count: len(client.bodies) == count)
    if kind is Gated:
        layer.gate.set()


@only_in_memory
async def test_a_layer_that_forgot_is_told_again(polling):
    await one()
    layer = current_layer()
    await layer.flush()
    await until(lambda: set(layer.groups) == {"broadcast"})


async def test_pruning_goes_on_while_there_is_more_and_survives_what_fails(monkeypatch, polling):
    monkeypatch.setattr(housekeeping, "PRUNE_EVERY", 0.01)
    monkeypatch.setattr(this_process.pruning, "due", list)
    outcomes = [True, True, LogUnavailable("away"), ZeroDivisionError(), True, False]
    step = Mock(side_effect=chain(outcomes, repeat(False)))
    monkeypatch.setattr(this_process.pruning, "step", step)
    await append("begins")
    client, _ = await one()
    await until(lambda: step.call_count >= len(outcomes))
    await append("a")
    await until(lambda: client.bodies == ["a"])
    assert {each.args for each in step.mock_calls} == {("broadcast",)}


async def test_that_messages_can_be_sent_again_shows_also_where_nothing_was_said_yet(polling):
    this_process.health.log.fail("full", SENDING)
    await one()
    await until(lambda: not this_process.health.log.is_failing)


@pytest.mark.parametrize("noticed_by", ["a poll", "a hint"])
async def test_without_a_log_it_is_live_and_goes_on_when_the_log_comes_into_being(noticed_by, away):
    away.error = NoLog("no such table")
    client = Client()
    position = await client.join(after=5, epoch="e")
    assert (position.stream.is_logged, client.recovered) == (False, False)
    hub = client.node.hub
    hub.on_hint(Hint("broadcast", [frame(None, "live")]))
    await until(lambda: client.bodies == ["live"])
    await hub.tick()
    away.error = None
    if noticed_by == "a poll":
        await hub.tick()
        await until(lambda: client.resets)
    await publish("logged")
    await until(lambda: client.bodies == ["live", "logged"])
    assert (client.offsets, [reset["offset"] for reset in client.resets]) == ([None, 1], [0])


@pytest.mark.hub_contract
async def test_the_channel_lingers_and_then_leaves_the_group(polling, monkeypatch):
    monkeypatch.setattr(hub_module, "LINGER", 0.1)
    layer = current_layer()
    [staying], [leaving] = await joined(group="staying"), await joined()
    left = asyncio.get_running_loop().time()
    await leaving.leave()
    assert set(layer.groups) == {"broadcast", "broadcast.staying"}
    await until(lambda: set(layer.groups) == {"broadcast.staying"})
    assert asyncio.get_running_loop().time() - left >= 0.1
    assert list(staying.node.hub.streams) == ["staying"]


@pytest.mark.hub_contract
async def test_a_return_while_the_channel_is_being_discarded_is_not_undone(polling, monkeypatch, settings):
    monkeypatch.setattr(hub_module, "LINGER", 0.02)
    layer = use(settings, Gated)
    [staying], [leaving] = await joined(group="staying"), await joined()
    await leaving.leave()
    layer.gate.clear()
    await until(lambda: "broadcast" not in staying.node.hub.streams)
    returning = Client()
    coming = asyncio.ensure_future(returning.join())
    await asyncio.sleep(0)
    layer.gate.set()
    await coming
    assert "broadcast" in layer.groups
    await publish("a")
    await until(lambda: returning.bodies == ["a"])
    assert "broadcast" in layer.groups


async def test_a_group_is_not_dropped_from_under_someone_who_is_joining(away, monkeypatch):
    """Whoever comes back with a position that the hub has not heard of waits for a look, perhaps for long."""
    monkeypatch.setattr(hub_module, "LINGER", -1.0)
    first, hub = await one()
    new_messages = await append("a", "b")
    away.calls.clear()
    away.gate.clear()
    client = Client()
    joining = asyncio.ensure_future(client.join(after=1, epoch=new_messages.epoch))
    await until(lambda: away.calls)
    await first.leave()
    polling = asyncio.ensure_future(hub.tick())
    away.gate.set()
    await asyncio.gather(joining, polling)
    await hub.tick()
    await publish("c")
    await until(lambda: client.bodies == ["b", "c"])


async def test_a_crowd_that_comes_and_goes_leaves_nothing_behind(polling, monkeypatch):
    monkeypatch.setattr(hub_module, "LINGER", 0.005)
    layer, tasks = current_layer(), asyncio.all_tasks()

    async def visit(number: int) -> None:
        for _ in range(5):
            client = Client()
            await client.join(f"g{number % 3}")
            await asyncio.sleep(0.003 * (number % 4))  # so that they overlap
            await client.leave()

    await asyncio.gather(*(visit(number) for number in range(20)))
    await until(lambda: this_process.nodes == {})
    await until(lambda: asyncio.all_tasks() == tasks)
    assert (layer.groups, layer.channels) == ({}, {})
    await until(lambda: not database_threads())
