"""Hints: what has just come into the log, told to this process's hubs and, over the channel layer, to all others."""

from __future__ import annotations

import asyncio
import atexit
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer

from ..forks import after_fork
from ..frames import message_frame
from ..health import layer_failing
from ..storage.log import NewMessages
from .hint import Hint, asked, channels_group, current_layer, event_of, own_channels


class Receiver(Protocol):
    """A hub, as seen from any thread."""

    loop: asyncio.AbstractEventLoop

    def hand_over(self, hint: Hint) -> bool: ...


receivers: set[Receiver] = set()


def publish_news(news: Iterable[NewMessages]) -> None:
    for new_messages in news:
        if new_messages.messages:
            frames = [message_frame(message) for message in new_messages.messages]
            tell(Hint(new_messages.group, frames, new_messages.epoch, frames[-1].offset))


def tell(hint: Hint) -> None:
    """Passes a hint on, from any thread, without waiting for anyone who listens. Never raises."""
    for receiver in list(receivers):
        if not receiver.hand_over(hint):
            receivers.discard(receiver)
    send_to_layer(hint.group, lambda: event_of(hint))


def send_to_layer(group: str, event: Callable[[], dict[str, Any]]) -> None:
    """Sends an event to the group's hubs in other processes, if a layer reaches any. Never raises, never waits."""
    try:
        layer = current_layer()
        if isinstance(layer, InMemoryChannelLayer):
            if others_hear(layer, channels_group(group)):
                send_in_memory(layer, channels_group(group), event())
        elif layer is not None:
            layer_publisher.put(layer, channels_group(group), event())
    except Exception as error:
        layer_failing.fail(error, "sending")


def others_hear(layer: InMemoryChannelLayer, group: str) -> bool:
    """Whether anything but this process's hubs, which have been told, is in a group: a consumer of the site."""
    return not own_channels.issuperset(list(layer.groups.get(group, ())))


def send_in_memory(layer: Any, group: str, event: dict[str, Any]) -> None:
    """Sends in the loop that listens, for the queues of this layer belong to one; else right here."""
    try:
        loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        loops = [receiver.loop for receiver in list(receivers)]
        loop = next((loop for loop in loops if loop.is_running()), None)
    if loop is None:
        async_to_sync(layer.group_send)(group, event)
        layer_failing.recover("sending")
    else:
        # The coroutine is made there: a loop that ends before it gets to this leaves nothing behind.
        loop.call_soon_threadsafe(lambda: begin(layer.group_send(group, event)))


sending: set[asyncio.Task[None]] = set()


def begin(group_send: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(group_send)
    sending.add(task)
    task.add_done_callback(ended)


def ended(task: asyncio.Task[None]) -> None:
    sending.discard(task)
    if task.cancelled():
        return
    error = task.exception()
    if error is None:
        layer_failing.recover("sending")
    else:
        layer_failing.fail(error, "sending")


SEND_TIMEOUT = 2.0  # seconds
PAUSE_AFTER_FAILURE = 1.0  # seconds without a try, so that a layer that hangs costs little
IDLE_TIMEOUT = 30.0  # seconds without an event after which the thread ends
FLUSH_TIMEOUT = 1.0  # seconds that the end of the process waits for the last events
MAX_EVENTS = 1000

Event = tuple[Any, str, dict[str, Any]]


class LayerLoop(asyncio.SelectorEventLoop):
    """Looks names up in its own thread, for at the end of a process there are no executors any more."""

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        return socket.getaddrinfo(host, port, family, type, proto, flags)


class LayerPublisher:
    """One lazy thread per process with one event loop, which keeps the layer's connections.

    At most ``MAX_EVENTS`` wait; then the oldest go. A hint that is lost costs time, never a message.
    """

    def __init__(self) -> None:
        self.reset()
        after_fork(self.reset)
        atexit.register(self.flush)

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._is_sending = False

    def put(self, layer: Any, group: str, event: dict[str, Any]) -> None:
        with self._lock:
            self._events.append((layer, group, event))
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="broadcast-layer", daemon=True)
                thread.start()
                self._thread = thread
            elif self._loop is not None and self._wake is not None:
                self._loop.call_soon_threadsafe(self._wake.set)

    def flush(self) -> None:
        """Waits a moment for what is under way: a short-lived process should not lose its hints."""
        deadline = time.monotonic() + FLUSH_TIMEOUT
        while (self._events or self._is_sending) and time.monotonic() < deadline:
            time.sleep(0.005)

    def _work(self) -> None:
        with asyncio.Runner(loop_factory=LayerLoop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        wake = asyncio.Event()
        with self._lock:
            self._loop, self._wake = asyncio.get_running_loop(), wake
        while True:
            while self._events:
                self._is_sending = True
                await self._send(*self._events.popleft())
                self._is_sending = False
            try:
                async with asyncio.timeout(IDLE_TIMEOUT):
                    await wake.wait()
            except TimeoutError:
                with self._lock:
                    if not self._events:
                        self._thread = self._loop = self._wake = None
                        return
            wake.clear()

    async def _send(self, layer: Any, group: str, event: dict[str, Any]) -> None:
        try:
            await asked(SEND_TIMEOUT, layer.group_send, group, event)
        except (Exception, asyncio.CancelledError) as error:  # nobody cancels this task
            layer_failing.fail(str(error) or type(error).__name__, "sending")
            await asyncio.sleep(PAUSE_AFTER_FAILURE)
            if not self._events and event.get("head") is not None:
                self.put(layer, group, event)  # ever again, until it shows that the layer is back
        else:
            layer_failing.recover("sending")


layer_publisher = LayerPublisher()
