"""A hub's membership in the channel layer: one channel, added to the group of whatever is listened to."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer

from ..health import layer_failing
from .hint import CONTROL_GROUP, TRIES, Hint, asked, channels_group, current_layer, hint_of, origin, own_channels
from .publisher import send_to_layer

logger = logging.getLogger("broadcast")

LAYER_TIMEOUT = 2.0  # seconds
RETRY_AFTER = 1.0  # seconds
CANCEL_AGAIN = 0.1  # seconds
PROBE = "broadcast.probe"  # the type of an event by which a hub hears that the layer works
RENEWED_AT_ONCE = 50  # groups


class LayerReceiver:
    """Keeps one channel in the groups that have listeners, and hands over what it receives.

    A layer that fails costs only time: the hub polls the log, and groups are added again later. After a
    failure it is left alone for a moment, so that one that hangs does not hold up each who joins.
    """

    def __init__(self, on_hint: Callable[[Hint], None]) -> None:
        self._on_hint = on_hint
        self._layer: Any = None
        self._channel = ""
        self._groups: dict[str, bool] = {}
        self._changing = asyncio.Lock()
        self._receiving: asyncio.Task[None] | None = None
        self._paused_until = 0.0
        self._failures = 0

    @property
    def groups(self) -> list[str]:
        return [group for group in self._groups if group != CONTROL_GROUP]

    async def join_control(self) -> None:
        """Enters the group of all hubs, for what is told to every one of them; once is enough."""
        if CONTROL_GROUP not in self._groups:
            await self.add(CONTROL_GROUP)

    async def add(self, group: str) -> None:
        async with self._changing:
            self._groups[group] = False
            self._groups[group] = await self._add(group)

    async def discard(self, group: str) -> None:
        async with self._changing:
            if self._layer is not None:
                await self._call(self._layer.group_discard, channels_group(group), self._channel)
            self._groups.pop(group, None)

    async def renew(self) -> None:
        """Adds the channel again to some groups in turn: a layer that restarted has forgotten them.

        Then sends itself an event. Only when it hears it does the layer work again, both ways.
        """
        async with self._changing:
            if self._groups and self._layer is not configured_layer():
                await self._leave()
            for group in sorted(self._groups, key=self._groups.__getitem__)[:RENEWED_AT_ONCE]:
                self._groups[group] = self._groups.pop(group)  # to the end of the line
                self._groups[group] = await self._add(group)
                if not self._groups[group]:
                    return
            if self._layer is not None:
                await self._call(self._layer.send, self._channel, self._probe())

    async def close(self) -> None:
        async with self._changing:
            await self._leave()

    async def _add(self, group: str) -> bool:
        if self._layer is None:
            await self._enter()
        if self._layer is None:
            return False
        return await self._call(self._layer.group_add, channels_group(group), self._channel)

    async def _enter(self) -> None:
        layer = configured_layer()
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
        own_channels.add(self._channel)
        self._receiving = asyncio.create_task(self._receive(layer, self._channel))

    async def _leave(self) -> None:
        """Takes the channel out of every group and stops listening to it."""
        layer, self._layer = self._layer, None
        own_channels.discard(self._channel)
        receiving, self._receiving = self._receiving, None
        if layer is not None:
            for group in self._groups:
                if not await self._call(layer.group_discard, channels_group(group), self._channel):
                    break
        while receiving is not None and not receiving.done():
            receiving.cancel()  # channels_redis.core loses a cancellation that comes while a message does
            await asyncio.wait([receiving], timeout=CANCEL_AGAIN)

    def _is_paused(self) -> bool:
        return time.monotonic() < self._paused_until

    def _pause(self) -> None:
        self._paused_until = time.monotonic() + RETRY_AFTER

    def _fails(self, error: Exception) -> None:
        layer_failing.fail(describe(error), "listening")
        self._failures += 1

    def _probe(self) -> dict[str, Any]:
        """An event that, when it is heard, tells that nothing has failed since it was sent."""
        return {"type": PROBE, "failures": self._failures}

    async def _call(self, function: Callable[..., Any], *args: Any) -> bool:
        if self._is_paused():
            return False
        try:
            await asked(LAYER_TIMEOUT, function, *args)
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
            begun = time.monotonic()
            try:
                event = await layer.receive(channel)
            except Exception as error:
                # channels_redis.core gives up when nothing has come for some seconds; what is broken fails at once.
                failed = failed + 1 if time.monotonic() - begun < RETRY_AFTER else 0
                if failed >= TRIES:
                    self._fails(error)
                    await asyncio.sleep(RETRY_AFTER)
                continue
            failed = 0
            try:
                self._take(event)
            except Exception as error:  # whatever it is, the next event may be a good one
                logger.warning("Ignored an event of the channel layer that is not sound: %r", error)

    def _take(self, event: Any) -> None:
        if event == self._probe():
            layer_failing.recover("listening")
        hint = hint_of(event)
        if hint is not None:
            self._on_hint(hint)
        else:
            take(event)


def configured_layer() -> Any:
    """The channel layer; None where there is none, or where it cannot be made."""
    try:
        return current_layer()
    except Exception as error:
        layer_failing.fail(describe(error), "listening")
        return None


def describe(error: Exception) -> str:
    return str(error) or type(error).__name__


handlers: dict[str, Callable[[Mapping[str, Any]], None]] = {}
"""By an event's type; called in whatever thread the event comes up in."""


def publish_control(event: Mapping[str, Any]) -> None:
    """Tells this process and, over the channel layer, every other that listens. Like a hint it may be lost."""
    if handler := handlers.get(event["type"]):
        handler(event)
    with suppress(Exception):  # what is wrong with the layer is said below
        if isinstance(current_layer(), InMemoryChannelLayer):
            return  # it ends at this process
    send_to_layer(CONTROL_GROUP, lambda: {**event, "origin": origin.tag})


def take(event: Mapping[str, Any]) -> None:
    """Hands over an event of another process; one that nobody registered for is ignored."""
    handler = handlers.get(event.get("type", ""))
    if handler is not None and event.get("origin") != origin.tag:
        handler(event)
