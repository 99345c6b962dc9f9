"""Publishing hints: to the nodes of this process at once, to all others over the channel layer or around it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer, get_channel_layer

from ...conf import conf
from ...groups import channels_group
from ..frames import message_frame
from ..health import SENDING
from ..storage.records import NewMessages
from .hint import SITE_MARK, Hint, event_of
from .layer import CONTROL_GROUP
from .layer_thread import LayerThread
from .neighbours import Neighbours, needs_neighbours

if TYPE_CHECKING:
    from ..process import Process

logger = logging.getLogger("broadcast")

WITHOUT_LOOP = (
    "%s has made greenlets of this process's threads, and none of them can talk to the channel layer: other processes "
    "hear what is sent here up to a second later, and never what is not logged"
)


class HintPublisher:
    """Tells hubs of new messages, and nodes of other things. It never raises and waits for nobody who listens.

    A hint may be lost: that costs time, never a message. Events for a networked layer wait in a thread of
    their own, at most ``MAX_EVENTS`` of them; where threads are greenlets, none are sent to it.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._thread = LayerThread(process.system, process.health)
        self.neighbours = Neighbours(process)
        self._sending: set[asyncio.Task[None]] = set()

    def publish_news(self, news: Iterable[NewMessages]) -> None:
        for each in news:
            if each.messages:
                frames = [message_frame(message) for message in each.messages]
                self.publish(Hint(each.group, frames, each.epoch, frames[-1].offset))

    def publish(self, hint: Hint) -> None:
        """Passes a hint on, from any thread."""
        for node in list(self._process.nodes.values()):
            try:
                node.loop.call_soon_threadsafe(node.hub.on_hint, hint)
            except RuntimeError:  # the loop has ended
                node.forget()
        self._send_to_others(hint.group, lambda: event_of(hint), hint)

    def publish_control(self, event: Mapping[str, Any]) -> None:
        """Tells every node of the site, over the layer those of other processes; each acts by the event's type."""
        for node in list(self._process.nodes.values()):
            try:
                node.loop.call_soon_threadsafe(node.on_control, event)
            except RuntimeError:
                node.forget()
        self._send_to_others(CONTROL_GROUP, lambda: event, event)

    def flush(self) -> None:
        """Waits a moment for what is under way: a short-lived process should not lose its hints."""
        self._thread.flush()
        self.neighbours.flush()

    # Other processes

    def _send_to_others(
        self, group: str, event: Callable[[], Mapping[str, Any]], what: Hint | Mapping[str, Any]
    ) -> None:
        """Sends an event to the group's nodes in other processes: by a layer that reaches them, or to neighbours."""
        try:
            layer = get_channel_layer(conf.CHANNEL_LAYER)
            if not self.neighbours.is_alone and needs_neighbours(layer):
                self.neighbours.tell(what)
            if isinstance(layer, InMemoryChannelLayer):
                members = layer.groups.get(channels_group(group))
                if members and not self._process.own_channels.issuperset(list(members)):
                    self._send_in_memory(layer, channels_group(group), self._signed(event()))
            elif layer is not None and self._may_have_a_loop():
                self._thread.put(layer, channels_group(group), self._signed(event()))
        except Exception as error:
            self._process.health.layer.fail(error, SENDING)

    def _may_have_a_loop(self) -> bool:
        """False where threads are greenlets: other processes then find at their polls what this one logs."""
        library = self._process.system.greenlet_library()
        if library and self._process.is_first_time(library):
            logger.warning(WITHOUT_LOOP, library)
        return not library

    def _signed(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The event with where it comes from: this process, of this site."""
        return {**event, "origin": self._process.origin, SITE_MARK: self._process.site.own}

    def _send_in_memory(self, layer: Any, group: str, event: dict[str, Any]) -> None:
        """Sends to consumers of the site, in the loop that listens, for this layer's queues belong to one."""
        try:
            loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            loops = [node.loop for node in list(self._process.nodes.values())]
            loop = next((loop for loop in loops if loop.is_running()), None)
        if loop is None:
            async_to_sync(layer.group_send)(group, event)
            self._process.health.layer.recover(SENDING)
        else:
            # The coroutine is made there: a loop that ends before it gets to this leaves nothing behind.
            loop.call_soon_threadsafe(lambda: self._begin(layer.group_send(group, event)))

    def _begin(self, group_send: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(group_send)
        self._sending.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._process.health.layer.recover(SENDING)
        else:
            self._process.health.layer.fail(error, SENDING)
