"""Publishing: told to this process's nodes directly and to all others over the layer, without waiting for anyone."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import Mock

import pytest
from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer, get_channel_layer

from broadcast import asend, send, send_many
from broadcast.engine.hints.hint import SITE_MARK, Hint
from broadcast.engine.hints.layer import CONTROL_GROUP
from broadcast.engine.node import Node
from broadcast.engine.process import Process, this_process
from broadcast.engine.system import System
from broadcast.groups import channels_group
from tests.kit.layers import Unmade, only_in_memory, use
from tests.kit.streams import frame
from tests.kit.waiting import until

EVENT = {"type": "broadcast.test", "n": 1}


@pytest.fixture
def hints(monkeypatch: pytest.MonkeyPatch) -> list[Hint]:
    """What the hubs of this process hear."""
    heard: list[Hint] = []
    monkeypatch.setattr("broadcast.engine.hub.hub.Hub.on_hint", lambda _, hint: heard.append(hint))
    return heard


@pytest.fixture
async def node() -> Node:
    return this_process.node()


async def channel_in(group: str = "broadcast") -> Callable[[], Awaitable[Any]]:
    """A consumer of the site: a function that waits for what comes next to a Channels group."""
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(group, channel)

    async def receive() -> Any:
        return await asyncio.wait_for(layer.receive(channel), 30)

    return receive


async def test_every_node_hears_a_control_event_and_acts_by_its_type(node):
    heard: list[Any] = []
    node.control_handlers["broadcast.test"] = heard.append
    for event in (EVENT, {}, {"type": "broadcast.other"}, {"type": 7}):
        await asyncio.to_thread(this_process.hints.publish_control, event)
    this_process.hints.publish_control({**EVENT, "n": 2})
    await until(lambda: [event["n"] for event in heard] == [1, 2])


@pytest.mark.parametrize(("backend", "is_passed_on"), [("redis", True), ("memory", False), ("none", False)])
def test_a_control_event_is_passed_on_where_others_can_be_reached(backend, is_passed_on, settings, monkeypatch):
    passed: list[Any] = []
    monkeypatch.setattr(this_process.hints._thread, "put", lambda layer, group, event: passed.append((group, event)))
    layers = {
        "redis": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"},
        "memory": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
    }
    settings.CHANNEL_LAYERS = {"default": layers[backend]} if backend in layers else {}
    this_process.hints.publish_control(EVENT)
    told = {**EVENT, "origin": this_process.origin, SITE_MARK: this_process.site.own}
    assert passed == [(channels_group(CONTROL_GROUP), told)] * is_passed_on


@only_in_memory
@pytest.mark.django_db(transaction=True)
async def test_a_channel_of_the_site_sees_each_hint():
    receive = await channel_in()
    await asend("hello", author="Ann")
    event = await receive()
    assert (event["type"], event["author"], event["body"]) == ("broadcast.message", "Ann", "hello")
    assert (event["offset"], event["head"], event["group"]) == (1, 1, "broadcast")
    send("from the loop itself", persist=False)
    assert (await receive())["body"] == "from the loop itself"


@only_in_memory
@pytest.mark.django_db(transaction=True)
def test_a_channel_of_the_site_sees_what_a_thread_without_a_loop_sends():
    receive = async_to_sync(channel_in)("broadcast.news")
    send_many(["a", "b"], group="news")
    event = async_to_sync(receive)()
    assert (event["body"], [fields["body"] for fields in event["more"]]) == ("a", ["b"])


@only_in_memory
async def test_a_channel_is_sent_to_in_the_loop_that_listens(node):
    receiving = asyncio.ensure_future((await channel_in())())
    await asyncio.sleep(0)
    await asyncio.to_thread(send, "from a thread", persist=False)
    assert (await receiving)["body"] == "from a thread"


@only_in_memory
async def test_what_only_own_nodes_hear_is_not_sent_over_the_layer(settings):
    layer = use(settings, Broken)
    with this_process.node() as node:
        await node.receiver.add("news")
        this_process.hints.publish(Hint("news", [frame(None)]))
        await until(lambda: layer.tries == [])
        await channel_in("broadcast.news")
        this_process.hints.publish(Hint("news", [frame(None)]))
        await until(lambda: layer.tries == ["broadcast.news"])


def test_where_threads_are_greenlets_nothing_is_sent_over_the_layer_and_that_is_said_once(settings, caplog):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}}
    start = Mock()
    hints = Process(System(greenlet_library=lambda: "gevent", start_thread=start)).hints
    for _ in range(2):
        hints.publish(Hint("news", [frame(1)], "e", 1))
        hints.publish_control(EVENT)
    assert (start.mock_calls, caplog.text.count("gevent has made greenlets")) == ([], 1)


class Broken(InMemoryChannelLayer):  # type: ignore[misc]
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.groups = {"broadcast": {"a consumer of the site": 0.0}}
        self.tries: list[str] = []

    async def group_send(self, group: str, message: Any) -> None:
        self.tries.append(group)
        raise ValueError("broken")


@pytest.mark.parametrize(("layer", "told"), [(Broken, "broken"), (Unmade, "no hosts"), (None, "")])
@pytest.mark.parametrize("here", [True, False], ids=["in the loop", "in a thread"])
async def test_a_layer_that_fails_harms_no_sender_and_no_node_here(layer, told, here, node, hints, settings, caplog):
    path = f"{layer.__module__}.{layer.__qualname__}" if layer else ""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": path}} if layer else {}
    message = send("a", persist=False) if here else await asyncio.to_thread(send, "a", persist=False)
    assert message.body == "a"
    await until(lambda: len(hints) == 1)
    await until(lambda: told in caplog.text)
    assert ("channel layer" in caplog.text) is bool(told)


def test_a_loop_that_ends_leaves_nothing_behind(settings, recwarn):
    """Even if it never gets to what it was given: no coroutine that is never awaited."""
    use(settings, Broken)

    async def say_and_leave() -> None:
        send("a", persist=False)

    for _ in range(5):
        asyncio.run(say_and_leave())
    gc.collect()
    assert list(recwarn) == []
