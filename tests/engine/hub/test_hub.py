"""The hub on a real log and a real channel layer: joining, hints, catching up, polling, leaving."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections

from broadcast import asend_many
from broadcast.engine.health import layer_failing, log_failing, no_log
from broadcast.engine.hints.hint import EVENT, Hint
from broadcast.engine.hints.hint import current_layer as the_layer
from broadcast.engine.hints.publisher import publish_news, receivers
from broadcast.engine.hub import hub as hub_module
from broadcast.engine.hub import pages as pages_module
from broadcast.engine.hub import ring as ring_module
from broadcast.engine.hub.hub import Hub, current_hub, hubs
from broadcast.engine.storage import log
from broadcast.engine.storage.pruning import erase
from broadcast.exceptions import LogUnavailable, NoLog
from broadcast.models import Group, Message
from tests.kit.layers import Failing, Gated, Watched, only_in_memory, use
from tests.kit.streams import Client, append, drafts, elsewhere, end, foreign_event, frame, hint_for
from tests.kit.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

SLOW = 60.0  # seconds: a poll that does not come while the test runs
FAST = 0.01


@pytest.fixture(autouse=True)
async def _clean(settings: Any) -> AsyncIterator[None]:
    """Hubs of other loops are none of a test's business; its own ends with it, and says nothing to the next."""
    settings.BROADCAST = {"POLL_INTERVAL": SLOW}
    use(settings, Watched)
    yield
    for hub in list(hubs.values()):
        if hub.loop is asyncio.get_running_loop():
            await end(hub)
    await until(lambda: not own_threads())
    for outage in (no_log, log_failing, layer_failing):
        outage._places.clear()


@pytest.fixture
def polling(settings: Any) -> Callable[[float], None]:
    """Sets how often hubs look, for those that start from now on."""

    def every(seconds: float) -> None:
        settings.BROADCAST = {"POLL_INTERVAL": seconds}

    return every


