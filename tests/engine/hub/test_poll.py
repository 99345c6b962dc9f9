"""Polls of many groups: they ask what is news, miss nothing by that, and find in turn what nobody told of."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from broadcast.engine.hub import poll
from broadcast.engine.hub.hub import Hub
from broadcast.engine.process import this_process
from broadcast.engine.storage import database as database_module
from broadcast.engine.storage import log as log_module
from broadcast.exceptions import LogUnavailable
from broadcast.models import Group, Message
from tests.kit.streams import Client, append, drafts, elsewhere, end_nodes
from tests.kit.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.hub_contract]

SLOW = 60.0  # seconds: a poll that does not come while the test runs


@pytest.fixture(autouse=True)
async def many(settings: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """However few groups there are, they are polled as many are; each poll compares one of them in turn."""
    settings.BROADCAST = {"POLL_INTERVAL": SLOW}
    settings.CHANNEL_LAYERS = {}
    monkeypatch.setattr(poll, "FEW", 0)
    monkeypatch.setattr(poll, "SWEEP_SECONDS", 10**9)
    yield
    await end_nodes()


async def following(*groups: str) -> tuple[dict[str, Client], Hub]:
    """A client for each group, and the hub, which has polled once."""
    clients = {group: Client() for group in groups}
    await asyncio.gather(*(client.join(group) for group, client in clients.items()))
    hub = next(iter(clients.values())).node.hub
    await hub.tick()
    return clients, hub


@pytest.fixture
def by_news_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """None are compared in turn, by which they would be found too."""
    monkeypatch.setattr(poll.Poll, "_next_in_line", lambda self, streams: [])


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The groups that each comparison read the heads of."""
    calls: list[list[str]] = []
    heads = this_process.log.heads
    monkeypatch.setattr(this_process.log, "heads", lambda names: calls.append(sorted(names)) or heads(names))
    return calls


def delete(group: str) -> None:
    Message.objects.filter(group_id=group).delete()
    Group.objects.filter(name=group).delete()


def come_without_a_mark(group: str) -> None:
    """As by a release from before there were marks."""
    this_process.log.append(drafts("x", group=group))
    Group.objects.filter(name=group).update(changed=None)


@pytest.mark.parametrize("can_tell", [True, False])
async def test_what_nobody_told_of_arrives_with_the_next_poll_and_nothing_else_is_compared(
    monkeypatch, compared, can_tell
):
    if not can_tell:
        monkeypatch.setattr(log_module, "can_tell", lambda connection: False)
    clients, hub = await following("a", "b", "void", "quiet")
    for body in "xy":
        await append(body, group="a")
        await elsewhere(this_process.log.insert_waiting, drafts(body, group="void"))
        compared.clear()
        await hub.tick()
        await until(lambda body=body: all(body in clients[group].bodies for group in ("a", "void")))
        assert compared[0] == (["a", "void"] if can_tell else ["a", "b", "quiet", "void"])
    await until(lambda: not hub._sequencing)
    for _ in range(2):
        await hub.tick()
        compared.clear()
    await hub.tick()
    assert compared == ([] if can_tell else [["a", "b", "quiet", "void"]])


@pytest.mark.usefixtures("by_news_alone")
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_group_whose_change_was_seen_while_it_was_opened_is_compared_at_the_next_poll(monkeypatch, is_first):
    """Its head was read before, so whoever opens it does not know of the change. The first poll has no mark."""
    clients, hub = await following("a")
    if is_first:
        hub._poll._mark = None
    reached, going_on = threading.Event(), threading.Event()
    heads = this_process.log.heads

    def slowly(names: list[str]) -> Any:
        found = heads(names)
        if "b" in names:
            reached.set()
            going_on.wait(10)
        return found

    monkeypatch.setattr(this_process.log, "heads", slowly)
    late = Client()
    joining = asyncio.ensure_future(late.join("b"))
    await until(reached.is_set)
    await append("meanwhile", group="b")
    # The reader has one thread, so the poll asks in another, as it would if opening took longer than here.
    monkeypatch.setattr(hub._poll, "_database", SimpleNamespace(read=elsewhere))
    await hub.tick()
    going_on.set()
    await joining
    assert late.bodies == []
    await hub.tick()
    await until(lambda: late.bodies == ["meanwhile"])
    assert clients["a"].bodies == []


@pytest.mark.usefixtures("by_news_alone")
@pytest.mark.parametrize("failing", ["heads", "read", "changes", "heads_in_log"])
async def test_what_could_not_be_compared_is_due_again(monkeypatch, failing):
    clients, hub = await following("a")
    await append("x", group="a")
    with monkeypatch.context() as patch:
        patch.setattr(this_process.log, failing, lambda *args: (_ for _ in ()).throw(LogUnavailable("away")))
        await hub.tick()
    assert clients["a"].bodies == []
    await hub.tick()
    await until(lambda: clients["a"].bodies == ["x"])


@pytest.mark.parametrize("how", ["deleted", "went back", "came without a mark"])
async def test_what_leaves_no_mark_is_found_in_turn_also_after_a_failure(monkeypatch, how):
    names = [f"g{number}" for number in range(5)]
    for name in names[1:]:
        await append("1", "2", group=name)
    clients, hub = await following(*names)
    while hub._poll._line != names[:3]:
        await hub.tick()
    acts = {
        "deleted": ("g2", lambda: delete("g2")),
        "went back": ("g2", lambda: Group.objects.filter(name="g2").update(head=1)),
        "came without a mark": ("g0", lambda: come_without_a_mark("g0")),
    }
    group, act = acts[how]
    await elsewhere(act)
    before = hub.streams[group].epoch
    with monkeypatch.context() as patch:
        patch.setattr(this_process.log, "heads_in_log", lambda *args: (_ for _ in ()).throw(LogUnavailable("away")))
        await hub.tick()
    for _ in names[:3]:
        await hub.tick()
    assert hub.streams[group].epoch != before
    told = clients[group]
    await until(lambda: told.bodies == ["x"] if how == "came without a mark" else told.resets)
    assert not [name for name in names if name != group and clients[name].resets]


async def test_many_quiet_groups_cost_three_queries_a_poll_and_news_few_more(monkeypatch):
    counts: list[int] = []

    def counted(work: Callable[[], Any]) -> Any:
        with CaptureQueriesContext(connection) as queries:
            found = reading(work)
        counts.append(len(queries))
        return found

    reading = database_module.reading
    clients, hub = await following(*(f"g{number}" for number in range(600)))
    monkeypatch.setattr(log_module, "reading", counted)
    for news, most in ((0, 3), (0, 3), (7, 4 + 7)):
        for number in range(news):
            await append("x", group=f"g{number * 80}")
        counts.clear()
        await hub.tick()
        assert sum(counts) <= most
    await until(lambda: sum(client.bodies == ["x"] for client in clients.values()) == 7)
