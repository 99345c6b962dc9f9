"""The thread that talks to the channel layer: nobody ever waits for it, whatever the layer does."""

import asyncio
import os
import threading
import time
from typing import Any

import pytest
from channels.layers import BaseChannelLayer

from broadcast import send
from broadcast.engine.hints import publisher as module
from broadcast.engine.hints.publisher import LayerPublisher
from broadcast.engine.hints.publisher import layer_publisher as the_sender
from tests.kit.layers import use
from tests.kit.processes import ended, python
from tests.kit.waiting import wait_until as until


class Networked(BaseChannelLayer):
    """A layer that others reach over a network: it keeps what is sent, or fails, or hangs."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sent: list[tuple[str, str]] = []
        self.threads: set[str] = set()
        self.loops: set[int] = set()
        self.tries: list[str] = []
        self.error: BaseException | None = None
        self.hangs = False

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.threads.add(threading.current_thread().name)
        self.loops.add(id(asyncio.get_running_loop()))
        self.tries.append(message["body"])
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        self.sent.append((group, message["body"]))


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(module, "SEND_TIMEOUT", 0.05)
    monkeypatch.setattr(module, "PAUSE_AFTER_FAILURE", 0.01)


@pytest.fixture
def layer(settings) -> Networked:
    return use(settings, Networked)


@pytest.fixture
def sender(monkeypatch):
    """A sender whose thread ends as soon as it has nothing to do."""
    monkeypatch.setattr(module, "IDLE_TIMEOUT", 0.02)
    sender = LayerPublisher()
    yield sender
    until(lambda: sender._thread is None)


def event(body: str) -> dict[str, Any]:
    return {"type": "broadcast.message", "author": "Ann", "body": body}


def senders_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "broadcast-layer"]


def test_what_is_sent_reaches_the_layer_in_order(layer):
    for number in range(20):
        send(str(number), group="news", persist=False)
    until(lambda: len(layer.sent) == 20)
    assert layer.sent == [("broadcast.news", str(number)) for number in range(20)]
    assert layer.threads == {"broadcast-layer"}
    assert len(layer.loops) == 1


def test_a_layer_that_raises_breaks_no_send(layer, caplog):
    layer.error = ConnectionError("no route")
    for _ in range(3):
        assert send("lost", persist=False).body == "lost"
    until(lambda: caplog.records)
    layer.error = None
    send("through", persist=False)
    until(lambda: ("broadcast", "through") in layer.sent)
    until(lambda: len(caplog.records) == 2)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "no route" in caplog.records[0].message


def test_that_the_layer_is_back_is_noticed_though_nothing_more_is_sent(layer, sender, caplog):
    layer.error = ConnectionError("no route")
    sender.put(layer, "g", event("typing"))
    sender.put(layer, "g", {**event("logged"), "head": 1})
    until(lambda: layer.tries.count("logged") > 2)
    layer.error = None
    until(lambda: len(caplog.records) == 2)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert layer.sent == [("g", "logged")]


def test_a_layer_that_hangs_delays_no_send(layer, caplog):
    layer.hangs = True
    begin = time.monotonic()
    for _ in range(50):
        send("lost", persist=False)
    assert time.monotonic() - begin < 1
    until(lambda: [record.levelname for record in caplog.records] == ["ERROR"])
    assert "TimeoutError" in caplog.records[0].message
    layer.hangs = False
    send("through", persist=False)
    until(lambda: layer.sent and layer.sent[-1] == ("broadcast", "through"))


def test_a_layer_that_cancels_ends_nothing(layer, sender):
    layer.error = asyncio.CancelledError()
    sender.put(layer, "g", event("lost"))
    until(lambda: layer.threads)
    layer.error = None
    sender.put(layer, "g", event("through"))
    until(lambda: layer.sent == [("g", "through")])


def test_the_oldest_events_go_when_too_many_wait(layer, sender, monkeypatch):
    monkeypatch.setattr(module, "SEND_TIMEOUT", 10)
    sent = []

    class Gate:
        async def group_send(self, group, message):
            if not sent:
                await asyncio.wait_for(asyncio.to_thread(full.wait, 30), 30)
            sent.append(message["body"])

    full = threading.Event()
    gate = Gate()
    sender.put(gate, "g", event("first"))
    until(lambda: sender._is_sending)
    for number in range(module.MAX_EVENTS + 5):
        sender.put(gate, "g", event(str(number)))
    full.set()
    until(lambda: len(sent) == module.MAX_EVENTS + 1)
    assert sent[:2] == ["first", "5"]


def test_the_thread_ends_when_idle_and_begins_again(layer, sender):
    before = senders_threads()
    sender.put(layer, "g", event("a"))
    [thread] = [thread for thread in senders_threads() if thread not in before]
    until(lambda: not thread.is_alive())
    assert sender._thread is None
    sender.put(layer, "g", event("b"))
    until(lambda: layer.sent == [("g", "a"), ("g", "b")])


def test_it_wakes_up_for_whatever_comes_while_it_idles(layer, sender, monkeypatch):
    for number in range(200):
        sender.put(layer, "g", event(str(number)))
        time.sleep(random_moment(number))
    until(lambda: len(layer.sent) == 200)
    assert [body for _, body in layer.sent] == [str(number) for number in range(200)]


def random_moment(number: int) -> float:
    """Around the time after which the thread ends: 0 to 25 ms, often 20."""
    return (0.0, 0.001, 0.0199, 0.02, 0.0201, 0.025)[number % 6] if number < 60 else 0.0


def test_a_thread_that_cannot_start_may_start_later(layer, sender, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            sender.put(layer, "g", event("a"))
    sender.put(layer, "g", event("b"))
    until(lambda: layer.sent == [("g", "a"), ("g", "b")])


def test_flushing_waits_for_what_is_under_way_and_not_for_ever(layer, monkeypatch):
    send("a", persist=False)
    the_sender.flush()
    assert layer.sent == [("broadcast", "a")]
    monkeypatch.setattr(module, "FLUSH_TIMEOUT", 0.05)
    monkeypatch.setattr(module, "SEND_TIMEOUT", 0.5)
    layer.hangs = True
    send("b", persist=False)
    begin = time.monotonic()
    the_sender.flush()
    assert 0.05 <= time.monotonic() - begin < 0.4
    layer.hangs = False
    until(lambda: not the_sender._is_sending)


class Told(BaseChannelLayer):
    """Looks up the name of its server and, after a while, writes what it is sent to the standard output."""

    async def group_send(self, group, message):
        await asyncio.sleep(0.1)
        await asyncio.get_running_loop().getaddrinfo("localhost", 80)
        print(message["body"], flush=True)


def ending_process(layer: type) -> str:
    return f"""
        from django.conf import settings
        settings.CHANNEL_LAYERS = {{"default": {{"BACKEND": "{layer.__module__}.{layer.__qualname__}"}}}}
        send("last words", persist=False)
        """


def test_a_process_that_ends_says_its_last_words():
    assert ended(python(ending_process(Told))) == "last words\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="This system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_has_a_thread_of_its_own(layer):
    send("a", persist=False)
    until(lambda: layer.sent)
    child = os.fork()
    if child == 0:
        try:
            assert the_sender._thread is None
            send("b", persist=False)
            the_sender.flush()
            os._exit(0 if layer.sent == [("broadcast", "a"), ("broadcast", "b")] else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert layer.sent == [("broadcast", "a")]
