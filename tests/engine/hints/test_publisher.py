"""Hints: told to this process's hubs directly and to all others over the layer, without waiting for anyone."""

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer, get_channel_layer

from broadcast import asend, send, send_many
from broadcast.engine.hints import publisher as hints
from broadcast.engine.hints.hint import Hint
from broadcast.engine.storage.log import NewMessages
from broadcast.models import Message
from tests.kit.layers import only_in_memory, use
from tests.kit.waiting import wait_until as until


class Ear:
    """A hub as senders see it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, alive: bool = True) -> None:
        self.loop = loop
        self.alive = alive
        self.hints: list[Hint] = []

    def hand_over(self, hint: Hint) -> bool:
        self.hints.append(hint)
        return self.alive


@pytest.fixture
def ended_loop():
    loop = asyncio.new_event_loop()
    loop.close()
    return loop


@pytest.fixture
def listening():
    """Adds hubs that are gone after the test."""
    added: list[Ear] = []

    def add(ear: Ear) -> Ear:
        hints.receivers.add(ear)
        added.append(ear)
        return ear

    yield add
    hints.receivers.difference_update(added)


async def events_of(group: str, layer: Any, count: int) -> list[dict[str, Any]]:
    channel = await layer.new_channel()
    await layer.group_add(group, channel)
    return [await layer.receive(channel) for _ in range(count)]


class TestOwnHubs:
    def test_each_is_told(self, listening, ended_loop):
        ears = [listening(Ear(ended_loop)), listening(Ear(ended_loop))]
        send("hi", persist=False)
        assert [len(ear.hints) for ear in ears] == [1, 1]

    def test_one_whose_loop_has_ended_is_forgotten(self, listening, ended_loop):
        gone, other = listening(Ear(ended_loop, alive=False)), listening(Ear(ended_loop))
        send("a", persist=False)
        send("b", persist=False)
        assert (len(gone.hints), len(other.hints)) == (1, 2)
        assert gone not in hints.receivers

    def test_an_extension_without_messages_is_not_told(self, listening, ended_loop):
        ear = listening(Ear(ended_loop))
        new = Message(group_id="news", author="Ann", body="hi", offset=7)
        hints.publish_news([NewMessages("empty", "e", []), NewMessages("news", "e", [new])])
        assert [(hint.group, hint.epoch, hint.head) for hint in ear.hints] == [("news", "e", 7)]


@only_in_memory
@pytest.mark.django_db(transaction=True)
class TestTheInMemoryLayer:
    async def test_a_channel_of_ones_own_sees_each_hint(self):
        layer = get_channel_layer()
        channel = await layer.new_channel()
        await layer.group_add("broadcast", channel)
        await asend("hello", author="Ann")
        event = await layer.receive(channel)
        assert (event["type"], event["author"], event["body"]) == ("broadcast.message", "Ann", "hello")
        assert (event["offset"], event["head"], event["group"]) == (1, 1, "broadcast")

    def test_from_a_thread_without_a_loop(self):
        layer = get_channel_layer()
        channel = async_to_sync(layer.new_channel)()
        async_to_sync(layer.group_add)("broadcast.news", channel)
        send_many(["a", "b"], group="news")
        event = async_to_sync(layer.receive)(channel)
        assert (event["body"], [fields["body"] for fields in event["more"]]) == ("a", ["b"])

    async def test_from_the_loop_itself(self):
        layer = get_channel_layer()
        channel = await layer.new_channel()
        await layer.group_add("broadcast", channel)
        send("typing", persist=False)
        assert (await layer.receive(channel))["body"] == "typing"

    async def test_in_the_loop_that_listens_wherever_it_is_sent(self, listening):
        layer = get_channel_layer()
        channel = await layer.new_channel()
        await layer.group_add("broadcast", channel)
        listening(Ear(asyncio.get_running_loop()))
        receiving = asyncio.create_task(layer.receive(channel))
        await asyncio.sleep(0)
        thread = threading.Thread(target=lambda: send("from a thread", persist=False))
        thread.start()
        assert (await asyncio.wait_for(receiving, 30))["body"] == "from a thread"
        thread.join()


class Broken(InMemoryChannelLayer):
    def __init__(self, **options):
        super().__init__(**options)
        self.groups = {"broadcast": {"a consumer of the site": 0.0}}

    async def group_send(self, group, message):
        raise ValueError("broken")


class Unbuildable:
    def __init__(self, **_):
        raise ImportError("no such layer")


class TestALayerThatFails:
    def test_here(self, settings, caplog, listening, ended_loop):
        use(settings, Broken)
        ear = listening(Ear(ended_loop))
        assert send("a", persist=False).body == "a"
        assert len(ear.hints) == 1
        assert "broken" in caplog.text

    async def test_in_the_loop_that_listens(self, settings, caplog):
        use(settings, Broken)
        send("a", persist=False)
        await asyncio.to_thread(until, lambda: "broken" in caplog.text)
        assert hints.sending == set()

    def test_that_cannot_be_made(self, settings, caplog):
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{__name__}.Unbuildable"}}
        assert send("a", persist=False).body == "a"
        assert "no such layer" in caplog.text

    def test_none_at_all(self, settings, caplog, listening, ended_loop):
        settings.CHANNEL_LAYERS = {}
        ear = listening(Ear(ended_loop))
        send("a", persist=False)
        assert len(ear.hints) == 1
        assert [record for record in caplog.records if "channel layer" in record.message] == []

    def test_a_loop_that_ends_leaves_nothing_behind(self, settings):
        """Even if it never gets to what it was given; a coroutine that is never awaited would be a warning."""

        async def say_and_leave():
            send("a", persist=False)

        for _ in range(5):
            asyncio.run(say_and_leave())
        assert hints.sending == set()
