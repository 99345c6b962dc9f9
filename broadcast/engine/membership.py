"""A hub's membership in the channel layer: one channel, added to the group of whatever is listened to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from ..exceptions import InvalidMessage
from .layer import Hint, channels_group, current_layer, hint_of
from .outages import layer_failing

logger = logging.getLogger("broadcast")

LAYER_TIMEOUT = 2.0  # seconds
RETRY_AFTER = 1.0  # seconds
RENEWED_AT_ONCE = 50  # groups


class Membership:
    """Keeps one channel in the groups that have listeners, and hands over what it receives.

    A layer that fails costs only time: the hub polls the log, and groups are added again later.
    """

    def __init__(self, on_hint: Callable[[Hint], None]) -> None:
        self._on_hint = on_hint
        self._layer: Any = None
        self._channel = ""
        self._groups: dict[str, bool] = {}
        self._changing = asyncio.Lock()
        self._receiving: asyncio.Task[None] | None = None

    async def add(self, group: str) -> None:
        async with self._changing:
            self._groups[group] = await self._add(group)

    async def discard(self, group: str) -> None:
        async with self._changing:
            self._groups.pop(group, None)
            if self._layer is not None:
                await self._call(self._layer.group_discard, channels_group(group), self._channel)

    async def renew(self) -> None:
        """Adds the channel again to some groups in turn: a layer that restarted has forgotten them."""
        async with self._changing:
            if self._groups and self._layer is not current_layer():
                await self._leave()
            for group in sorted(self._groups, key=self._groups.__getitem__)[:RENEWED_AT_ONCE]:
                del self._groups[group]  # to the end of the line
                self._groups[group] = await self._add(group)
                if not self._groups[group]:
                    break

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
        layer = current_layer()
        if layer is None:
            return
        try:
            async with asyncio.timeout(LAYER_TIMEOUT):
                self._channel = await layer.new_channel()
        except Exception as error:
            layer_failing.begins(describe(error))
            return
        self._layer = layer
        self._receiving = asyncio.create_task(self._receive(layer, self._channel))

    async def _leave(self) -> None:
        """Takes the channel out of every group and stops listening to it."""
        layer, self._layer = self._layer, None
        receiving, self._receiving = self._receiving, None
        if layer is not None:
            for group in self._groups:
                if not await self._call(layer.group_discard, channels_group(group), self._channel):
                    break
        if receiving is not None:
            receiving.cancel()
            await asyncio.wait([receiving])

    async def _call(self, function: Callable[..., Any], *args: Any) -> bool:
        try:
            async with asyncio.timeout(LAYER_TIMEOUT):
                await function(*args)
        except Exception as error:
            layer_failing.begins(describe(error))
            return False
        layer_failing.ends()
        return True

    async def _receive(self, layer: Any, channel: str) -> None:
        while True:
            try:
                event = await layer.receive(channel)
            except Exception as error:
                layer_failing.begins(describe(error))
                await asyncio.sleep(RETRY_AFTER)
                continue
            try:
                hint = hint_of(event)
            except (InvalidMessage, KeyError, TypeError, AttributeError) as error:
                logger.warning("Ignored an event of the channel layer that is not sound: %r", error)
                continue
            if hint is not None:
                self._on_hint(hint)


def describe(error: Exception) -> str:
    return str(error) or type(error).__name__