class Away:
    """A log that fails, or hangs, in the threads of hubs, as long as the test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.calls: list[str] = []
        for name in ("join", "heads", "read", "sequence", "renew_epoch"):
            monkeypatch.setattr(log, name, self.guarded(name, getattr(log, name)))

    def guarded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.calls.append(name)
            self.gate.wait(10)
            if self.error is not None:
                raise self.error
            return function(*args)

        return call


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Away:
    return Away(monkeypatch)


def own_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith(("broadcast-reader", "broadcast-writer"))]


async def look(hub: Hub) -> None:
    await hub._tick()


def restore_backup(head: int) -> None:
    """What a restored backup does: the newest messages never were."""
    Message.objects.filter(offset__gt=head).delete()
    Group.objects.update(head=head)


async def head() -> Group:
    return await elsewhere(Group.objects.get)


# Joining


async def test_the_first_to_join_opens_the_group() -> None:
    client = Client()
    position = await client.join()
    group = await head()
    assert (position.offset, position.epoch, group.head) == (0, group.epoch, 0)
    assert client.recovered is False


@pytest.mark.hub_contract
async def test_a_newcomer_begins_at_the_head_and_gets_what_comes() -> None:
    await append("old")
    client = Client()
    assert (await client.join()).offset == 1
    publish_news([await append("new")])
    await until(lambda: client.bodies == ["new"])


@pytest.mark.hub_contract
async def test_whoever_comes_back_gets_what_was_missed() -> None:
    new_messages = await append(*"abcd")
    client = Client()
    position = await client.join(after=1, epoch=new_messages.epoch)
    assert (position.offset, client.recovered) == (1, True)
    await until(lambda: client.bodies == ["b", "c", "d"])


async def test_many_who_join_at_once_open_the_group_once(away: Away) -> None:
    layer = the_layer()
    clients = [Client() for _ in range(20)]
    await asyncio.gather(*(client.join() for client in clients))
    assert layer.calls == [("add", "broadcast")]
    assert away.calls == ["join"]


@pytest.mark.hub_contract
async def test_whoever_knows_more_than_the_hub_lets_it_look() -> None:
    first = Client()
    await first.join()
    new_messages = await append("a", "b", "c")
    client = Client()
    position = await client.join(after=2, epoch=new_messages.epoch)
    assert (position.offset, client.recovered) == (2, True)
    await until(lambda: client.bodies == ["c"])
    await until(lambda: first.bodies == ["a", "b", "c"])


@pytest.mark.hub_contract
async def test_whoever_claims_to_know_more_than_there_is_begins_at_the_head() -> None:
    new_messages = await append("a")
    client = Client()
    position = await client.join(after=99, epoch=new_messages.epoch)
    assert (position.offset, client.recovered) == (1, False)


async def test_whoever_knows_more_than_the_hub_is_not_sent_back_by_a_log_that_is_away(away: Away) -> None:
    first = Client()
    await first.join()
    new_messages = await append("a", "b")
    away.error = LogUnavailable("away")
    with pytest.raises(LogUnavailable):
        await Client().join(after=2, epoch=new_messages.epoch)
    away.error = None
    client = Client()
    assert (await client.join(after=2, epoch=new_messages.epoch)).offset == 2
    assert client.recovered is True


async def test_whoever_knows_more_than_the_hub_is_let_in_where_the_log_is_no_more(away: Away) -> None:
    first = Client()
    epoch = (await first.join()).epoch
    away.error = NoLog("gone")
    client = Client()
    await client.join(after=2, epoch=epoch)
    assert client.recovered is False


@pytest.mark.hub_contract
async def test_a_message_that_is_committed_while_a_group_opens_is_not_held_up(away: Away) -> None:
    """The hint falls between the reading of the head and the joining."""
    joining = log.join

    def join(group: str) -> Any:
        result = joining(group)
        news = [log.append(drafts("meanwhile")).news[0]]
        publish_news(news)
        return result

    log.join = join  # restored by the fixture's monkeypatch
    client = Client()
    await client.join()
    hub = current_hub()
    await until(lambda: hub.streams["broadcast"].head == 1, 2)


async def test_a_log_that_is_away_refuses_to_join_and_leaves_nothing_behind(
    away: Away, polling: Callable[[float], None]
) -> None:
    polling(FAST)
    layer = the_layer()
    first = Client()
    await first.join("other")
    away.error = LogUnavailable("away")
    with pytest.raises(LogUnavailable):
        await Client().join()
    await until(lambda: set(layer.groups) == {"broadcast.other"}, 3)
    away.error = None
    await Client().join()
    assert set(layer.groups) == {"broadcast", "broadcast.other"}


async def test_a_join_that_is_given_up_harms_no_other(away: Away) -> None:
    away.gate.clear()
    leaving, staying = Client(), Client()
    tasks = [asyncio.ensure_future(client.join()) for client in (leaving, staying)]
    await until(lambda: away.calls)
    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    away.gate.set()
    await tasks[1]
    assert len(current_hub().streams["broadcast"].positions) == 1


# Hints


async def test_a_hint_for_a_group_that_nobody_follows_is_dropped() -> None:
    client = Client()
    await client.join()
    hub = current_hub()
    hub.take(Hint("other", [frame(1)], "e", 1))
    assert list(hub.streams) == ["broadcast"]


@pytest.mark.hub_contract
async def test_hints_from_other_threads_arrive() -> None:
    client = Client()
    await client.join()
    hub = current_hub()
    new_messages = await append("a")
    assert await asyncio.to_thread(hub.hand_over, hint_for(new_messages)) is True
    await until(lambda: client.bodies == ["a"])


def test_a_hub_whose_loop_has_ended_takes_no_hints_and_is_forgotten() -> None:
    loop = asyncio.new_event_loop()
    hub = Hub(loop)
    hubs[loop] = hub
    receivers.add(hub)
    loop.close()
    assert hub.hand_over(Hint("g", [frame(1)], "e", 1)) is False

    async def other() -> Hub:
        return current_hub()

    asyncio.run(other())
    assert hub not in receivers
    assert loop not in hubs
    hubs.clear()


@pytest.mark.hub_contract
async def test_a_hint_that_is_lost_is_read_from_the_log_when_the_next_one_comes() -> None:
    client = Client()
    await client.join()
    await append("lost")
    current_hub().take(hint_for(await append("came")))
    await until(lambda: client.bodies == ["lost", "came"])


async def test_a_hint_that_is_a_little_late_costs_no_read(away: Away) -> None:
    client = Client()
    await client.join()
    first, second = await append("first"), await append("second")
    away.calls.clear()
    current_hub().take(hint_for(second))
    current_hub().take(hint_for(first))
    await until(lambda: client.bodies == ["first", "second"])
    await asyncio.sleep(2 * hub_module.EARLY_PATIENCE)
    assert away.calls == []


async def test_many_hints_that_show_something_missing_cost_one_look(away: Away) -> None:
    client = Client()
    await client.join()
    await append("lost")
    news = [await append(str(number)) for number in range(5)]
    away.calls.clear()
    for new_messages in news:
        current_hub().take(hint_for(new_messages))
    await until(lambda: len(client.bodies) == 6)
    assert away.calls == ["heads", "read"]


@pytest.mark.hub_contract
async def test_a_hint_of_another_epoch_makes_the_hub_look(away: Away) -> None:
    client = Client()
    await client.join()
    current_hub().take(Hint("broadcast", [frame(1)], "old", 1))
    away.calls.clear()
    await until(lambda: away.calls == ["heads"])
    publish_news([await append("a")])
    await until(lambda: client.bodies == ["a"])
    assert client.resets == []


async def test_a_group_that_was_left_before_its_hint_is_looked_at_is_not(away: Away) -> None:
    client = Client()
    await client.join()
    hub = current_hub()
    hub.take(Hint("broadcast", [frame(7)], "old", 7))
    del hub.streams["broadcast"]
    away.calls.clear()
    await asyncio.sleep(2 * hub_module.EARLY_PATIENCE)
    assert away.calls == []


@pytest.mark.hub_contract
async def test_ephemeral_frames_reach_those_who_are_live() -> None:
    client = Client()
    await client.join()
    await the_layer().group_send("broadcast", {"type": EVENT, "author": "Bot", "body": "typing"})
    await until(lambda: client.received)
    assert client.received == [
        {"type": "message", "author": "Bot", "body": "typing", "group": "broadcast", "offset": None}
    ]


@only_in_memory
async def test_events_that_nobody_can_encode_or_file_harm_no_one() -> None:
    client = Client()
    await client.join()
    layer = the_layer()
    await layer.group_send("broadcast", {"type": EVENT, "author": "Bot", "body": "x", "at": object})
    await layer.group_send("broadcast", {"type": EVENT, "author": "Bot", "body": "x", "group": ["broadcast"]})
    await layer.group_send("broadcast", {"type": EVENT, "author": "Bot", "body": "good"})
    await until(lambda: client.bodies == ["good"], 3)


@pytest.mark.hub_contract
async def test_three_hundred_at_once_reach_everyone_in_order_though_the_layer_holds_a_hundred() -> None:
    clients = [Client() for _ in range(20)]
    for client in clients:
        await client.join()
    bodies = [str(number) for number in range(300)]
    await asend_many(bodies)
    await until(lambda: all(client.bodies == bodies for client in clients))


@pytest.mark.hub_contract
async def test_three_hundred_of_another_process_overflow_the_layer_and_reach_everyone_in_order() -> None:
    clients = [Client() for _ in range(20)]
    for client in clients:
        await client.join()
    layer = the_layer()
    bodies = [str(number) for number in range(300)]
    new_messages = await append(*bodies)
    await asyncio.gather(
        *(
            layer.group_send(
                "broadcast",
                foreign_event(body=message.body, offset=message.offset, epoch=new_messages.epoch, head=message.offset),
            )
            for message in new_messages.messages
        ),
        return_exceptions=True,  # a layer may say that it is full, or not
    )
    await until(lambda: clients[0].bodies, 3)
    current_hub().take(hint_for(await append("last")))
    await until(lambda: all(client.bodies == [*bodies, "last"] for client in clients))


# Catching up


@pytest.mark.hub_contract
async def test_of_a_very_long_gap_the_hub_reads_the_newest_part_and_readers_the_rest(
    monkeypatch: pytest.MonkeyPatch, away: Away
) -> None:
    for module in (ring_module, hub_module):
        monkeypatch.setattr(module, "MAX_FRAMES", 20)
    monkeypatch.setattr(ring_module, "BURST_FACTOR", 1)
    for module in (pages_module, hub_module):
        monkeypatch.setattr(module, "PAGE", 10)
    clients = [Client() for _ in range(10)]
    for client in clients:
        await client.join()
    bodies = [str(number) for number in range(95)]
    await append(*bodies)
    away.calls.clear()
    await look(current_hub())
    await until(lambda: all(client.bodies == bodies for client in clients))
    # 2 reads for the newest 20, 8 pages for the 75 before them.
    assert away.calls.count("read") <= 10


async def test_readers_who_are_far_behind_share_their_pages(away: Away) -> None:
    new_messages = await append(*(str(number) for number in range(250)))
    clients = [Client() for _ in range(30)]
    away.calls.clear()
    await asyncio.gather(*(client.join(after=0, epoch=new_messages.epoch) for client in clients))
    await until(lambda: all(client.offsets == list(range(1, 251)) for client in clients))
    assert away.calls == ["join", "read", "read", "read"]


@pytest.mark.hub_contract
async def test_pruned_history_is_told_by_a_reset() -> None:
    new_messages = await append(*"abcdef")
    await elsewhere(log.prune, "broadcast", 2, None)
    client = Client()
    position = await client.join(after=1, epoch=new_messages.epoch)
    assert (position.offset, client.recovered) == (4, False)
    await until(lambda: client.bodies == ["e", "f"])
    assert client.resets == []


@pytest.mark.hub_contract
async def test_whoever_is_overtaken_by_pruning_is_told_by_a_reset() -> None:
    new_messages = await append(*"abcdef")
    client = Client()
    await client.join()
    late = Client()
    position, _ = await current_hub().join(late.transport, "broadcast", 1, new_messages.epoch)
    await elsewhere(log.prune, "broadcast", 2, None)
    await look(current_hub())
    late.transport.follow(position)
    await until(lambda: late.bodies == ["e", "f"])
    assert [(reset["offset"], reset["epoch"]) for reset in late.resets] == [(4, new_messages.epoch)]


async def test_when_all_that_was_missed_is_gone_those_at_the_end_are_told() -> None:
    client = Client()
    await client.join()
    await append(*"abc")
    await elsewhere(log.prune, "broadcast", 1, None)
    await look(current_hub())
    await until(lambda: client.bodies == ["c"])
    assert [reset["offset"] for reset in client.resets] == [2]


@pytest.mark.hub_contract
async def test_a_restored_backup_renews_the_epoch_and_everyone_is_told() -> None:
    client = Client()
    await client.join()
    hub = current_hub()
    publish_news([await append(*"abc")])
    await until(lambda: client.bodies == ["a", "b", "c"])
    old = (await head()).epoch
    await elsewhere(restore_backup, 1)
    await look(hub)
    new = (await head()).epoch
    assert new != old
    publish_news([await append("x")])
    await until(lambda: client.bodies == ["a", "b", "c", "x"])
    assert [(reset["offset"], reset["epoch"]) for reset in client.resets] == [(1, new)]


@pytest.mark.hub_contract
async def test_a_restored_backup_with_waiting_messages_renews_the_epoch_before_they_get_offsets() -> None:
    client = Client()
    await client.join()
    publish_news([await append(*"abc")])
    await until(lambda: client.bodies == ["a", "b", "c"])
    await elsewhere(restore_backup, 2)
    await elsewhere(log.insert_waiting, drafts("x"))
    await look(current_hub())
    await until(lambda: client.bodies == ["a", "b", "c", "x"], 3)
    assert [reset["offset"] for reset in client.resets] == [2]


@pytest.mark.hub_contract
async def test_the_hub_of_another_process_may_renew_the_epoch_first(away: Away) -> None:
    client = Client()
    await client.join()
    hub = current_hub()
    publish_news([await append(*"abc")])
    await until(lambda: client.bodies == ["a", "b", "c"])
    await elsewhere(restore_backup, 1)
    renewing = log.renew_epoch

    def renew_epoch(*args: Any) -> bool:
        renewing(*args)
        return renewing(*args)

    log.renew_epoch = renew_epoch  # restored by the fixture's monkeypatch
    await look(hub)
    await until(lambda: client.resets)
    assert len(client.resets) == 1


async def test_a_head_that_is_back_before_the_epoch_is_renewed_renews_nothing(away: Away) -> None:
    client = Client()
    await client.join()
    hub = current_hub()
    publish_news([await append(*"abc")])
    await until(lambda: len(client.bodies) == 3)
    await elsewhere(lambda: Group.objects.update(head=1))
    renewing = log.renew_epoch

    def renew_epoch(*args: Any) -> bool:
        Group.objects.update(head=3)
        return renewing(*args)

    log.renew_epoch = renew_epoch  # restored by the fixture's monkeypatch
    await look(hub)
    assert client.resets == []


@pytest.mark.hub_contract
async def test_a_group_that_was_deleted_is_opened_anew() -> None:
    client = Client()
    await client.join()
    hub = current_hub()
    publish_news([await append("a")])
    await until(lambda: client.bodies == ["a"])
    await elsewhere(Message.objects.all().delete)
    await elsewhere(Group.objects.all().delete)
    await look(hub)
    await until(lambda: client.resets)
    publish_news([await append("b")])
    await until(lambda: client.bodies == ["a", "b"])


async def test_what_a_poll_read_before_a_hint_came_renews_no_epoch(away: Away) -> None:
    """The look's head is older than what was delivered since: that is no restored backup."""
    client = Client()
    await client.join()
    hub = current_hub()
    epoch = (await head()).epoch
    away.gate.clear()
    looking = asyncio.ensure_future(look(hub))
    await until(lambda: "heads" in away.calls)
    hub.take(Hint("broadcast", [frame(1)], epoch, 1))
    await until(lambda: client.offsets == [1])
    away.gate.set()
    await looking
    assert (await head()).epoch == epoch
    assert "renew_epoch" not in away.calls


