"""The thread that talks to the channel layer: nobody ever waits for it, whatever the layer does."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from channels.layers import BaseChannelLayer

from broadcast import send
from broadcast.engine.hints import layer_thread as module
from broadcast.engine.hints.layer import describe
from broadcast.engine.hints.layer_thread import LayerThread
from broadcast.engine.process import this_process
from broadcast.engine.system import System, start_thread
from tests.kit.layers import use
from tests.kit.log import levels
from tests.kit.processes import ended, python
from tests.kit.waiting import wait_until


class Networked(BaseChannelLayer):  # type: ignore[misc]
    """A layer that others reach over a network: it keeps what is sent, or fails, or hangs."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sent: list[tuple[str, str]] = []
        self.threads: list[threading.Thread] = []
        self.loops: set[asyncio.AbstractEventLoop] = set()
        self.tries: list[str] = []
        self.error: BaseException | None = None
        self.gate = threading.Event()
        self.gate.set()

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.threads.append(threading.current_thread())
        self.loops.add(asyncio.get_running_loop())
        self.tries.append(message["body"])
        while not self.gate.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        if self.error is not None:
            raise self.error
        self.sent.append((group, message["body"]))

    @property
    def bodies(self) -> list[str]:
        return [body for _, body in self.sent]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_AFTER_FAILURE", 0.01)
    monkeypatch.setattr(module, "IDLE_TIMEOUT", 0.02)


@pytest.fixture
def layer(settings: Any) -> Iterator[Networked]:
    layer: Networked = use(settings, Networked)
    yield layer
    layer.error = None
    layer.gate.set()
    wait_until(lambda: not any(thread.is_alive() for thread in layer.threads))


@pytest.fixture
def sender() -> LayerThread:
    return LayerThread(this_process.system, this_process.health)


def event(body: str, **fields: Any) -> dict[str, Any]:
    return {"type": "broadcast.message", "author": "Ann", "body": body, **fields}


def test_what_is_sent_reaches_the_layer_in_order(layer):
    layer.gate.clear()
    for number in range(20):
        send(str(number), group="news", persist=False)
    layer.gate.set()
    wait_until(lambda: layer.sent == [("broadcast.news", str(number)) for number in range(20)])
    assert {thread.name for thread in layer.threads} == {"broadcast-layer"}
    assert len(layer.loops) == 1


@pytest.mark.parametrize("how", ["raises", "hangs"])
def test_a_layer_that_fails_harms_and_delays_no_send_and_that_it_is_back_is_told(how, layer, caplog, monkeypatch):
    monkeypatch.setattr(module, "SEND_TIMEOUT", 0.05)
    layer.error = ConnectionError("no route") if how == "raises" else None
    layer.gate.clear() if how == "hangs" else None
    for _ in range(3):
        assert send("lost", persist=False).body == "lost"
    wait_until(lambda: levels(caplog) == ["ERROR"])
    assert ("no route" if how == "raises" else "TimeoutError") in caplog.text
    layer.error = None
    layer.gate.set()
    send("through", persist=False)
    wait_until(lambda: ("broadcast", "through") in layer.sent)
    wait_until(lambda: levels(caplog) == ["ERROR", "WARNING"])


def test_that_the_layer_is_back_is_noticed_though_nothing_more_is_sent(layer, sender, caplog):
    layer.error = ConnectionError("no route")
    sender.put(layer, "g", event("typing"))
    sender.put(layer, "g", event("logged", head=1))
    wait_until(lambda: layer.tries.count("logged") > 4)
    layer.error = None
    wait_until(lambda: levels(caplog) == ["ERROR", "WARNING"])
    assert layer.bodies == ["logged"]
    assert layer.tries.count("typing") == 1  # whoever says that it failed may have passed it on


def test_where_no_loop_can_be_made_events_wait_until_one_can(layer, sender, monkeypatch, caplog):
    with monkeypatch.context() as full:
        full.setattr("socket.socketpair", Mock(side_effect=OSError(24, "Too many open files")))
        for number in range(module.MAX_EVENTS + 5):
            sender.put(layer, "g", event(str(number)))
        wait_until(lambda: levels(caplog) == ["ERROR"])
    assert "Too many open files" in caplog.text
    wait_until(lambda: layer.bodies == [str(number) for number in range(5, module.MAX_EVENTS + 5)])
    assert levels(caplog) == ["ERROR", "WARNING"]


def test_an_error_without_words_is_told_by_its_name():
    assert describe(TimeoutError()) == "TimeoutError"
    assert describe(ConnectionError("refused")) == "refused"


def test_a_layer_that_cancels_ends_nothing(layer, sender):
    layer.error = asyncio.CancelledError()
    sender.put(layer, "g", event("lost"))
    wait_until(lambda: layer.tries)
    layer.error = None
    sender.put(layer, "g", event("through"))
    wait_until(lambda: "through" in layer.bodies)


def test_the_oldest_events_go_when_too_many_wait(layer, sender, monkeypatch):
    monkeypatch.setattr(module, "SEND_TIMEOUT", 30.0)
    layer.gate.clear()
    sender.put(layer, "g", event("first"))
    wait_until(lambda: layer.tries)
    for number in range(module.MAX_EVENTS + 5):
        sender.put(layer, "g", event(str(number)))
    layer.gate.set()
    wait_until(lambda: len(layer.sent) == module.MAX_EVENTS + 1)
    assert layer.bodies[:2] == ["first", "5"]


def test_the_thread_ends_when_idle_and_begins_again(layer, sender):
    for body in "ab":
        sender.put(layer, "g", event(body))
        wait_until(lambda body=body: body in layer.bodies)
        wait_until(lambda: not layer.threads[-1].is_alive())
    assert len(set(layer.threads)) == 2


def test_nothing_is_forgotten_that_comes_just_as_the_thread_ends(layer, sender):
    clock = this_process.system
    for number in range(60):
        sender.put(layer, "g", event(str(number)))
        clock.sleep((0.0, 0.001, 0.0199, 0.02, 0.0201, 0.025)[number % 6])  # around the end of its patience
    wait_until(lambda: layer.bodies == [str(number) for number in range(60)])


def test_a_thread_that_cannot_start_may_start_later(layer):
    refusals = [RuntimeError("can't start new thread")]

    def start(*args: Any) -> None:
        if refusals:
            raise refusals.pop()
        start_thread(*args)

    sender = LayerThread(System(start_thread=start), this_process.health)
    with pytest.raises(RuntimeError):
        sender.put(layer, "g", event("a"))
    sender.put(layer, "g", event("b"))
    wait_until(lambda: layer.bodies == ["a", "b"])


def test_flushing_waits_for_what_is_under_way_and_not_for_ever(layer, sender, monkeypatch):
    sender.put(layer, "g", event("a"))
    sender.flush()
    assert layer.bodies == ["a"]
    monkeypatch.setattr(module, "FLUSH_TIMEOUT", 0.05)
    layer.gate.clear()
    sender.put(layer, "g", event("b"))
    sender.flush()
    assert layer.bodies == ["a"]


class Told(BaseChannelLayer):  # type: ignore[misc]
    """Looks up the name of its server and, after a while, writes what it is sent to the standard output."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.1)
        await asyncio.get_running_loop().getaddrinfo("localhost", 80)
        print(message["body"], flush=True)


def test_a_process_that_ends_says_its_last_words():
    process = python(f"""
        from django.conf import settings
        settings.CHANNEL_LAYERS = {{"default": {{"BACKEND": "{Told.__module__}.{Told.__qualname__}"}}}}
        send("last words", persist=False)
        """)
    assert ended(process) == "last words\n"
