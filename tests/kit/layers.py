"""Small channel layers with what can be wrong with one. Set in ``CHANNEL_LAYERS`` by their path.

They are made of the layer that the environment names (``REDIS_URL``, ``REDIS_LAYER``), or else of the one in memory.
"""

import asyncio
from typing import Any

import pytest
from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer, InMemoryChannelLayer, get_channel_layer
from django.utils.module_loading import import_string

from project.settings import CHANNEL_LAYERS, REDIS_URL

only_in_memory = pytest.mark.skipif(bool(REDIS_URL), reason="About the layer in memory")


def use(settings: Any, layer: type) -> Any:
    """Makes ``layer`` the site's channel layer and returns the one instance of it."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{layer.__module__}.{layer.__qualname__}"}}
    return get_channel_layer()


class OnRedis(BaseChannelLayer):  # type: ignore[misc]
    """A layer on Redis that shows its groups and the channels that are listened to, as the one in memory does."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        configured = CHANNEL_LAYERS["default"]
        self.layer = import_string(configured["BACKEND"])(**configured["CONFIG"])
        self.groups: dict[str, set[str]] = {}
        self.channels: dict[str, Any] = {}

    async def new_channel(self, prefix: str = "specific.") -> str:
        return str(await self.layer.new_channel(prefix))

    async def receive(self, channel: str) -> Any:
        self.channels[channel] = asyncio.current_task()
        try:
            return await self.layer.receive(channel)
        finally:
            del self.channels[channel]

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        await self.layer.send(channel, message)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await self.layer.group_send(group, message)

    async def group_add(self, group: str, channel: str) -> None:
        await self.layer.group_add(group, channel)
        self.groups.setdefault(group, set()).add(channel)

    async def group_discard(self, group: str, channel: str) -> None:
        await self.layer.group_discard(group, channel)
        self.groups.get(group, set()).discard(channel)
        if not self.groups.get(group):
            self.groups.pop(group, None)


Real: Any = OnRedis if REDIS_URL else InMemoryChannelLayer


class Watched(Real):  # type: ignore[misc]
    """A real layer; it notes who is added to and discarded from its groups."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.calls: list[tuple[str, str]] = []

    async def before(self, way: str) -> None:
        """Called first by each of its ways; here a layer may hang or fail."""

    async def new_channel(self, prefix: str = "specific.") -> str:
        await self.before("new_channel")
        return str(await super().new_channel(prefix))

    async def group_add(self, group: str, channel: str) -> None:
        await self.before("group_add")
        self.calls.append(("add", group))
        await super().group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        await self.before("group_discard")
        self.calls.append(("discard", group))
        await super().group_discard(group, channel)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        await self.before("send")
        await super().send(channel, message)

    async def receive(self, channel: str) -> Any:
        await self.before("receive")
        return await super().receive(channel)


class Gated(Watched):
    """Its groups answer while its gate is open, and hang while it is shut."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gate = asyncio.Event()
        self.gate.set()

    async def before(self, way: str) -> None:
        if way.startswith("group"):
            await self.gate.wait()


class Failing(Watched):
    """Each of its ways fails while it is named in ``broken``, and once for each time in ``broken_once``."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.broken: set[str] = set()
        self.broken_once: list[str] = []
        self.is_full = False
        self.tries: list[str] = []

    async def before(self, way: str) -> None:
        self.tries.append(way)
        if way in self.broken:
            raise ConnectionError(f"{way} failed")
        if way in self.broken_once:
            self.broken_once.remove(way)
            raise ConnectionError(f"{way} failed once")
        if way == "send" and self.is_full:
            raise ChannelFull


class HardOfHearing(Failing):
    """It goes on receiving until it is cancelled twice."""

    cancellations = 0

    async def receive(self, channel: str) -> Any:
        while True:
            try:
                return await super().receive(channel)
            except asyncio.CancelledError:
                self.cancellations += 1
                if self.cancellations > 1:
                    raise


class Impatient(Watched):
    """It does not wait for an event for long."""

    patience_lost = 0

    async def receive(self, channel: str) -> Any:
        try:
            async with asyncio.timeout(0.05):
                return await super().receive(channel)
        except TimeoutError:
            self.patience_lost += 1
            raise


class Unmade(BaseChannelLayer):  # type: ignore[misc]
    """A layer that cannot even be made."""

    def __init__(self) -> None:
        raise ValueError("no hosts")