async def test_what_a_poll_read_before_a_new_epoch_does_not_bring_the_old_one_back(away: Away) -> None:
    """The poll is still at another group when a hint and a look of its own have told of the new epoch."""
    client, other = Client(), Client()
    await other.join("another")
    await client.join("broadcast")
    hub = current_hub()
    publish_news([await append(*"abc")])
    await until(lambda: len(client.bodies) == 3)
    await append("x", group="another")
    read = asyncio.Event()
    going_on = asyncio.Event()
    reconcile = hub._reconcile

    async def slow(stream: Any, *args: Any) -> None:
        if stream.name == "another":
            read.set()
            await going_on.wait()
        await reconcile(stream, *args)

    hub._reconcile = slow  # type: ignore[method-assign]
    looking = asyncio.ensure_future(look(hub))
    await read.wait()
    old = (await head_of("broadcast")).epoch
    await elsewhere(restore_backup_of, "broadcast", 1)
    await elsewhere(log.renew_epoch, "broadcast", old, 3)
    new_messages = await append("new")
    hub.take(hint_for(new_messages))
    await until(lambda: hub.streams["broadcast"].epoch == new_messages.epoch)
    going_on.set()
    await looking
    publish_news([await append("newer")])
    await until(lambda: client.bodies[-1] == "newer")
    assert [reset["epoch"] for reset in client.resets] == [new_messages.epoch]
    assert (await head_of("broadcast")).epoch == new_messages.epoch


