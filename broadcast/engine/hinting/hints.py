"""Hints: what has just come into the log, told to this process's hubs and, over the channel layer, to all others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer

from ..outages import layer_failing
from ..storage.log import Extension
from ..wire import message_frame
from .layer import Hint, channels_group, current_layer, event_of, own_channels
from .layer_sender import layer_sender


class Receiver(Protocol):
    """A hub, as seen from any thread."""

    loop: asyncio.AbstractEventLoop

    def hand_over(self, hint: Hint) -> bool: ...


receivers: set[Receiver] = set()


def tell_extensions(extensions: Iterable[Extension]) -> None:
    for extension in extensions:
        if extension.messages:
            frames = [message_frame(message) for message in extension.messages]
            tell(Hint(extension.group, frames, extension.epoch, frames[-1].offset))


def tell(hint: Hint) -> None:
    """Passes a hint on, from any thread, without waiting for anyone who listens. Never raises."""
    for receiver in list(receivers):
        if not receiver.hand_over(hint):
            receivers.discard(receiver)
    pass_on(hint.group, lambda: event_of(hint))


def pass_on(group: str, event: Callable[[], dict[str, Any]]) -> None:
    """Sends an event to the group's hubs in other processes, if a layer reaches any. Never raises, never waits."""
    try:
        layer = current_layer()
        if isinstance(layer, InMemoryChannelLayer):
            if others_hear(layer, channels_group(group)):
                send_in_memory(layer, channels_group(group), event())
        elif layer is not None:
            layer_sender.put(layer, channels_group(group), event())
    except Exception as error:
        layer_failing.begins(error, "sending")


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
        layer_failing.ends("sending")
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
        layer_failing.ends("sending")
    else:
        layer_failing.begins(error, "sending")
