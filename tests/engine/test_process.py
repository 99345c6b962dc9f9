"""The process object: begun anew after a fork, and several of them in one event loop as if each were a process."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from channels.layers import BaseChannelLayer

from broadcast import asend, send
from broadcast.engine.commit import ThreadRequest
from broadcast.engine.process import MAX_SAID, Process, current_process, this_process
from tests.kit.layers import Watched, use
from tests.kit.processes import ended, python
from tests.kit.streams import Client, draft, end_nodes
from tests.kit.waiting import until

SLOW = 60.0  # seconds: a poll that does not come while the test runs


@pytest.fixture
async def two(settings: Any) -> AsyncIterator[list[Process]]:
    settings.BROADCAST = {"POLL_INTERVAL": SLOW}
    processes = [Process(), Process()]
    yield processes
    await end_nodes(*processes)


async def joined(process: Process) -> Client:
    with process.active():
        client = Client()
        await client.join()
    return client


@pytest.mark.django_db(transaction=True)
async def test_two_in_one_loop_hear_each_other_over_the_channel_layer(two, settings):
    layer = use(settings, Watched)
    clients = [await joined(process) for process in two]
    assert [list(process.nodes.values()) for process in two] == [[client.node] for client in clients]
    assert this_process.nodes == {}
    assert len({process.origin for process in two}) == 2
    assert len(set.union(*(process.own_channels for process in two))) == len(layer.groups["broadcast"]) == 2
    for number in range(4):
        with two[number % 2].active():
            await asend(str(number))
            await asend(f"typing {number}", persist=False)
        await until(lambda count=2 * (number + 1): all(len(client.bodies) == count for client in clients))
    assert clients[0].received == clients[1].received
    assert clients[0].offsets == [1, None, 2, None, 3, None, 4, None]


@pytest.mark.django_db(transaction=True)
async def test_two_in_one_loop_hear_each_other_by_their_polls_without_a_layer(two, settings):
    settings.CHANNEL_LAYERS = {}
    here, there = [await joined(process) for process in two]
    with two[0].active():
        await asend("hi")
        await asend("typing", persist=False)
    await until(lambda: here.bodies == ["hi", "typing"])
    assert there.bodies == []
    await there.node.hub.tick()
    await until(lambda: there.bodies == ["hi"])


async def test_it_is_current_for_the_code_inside_and_for_what_that_starts(two):
    first, second = two
    assert current_process() is this_process
    with first.active():
        with second.active():
            task = asyncio.create_task(asyncio.to_thread(current_process))
        assert current_process() is first
    assert current_process() is this_process
    assert await task is second
    with pytest.raises(ZeroDivisionError), first.active():
        1 / 0  # noqa: B018
    assert current_process() is this_process


async def test_what_each_knows_is_its_own(two, monkeypatch):
    first, second = two
    heard: list[Any] = []
    first.listeners.append(heard.append)
    first.health.layer.fail("gone")
    with first.active(), first.in_flight:
        assert (first.in_flight.are_under_way(), second.in_flight.are_under_way()) == (True, False)
        message = send("a", persist=False)
    with second.active():
        send("b", persist=False)
    assert heard == [[message]]
    assert (first.health.failing, second.health.failing) == ({first.health.layer}, set())


async def test_a_reset_begins_anew_and_keeps_those_who_listen():
    process = Process()
    process.listeners.append(print)
    origin = process.origin
    process.node()
    process.own_channels.add("a channel")
    process.health.log.fail("gone")
    process.in_flight.__enter__()
    assert process.commit._put(ThreadRequest([draft()], threading.Event())) is True
    assert process.is_first_time("said") is True
    process.reset()
    assert process.origin != origin
    assert (process.nodes, process.own_channels, process.health.failing) == ({}, set(), set())
    assert not process.in_flight.are_under_way()
    assert process.commit._put(ThreadRequest([draft()], threading.Event())) is True  # nobody waits or leads
    assert process.is_first_time("said") is True
    assert process.listeners == [print]


def test_a_line_is_said_once_and_not_too_many_are():
    process = Process()
    assert [process.is_first_time(text) for text in "aba"] == [True, True, False]
    said = [process.is_first_time(str(number)) for number in range(MAX_SAID)]
    assert sum(said) == MAX_SAID - 2


@pytest.mark.parametrize("patched", [True, False])
@pytest.mark.parametrize("name", ["gevent", "eventlet"])
def test_a_library_that_makes_greenlets_of_threads_is_known(name, patched, monkeypatch):
    system = Process().system
    assert system.greenlet_library() == ""
    module, asked = {"gevent": ("monkey", "is_module_patched"), "eventlet": ("patcher", "is_monkey_patched")}[name]
    monkeypatch.setitem(sys.modules, f"{name}.{module}", SimpleNamespace(**{asked: lambda _: patched}))
    assert system.greenlet_library() == (name if patched else "")


class Printing(BaseChannelLayer):  # type: ignore[misc]
    """A layer that others reach over a network: it prints what it is sent."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        print(message["body"], flush=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="This system has no fork")
def test_a_fork_is_another_process_which_has_nothing_of_its_parents():
    parent = python(f"""
        import asyncio, os
        from django.conf import settings
        from broadcast.engine.process import this_process

        settings.CHANNEL_LAYERS = {{"default": {{"BACKEND": "{__name__}.Printing"}}}}

        def is_new(origin):
            return this_process.origin != origin, len(this_process.nodes), len(this_process.own_channels)

        def say(body):
            send(body, persist=False)
            this_process.hints.flush()

        async def main():
            with this_process.node():
                this_process.own_channels.add("a channel")
                say("of the parent")
                origin, loop = this_process.origin, asyncio.get_running_loop()
                ready = loop._ready.copy()
                child = os.fork()
                if child == 0:
                    print(*is_new(origin), flush=True)
                    say("of the child")
                    print(loop._ready == ready, flush=True)  # nobody runs what a child's copy of a loop is given
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
                print(*is_new(origin), flush=True)
                say("of the parent again")

        asyncio.run(main())
        """)
    lines = ["of the parent", "True 0 0", "of the child", "True", "False 1 1", "of the parent again"]
    assert ended(parent).splitlines() == lines