async def head_of(name: str) -> Group:
    return await elsewhere(lambda: Group.objects.get(name=name))


def restore_backup_of(name: str, head: int) -> None:
    Message.objects.filter(group_id=name, offset__gt=head).delete()
    Group.objects.filter(name=name).update(head=head)


async def test_a_new_epoch_in_the_middle_of_a_fill_ends_the_fill(away: Away, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    await client.join()
    hub = current_hub()
    stream = hub.streams["broadcast"]
    await append("a")
    loop = asyncio.get_running_loop()
    reading = log.read

    def read(*args: Any) -> Any:
        rows = reading(*args)
        done = threading.Event()
        loop.call_soon_threadsafe(lambda: (stream.restart("new", 0, 0), done.set()))
        done.wait(10)
        return rows

    monkeypatch.setattr(log, "read", read)
    await hub._fill(stream, log.Head(stream.epoch, 1, 0, 0))
    assert (stream.epoch, stream.head) == ("new", 0)


# Polling


@pytest.mark.hub_contract
async def test_messages_of_another_process_arrive_with_the_next_poll(polling: Callable[[float], None]) -> None:
    polling(0.05)
    client = Client()
    await client.join()
    await append("a")
    await until(lambda: client.bodies == ["a"], 1)
    await append("b", "c")
    await until(lambda: client.bodies == ["a", "b", "c"], 1)


@pytest.mark.hub_contract
async def test_messages_that_wait_are_sequenced_by_the_next_poll(polling: Callable[[float], None]) -> None:
    polling(0.05)
    client = Client()
    await client.join()
    await elsewhere(log.insert_waiting, drafts("committed by a process that died"))
    await until(lambda: client.bodies == ["committed by a process that died"])


@pytest.mark.hub_contract
async def test_messages_that_wait_are_sequenced_by_whoever_joins() -> None:
    new_messages = await append("a")
    await elsewhere(log.insert_waiting, drafts("waiting"))
    client = Client()
    await client.join(after=0, epoch=new_messages.epoch)
    await until(lambda: client.bodies == ["a", "waiting"])


@pytest.mark.parametrize("error", [LogUnavailable("away"), NoLog("away"), ZeroDivisionError()])
async def test_polling_survives_a_log_that_is_away(
    error: Exception, away: Away, polling: Callable[[float], None]
) -> None:
    polling(FAST)
    client = Client()
    await client.join()
    away.error = error
    await append("a")
    away.calls.clear()
    await until(lambda: len(away.calls) > 2)
    away.error = None
    await until(lambda: client.bodies == ["a"])


async def test_a_look_for_a_hint_that_fails_is_left_to_the_next_poll(away: Away) -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    client = Client()
    await client.join()
    await append("lost")
    new_messages = await append("came")
    for error in (LogUnavailable("away"), ZeroDivisionError()):
        away.error = error
        away.calls.clear()
        current_hub().take(hint_for(new_messages))
        await until(lambda: away.calls)
        await until(lambda: not current_hub()._catching_up)
    away.error = None
    await look(current_hub())
    await until(lambda: client.bodies == ["lost", "came"])
    assert complaints == []


async def test_a_layer_that_hangs_does_not_hold_up_the_polling(polling: Callable[[float], None], settings: Any) -> None:
    polling(0.05)
    layer = use(settings, Gated)
    client = Client()
    await client.join()
    layer.gate.clear()
    for body in "abc":
        await append(body)
        await until(lambda body=body: client.bodies[-1:] == [body], 1)
    layer.gate.set()


@pytest.mark.hub_contract
async def test_a_layer_that_fails_altogether_loses_no_message(polling: Callable[[float], None], settings: Any) -> None:
    polling(0.05)
    layer = use(settings, Failing)
    layer.broken = {"new_channel", "group_add", "group_discard", "receive"}
    client = Client()
    await client.join()
    await append("a")
    await until(lambda: client.bodies == ["a"])


@only_in_memory
async def test_a_layer_that_forgot_is_told_again(polling: Callable[[float], None]) -> None:
    polling(FAST)
    layer = the_layer()
    client = Client()
    await client.join()
    await layer.flush()
    await until(lambda: set(layer.groups) == {"broadcast"})


async def test_old_messages_are_pruned_now_and_then(settings: Any, monkeypatch: pytest.MonkeyPatch, away: Away) -> None:
    settings.BROADCAST = {"POLL_INTERVAL": FAST, "KEEP_MESSAGES": 2}
    monkeypatch.setattr(hub_module, "PRUNE_EVERY", 0.05)
    await append(*"abcde")
    client = Client()
    await client.join()
    assert await elsewhere(Message.objects.count) == 5
    async with asyncio.timeout(10):
        while await elsewhere(Message.objects.count) != 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_pruning_survives_a_log_that_is_away(
    monkeypatch: pytest.MonkeyPatch, polling: Callable[[float], None]
) -> None:
    polling(FAST)
    monkeypatch.setattr(hub_module, "PRUNE_EVERY", 0.01)
    tries: list[str] = []

    def prune_step(group: str) -> bool:
        tries.append(group)
        if len(tries) < 3:
            return True
        raise LogUnavailable("away") if len(tries) % 2 else ZeroDivisionError

    monkeypatch.setattr(hub_module, "prune_step", prune_step)
    client = Client()
    await client.join()
    await until(lambda: len(tries) > 6)
    await append("a")
    await until(lambda: client.bodies == ["a"])


# Live only


async def test_without_a_log_it_is_live_and_goes_on_when_the_log_comes_into_being(away: Away) -> None:
    away.error = NoLog("no such table")
    client = Client()
    position = await client.join(after=5, epoch="e")
    assert (position.stream.is_logged, client.recovered) == (False, False)
    hub = current_hub()
    hub.take(Hint("broadcast", [frame(None, "live")]))
    await until(lambda: client.bodies == ["live"])
    await look(hub)
    away.error = None
    await look(hub)
    await until(lambda: client.resets)
    publish_news([await append("logged")])
    await until(lambda: client.bodies == ["live", "logged"])
    assert client.offsets == [None, 1]


async def test_without_a_log_the_first_logged_message_of_another_process_makes_the_hub_look(away: Away) -> None:
    away.error = NoLog("no such table")
    client = Client()
    await client.join()
    away.error = None
    current_hub().take(hint_for(await append("logged")))
    await until(lambda: client.bodies == ["logged"])
    assert client.resets[0]["offset"] == 0


@pytest.mark.hub_contract
async def test_what_is_sent_right_after_a_group_was_erased_reaches_everyone() -> None:
    clients = [Client(), Client()]
    for client in clients:
        await client.join()
    await append("old")
    await sync_to_async(erase)("broadcast")
    current_hub().take(hint_for(await append("new")))
    await until(lambda: all(client.bodies[-1:] == ["new"] for client in clients))
    assert [client.resets[0]["offset"] for client in clients] == [0, 0]


# Leaving


@pytest.mark.hub_contract
async def test_the_channel_lingers_and_then_leaves_the_group(
    polling: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    polling(FAST)
    monkeypatch.setattr(hub_module, "LINGER", 0.1)
    layer = the_layer()
    staying, leaving = Client(), Client()
    await staying.join("staying")
    await leaving.join()
    loop = asyncio.get_running_loop()
    left = loop.time()
    await leaving.transport.close()
    assert set(layer.groups) == {"broadcast", "broadcast.staying"}
    await until(lambda: set(layer.groups) == {"broadcast.staying"})
    assert loop.time() - left >= 0.1
    assert list(current_hub().streams) == ["staying"]


@pytest.mark.hub_contract
async def test_a_return_while_the_channel_is_being_discarded_is_not_undone(
    polling: Callable[[float], None], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    polling(FAST)
    monkeypatch.setattr(hub_module, "LINGER", 0.02)
    layer = use(settings, Gated)
    staying, leaving, returning = Client(), Client(), Client()
    await staying.join("staying")
    await leaving.join()
    hub = current_hub()
    await leaving.transport.close()
    layer.gate.clear()
    await until(lambda: "broadcast" not in hub.streams)
    coming = asyncio.ensure_future(returning.join())
    await asyncio.sleep(0)
    layer.gate.set()
    await coming
    assert "broadcast" in layer.groups
    publish_news([await append("a")])
    await until(lambda: returning.bodies == ["a"])
    assert "broadcast" in layer.groups


async def test_a_group_is_not_dropped_from_under_someone_who_is_joining(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes back with a position that the hub has not heard of waits for a look, perhaps for long."""
    monkeypatch.setattr(hub_module, "LINGER", 0.0)
    first = Client()
    await first.join()
    hub = current_hub()
    new_messages = await append("a", "b")
    going_on = asyncio.Event()
    catch_up = hub.catch_up

    async def slow(stream: Any) -> None:
        await going_on.wait()
        await catch_up(stream)

    monkeypatch.setattr(hub, "catch_up", slow)
    client = Client()
    joining = asyncio.ensure_future(client.join(after=1, epoch=new_messages.epoch))
    await until(lambda: hub.streams["broadcast"].joining)
    await first.transport.close()
    await look(hub)
    going_on.set()
    await joining
    await look(hub)
    assert hub.streams["broadcast"].positions
    publish_news([await append("c")])
    await until(lambda: client.bodies == ["b", "c"])


async def test_a_slow_opening_is_not_dropped_either(
    away: Away, polling: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    polling(FAST)
    monkeypatch.setattr(hub_module, "LINGER", 0.1)
    away.gate.clear()
    client = Client()
    joining = asyncio.ensure_future(client.join())
    await until(lambda: away.calls)
    await asyncio.sleep(0.2)  # longer than the hub lingers
    away.gate.set()
    await joining
    await append("a")
    await until(lambda: client.bodies == ["a"])


@only_in_memory
async def test_the_last_to_leave_ends_the_hub(
    polling: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    polling(FAST)
    monkeypatch.setattr(hub_module, "LINGER", 0.02)
    layer = the_layer()
    tasks = asyncio.all_tasks()
    client = Client()
    await client.join()
    hub = current_hub()
    assert hub in receivers
    database = await hub.read(lambda: connection.ensure_connection() or connections[connection.alias])
    assert database.connection is not None
    await client.transport.close()
    await until(lambda: hub not in hubs.values())
    assert hub not in receivers
    assert layer.groups == {}
    await until(lambda: asyncio.all_tasks() == tasks)
    assert layer.channels == {}
    await until(lambda: not own_threads())
    assert database.connection is None


async def test_whoever_comes_after_that_finds_a_new_hub(
    polling: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    polling(FAST)
    monkeypatch.setattr(hub_module, "LINGER", 0.02)
    for body in "abc":
        client = Client()
        await client.join()
        publish_news([await append(body)])
        await until(lambda client=client, body=body: client.bodies == [body])
        hub = current_hub()
        await client.transport.close()
        await until(lambda hub=hub: hub not in hubs.values())


async def test_a_hub_that_was_only_asked_to_read_ends_as_well(polling: Callable[[float], None]) -> None:
    polling(FAST)
    hub = current_hub()
    assert await hub.read(lambda: 7) == 7
    await until(lambda: hub not in hubs.values())
    await until(lambda: not own_threads())


@only_in_memory
async def test_a_coming_and_going_crowd_leaves_nothing_behind(
    polling: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    polling(0.005)
    monkeypatch.setattr(hub_module, "LINGER", 0.005)
    layer = the_layer()
    tasks = asyncio.all_tasks()

    async def visit(number: int) -> None:
        for _ in range(5):
            client = Client()
            await client.join(f"g{number % 3}")
            await asyncio.sleep(0.003 * (number % 4))
            await client.transport.close()

    await asyncio.gather(*(visit(number) for number in range(20)))
    await until(lambda: asyncio.get_running_loop() not in hubs)
    await until(lambda: asyncio.all_tasks() == tasks)
    assert (layer.groups, layer.channels) == ({}, {})
    await until(lambda: not own_threads())


def test_the_end_of_a_loop_leaves_nothing_behind(settings: Any) -> None:
    settings.BROADCAST = {"POLL_INTERVAL": SLOW}
    layer = use(settings, Watched)
    looking = threading.Event()

    def hang() -> None:
        looking.wait(10)

    async def main() -> None:
        client = Client()
        await client.join()
        hub = current_hub()
        await append("lost")
        hub.take(hint_for(await append("came")))
        works = (Client().join("opening"), hub.read(hang), hub.catch_up(hub.streams["broadcast"]))
        under_way = [asyncio.ensure_future(work) for work in works]
        await asyncio.sleep(0)
        assert not any(task.done() for task in under_way)
        looking.set()

    asyncio.run(main())
    assert (layer.groups, layer.channels, hubs) == ({}, {}, {})
    assert receivers == set()
    for thread in own_threads():
        thread.join(10)
    assert own_threads() == []


def test_a_loop_that_is_just_closed_leaves_no_threads_to_the_next(settings: Any) -> None:
    """Whoever closes a loop without ending its tasks gets no clean end; the next hub makes up for it."""
    settings.BROADCAST = {"POLL_INTERVAL": SLOW}

    async def main() -> Hub:
        await current_hub().read(lambda: None)
        return current_hub()

    loop = asyncio.new_event_loop()
    hub = loop.run_until_complete(main())
    tasks = asyncio.all_tasks(loop)
    assert own_threads()
    loop.close()
    asyncio.run(main())
    for thread in own_threads():
        thread.join(10)
    assert own_threads() == []
    assert hub not in receivers
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.get_coro().close()  # type: ignore[union-attr]


# Failures of one are no business of the others


async def test_a_living_loop_of_another_thread_keeps_its_hub() -> None:
    """As when a server and a synchronous caller's loop share a process."""
    mine = current_hub()
    mine._start()

    async def other() -> Hub:
        return current_hub()

    theirs = await asyncio.to_thread(asyncio.run, other())
    assert theirs is not mine
    assert current_hub() is mine
    assert mine in receivers


async def test_a_connection_whose_send_fails_costs_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = Client(), Client()

    async def send(event: dict[str, Any]) -> None:
        raise ValueError("broken")

    bad.transport.send = send
    for client in (bad, good):
        await client.join()
    publish_news([await append(*"abc")])
    await until(lambda: good.bodies == ["a", "b", "c"])
    await bad.transport.close()
