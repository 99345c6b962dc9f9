"""The receiver of a node in the channel layer: one channel, in the Channels group of whatever is listened to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer

from ...groups import channels_group
from ..health import LISTENING
from ..log_lines import described, say
from .hint import Hint, hint_of
from .layer import CONTROL_GROUP, TRIES, call_with_retry, current_layer, describe

if TYPE_CHECKING:
    from ..process import Process

LAYER_TIMEOUT = 2.0  # seconds
RETRY_AFTER = 1.0  # seconds
CANCEL_AGAIN = 0.1  # seconds
PROBE = "broadcast.probe"  # the type of an event by which a hub hears that the layer works
RENEWED_AT_ONCE = 50  # groups


class LayerReceiver:
    """Keeps one channel in the groups that have listeners, and dispatches what it receives.

    A layer that fails costs only time: the hub polls the log, and groups are added again later. After a
    failure it is left alone for a moment, so that one that hangs does not hold up each who joins. In no group,
    it leaves the layer too. Its own process's events and those of another site are passed over.
    """

    def __init__(
        self,
        process: Process,
        on_hint: Callable[[Hint], None],
        on_control: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._process = process
        self._on_hint = on_hint
        self._on_control = on_control
        self._layer: Any = None
        self._channel = ""
        self._joined: dict[str, None] = {}  # groups, in the order in which they are renewed
        self._missing: dict[str, None] = {}  # groups that the layer could not add the channel to
        self._changing = asyncio.Lock()
        self._receiving: asyncio.Task[None] | None = None
        self._paused_until = 0.0
        self._failures = 0

    @property
    def groups(self) -> list[str]:
        return [group for group in (*self._joined, *self._missing) if group != CONTROL_GROUP]

    async def join_control(self) -> None:
        """Enters the group of all nodes, for what is told to every one of them; once is enough."""
        if CONTROL_GROUP not in self._joined and CONTROL_GROUP not in self._missing:
            await self.add(CONTROL_GROUP)

    async def add(self, *groups: str) -> None:
        async with self._changing:
            self._missing.update(dict.fromkeys(groups))
            for group in groups:
                await self._add(group)

    async def discard(self, group: str) -> None:
        async with self._changing:
            if self._layer is not None:
                await self._call(self._layer.group_discard, channels_group(group), self._channel)
            self._joined.pop(group, None)
            self._missing.pop(group, None)
            if not (self._joined or self._missing):
                await self._leave()

    async def renew(self) -> None:
        """Adds the channel again to some groups in turn: a layer that restarted has forgotten them.

        Then sends itself an event. Only when it hears it does the layer work again, both ways. One in the memory of
        this process is not asked for nothing: at each event it looks through all of its groups.
        """
        async with self._changing:
            if self._layer is not None and self._layer is not self._configured_layer():
                await self._leave()
            for group in [*islice(chain(self._missing, self._joined), RENEWED_AT_ONCE)]:
                if not await self._add(group):
                    return
            is_in_memory = type(self._layer) is InMemoryChannelLayer
            if self._layer is not None and not (is_in_memory and not self._process.health.layer.is_failing):
                await self._call(self._layer.send, self._channel, self._probe())

    async def close(self) -> None:
        async with self._changing:
            await self._leave()

    async def _add(self, group: str) -> bool:
        """Adds the channel to a group, which goes to the end of the line of those to be renewed."""
        if self._layer is None:
            await self._enter()
        is_joined = self._layer is not None and await self._call(
            self._layer.group_add, channels_group(group), self._channel
        )
        self._joined.pop(group, None)
        self._missing.pop(group, None)
        (self._joined if is_joined else self._missing)[group] = None
        return is_joined

    async def _enter(self) -> None:
        layer = self._configured_layer()
        if layer is None or self._is_paused():
            return
        try:
            async with asyncio.timeout(LAYER_TIMEOUT):
                self._channel = await layer.new_channel()
        except Exception as error:
            self._fails(error)
            self._pause()
            return
        self._layer = layer
        self._process.own_channels.add(self._channel)
        self._receiving = asyncio.create_task(self._receive(layer, self._channel))

    async def _leave(self) -> None:
        """Takes the channel out of every group and stops listening to it."""
        layer, self._layer = self._layer, None
        self._process.own_channels.discard(self._channel)
        receiving, self._receiving = self._receiving, None
        if layer is not None:
            for group in self._joined:
                if not await self._call(layer.group_discard, channels_group(group), self._channel):
                    break
        self._missing.update(self._joined)
        self._joined.clear()
        while receiving is not None and not receiving.done():
            receiving.cancel()  # channels_redis.core loses a cancellation that comes while a message does
            await asyncio.wait([receiving], timeout=CANCEL_AGAIN)

    def _is_paused(self) -> bool:
        return now() < self._paused_until

    def _pause(self) -> None:
        self._paused_until = now() + RETRY_AFTER

    def _fails(self, error: Exception) -> None:
        self._process.health.layer.fail(describe(error), LISTENING)
        self._failures += 1

    def _probe(self) -> dict[str, Any]:
        """An event that, when it is heard, tells that nothing has failed since it was sent."""
        return {"type": PROBE, "failures": self._failures}

    async def _call(self, function: Callable[..., Any], *args: Any) -> bool:
        if self._is_paused():
            return False
        try:
            await call_with_retry(LAYER_TIMEOUT, function, *args)
        except ChannelFull:
            return True  # it is there, and this hub is yet to read what it holds
        except Exception as error:
            self._fails(error)
            self._pause()
            return False
        return True

    async def _receive(self, layer: Any, channel: str) -> None:
        failed = 0
        while True:
            begun = now()
            try:
                event = await layer.receive(channel)
            except Exception as error:
                # channels_redis.core gives up when nothing has come for some seconds; what is broken fails at once.
                failed = failed + 1 if now() - begun < RETRY_AFTER else 0
                if failed >= TRIES:
                    self._fails(error)
                    await asyncio.sleep(RETRY_AFTER)
                continue
            failed = 0
            try:
                self._on_event(event)
            except Exception as error:  # whatever it is, the next event may be a good one
                say(logging.WARNING, "Ignored an event of the channel layer that is not sound: %s", described(error))

    def _on_event(self, event: Any) -> None:
        if event == self._probe():
            self._process.health.layer.recover(LISTENING)
        elif event.get("origin") != self._process.origin and self._process.site.accept(event):
            hint = hint_of(event)
            if hint is not None:
                self._on_hint(hint)
            else:
                self._on_control(event)

    def _configured_layer(self) -> Any:
        """The channel layer; None where there is none, or where it cannot be made."""
        try:
            return current_layer()
        except Exception as error:
            self._process.health.layer.fail(describe(error), LISTENING)
            return None


def now() -> float:
    return asyncio.get_running_loop().time()
