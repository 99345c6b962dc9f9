"""The node: it lives while somebody needs it, and leaves nothing behind, however it or its loop ends."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import AsyncMock

import pytest
from django.db import connection, connections

from broadcast.engine.hints.layer import current_layer
from broadcast.engine.hub import hub as hub_module
from broadcast.engine.node import Node
from broadcast.engine.process import this_process
from tests.kit.layers import Watched, only_in_memory, use
from tests.kit.processes import elsewhere
from tests.kit.streams import Client, append, database_threads, end_nodes, hint_for, publish
from tests.kit.waiting import until, wait_until

SLOW = 60.0  # seconds: a poll that does not come while the test runs


@pytest.fixture(autouse=True)
async def nodes_that_end(settings: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    settings.BROADCAST = {"POLL_INTERVAL": 0.01}
    use(settings, Watched)
    monkeypatch.setattr(hub_module, "LINGER", 0.02)
    yield
    await end_nodes()


async def polls(node: Node, monkeypatch: pytest.MonkeyPatch, count: int = 3) -> None:
    """Returns when the node has polled so many times more."""
    ticks = AsyncMock(side_effect=node.hub.tick)
    with monkeypatch.context() as patch:
        patch.setattr(node.hub, "tick", ticks)
        await until(lambda: ticks.await_count > count)  # the last has only begun


async def test_it_lives_while_it_is_held_though_nothing_is_followed(monkeypatch):
    """As by a connection that is signed in and follows nothing; it needs no database for that."""
    with this_process.node() as node:
        with this_process.node() as same:
            assert same is node
        opened = []
        monkeypatch.setattr(node.database, "threads", lambda: opened.append("threads"))
        await polls(node, monkeypatch)
        assert this_process.node() is node
        assert opened == []
    await until(lambda: this_process.nodes == {})


@pytest.mark.django_db(transaction=True)
@only_in_memory
async def test_it_ends_when_nobody_holds_it_and_no_group_lingers(monkeypatch):
    layer, tasks = current_layer(), asyncio.all_tasks()
    client, other = Client(), Client()
    await client.join()
    node = client.node
    await node.receiver.join_control()
    opened = await node.database.read(lambda: connection.ensure_connection() or connections[connection.alias])
    assert opened.connection is not None
    await client.leave()
    await until(lambda: not node.hub.streams)
    await polls(node, monkeypatch)
    assert list(this_process.nodes.values()) == [node]
    other.node.__exit__()
    await until(lambda: this_process.nodes == {})
    await until(lambda: asyncio.all_tasks() == tasks)
    assert (layer.groups, layer.channels, this_process.own_channels) == ({}, {}, set())
    await until(lambda: not database_threads())
    assert opened.connection is None


@pytest.mark.django_db(transaction=True)
async def test_it_outlives_its_holders_while_a_group_lingers(monkeypatch):
    monkeypatch.setattr(hub_module, "LINGER", SLOW)
    client = Client()
    await client.join()
    await client.leave()
    await polls(client.node, monkeypatch)
    assert this_process.node() is client.node
    monkeypatch.setattr(hub_module, "LINGER", 0.0)
    await until(lambda: this_process.nodes == {})


@pytest.mark.django_db(transaction=True)
async def test_whoever_comes_after_its_end_finds_a_new_one():
    nodes = []
    for body in "abc":
        client = Client()
        nodes.append(client.node)
        await client.join()
        await publish(body)
        await until(lambda client=client, body=body: client.bodies == [body])
        await client.leave()
        await until(lambda: this_process.nodes == {})
    assert len(set(nodes)) == 3


async def test_one_that_is_kept_lives_on_without_database_threads_while_it_is_unused(monkeypatch):
    node = this_process.node()
    node.keep()
    with node:
        assert await node.database.read(lambda: 7) == 7
        await polls(node, monkeypatch)
        assert len(database_threads()) == 1  # the other is to start when it is needed
    await until(lambda: not database_threads())
    await polls(node, monkeypatch)
    assert this_process.node() is node
    assert database_threads() == []
    with node:
        assert await node.database.write(lambda: 8) == 8


async def test_it_has_one_part_of_each_kind_which_goes_with_it():
    class Part:
        def __init__(self, node: Node) -> None:
            self.node = node

    class Other(Part):
        pass

    with this_process.node() as node:
        part = node.part(Part)
        assert node.part(Part) is part
        assert part.node is node
        assert type(node.part(Other)) is Other
    await until(lambda: this_process.nodes == {})
    with this_process.node() as new:
        assert new.part(Part) is not part


def test_one_whose_loop_was_closed_is_forgotten_by_the_next_who_calls_it():
    loop = asyncio.new_event_loop()

    async def node_of_this_loop() -> Node:
        node = this_process.node()
        await node.database.read(lambda: None)
        return node

    node = loop.run_until_complete(node_of_this_loop())
    called: list[int] = []
    node.control_handlers["test"] = lambda event: called.append(event["n"])
    this_process.hints.publish_control({"type": "test", "n": 1})
    loop.run_until_complete(asyncio.sleep(0))
    assert (called, list(this_process.nodes.values())) == ([1], [node])
    loop.close()
    this_process.hints.publish_control({"type": "test", "n": 2})
    assert (called, this_process.nodes) == ([1], {})
    wait_until(lambda: not database_threads())


def test_a_loop_that_was_just_closed_leaves_nothing_to_the_next():
    """Whoever closes a loop without ending its tasks gets no clean end; the next node makes up for it."""

    async def use_the_database() -> Node:
        with this_process.node() as node:
            await node.database.read(lambda: None)
            return node

    loop = asyncio.new_event_loop()
    node = loop.run_until_complete(use_the_database())
    assert elsewhere(lambda: asyncio.run(use_the_database())) is not node  # also while both loops are there
    assert list(this_process.nodes.values()) == [node]
    tasks = asyncio.all_tasks(loop)
    loop.close()
    assert asyncio.run(use_the_database()) is not node
    assert this_process.nodes == {}
    wait_until(lambda: not database_threads())
    for task in tasks:
        task._log_destroy_pending = False
        task.get_coro().close()


async def with_work_under_way(under_way: list[asyncio.Future[Any]]) -> None:
    client = Client()
    await client.join()
    hub = client.node.hub
    await append("lost")
    hub.on_hint(hint_for(await append("came")))
    works = (Client().join("opening"), client.node.database.read(lambda: None), hub.catch_up(hub.streams["broadcast"]))
    under_way += [asyncio.ensure_future(work) for work in works]
    await asyncio.sleep(0)
    assert not any(task.done() for task in under_way)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["with all its tasks", "stopped, at the end of the process"])
def test_the_end_of_a_loop_leaves_nothing_behind(how, settings):
    settings.BROADCAST = {"POLL_INTERVAL": SLOW}
    layer = use(settings, Watched)
    under_way: list[asyncio.Future[Any]] = []
    if how == "with all its tasks":
        asyncio.run(with_work_under_way(under_way))
    else:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(with_work_under_way(under_way))
        this_process.end()
        assert asyncio.all_tasks(loop) == set()
        loop.close()
    assert (layer.groups, layer.channels, this_process.nodes) == ({}, {}, {})
    wait_until(lambda: not database_threads())
