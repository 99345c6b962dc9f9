"""Small channel layers with what can be wrong with one. Set in ``CHANNEL_LAYERS`` by their path."""

import asyncio
from typing import Any

from channels.layers import BaseChannelLayer, InMemoryChannelLayer, get_channel_layer


def use(settings: Any, layer: type) -> Any:
    """Makes ``layer`` the site's channel layer and returns the one instance of it."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{layer.__module__}.{layer.__qualname__}"}}
    return get_channel_layer()


class Watched(InMemoryChannelLayer):  # type: ignore[misc]
    """The in-memory layer; it notes who is added to and discarded from its groups."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.calls: list[tuple[str, str]] = []

    async def group_add(self, group: str, channel: str) -> None:
        self.calls.append(("add", group))
        await super().group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self.calls.append(("discard", group))
        await super().group_discard(group, channel)


class Gated(Watched):
    """It answers while its gate is open, and hangs while it is shut."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gate = asyncio.Event()
        self.gate.set()

    async def group_add(self, group: str, channel: str) -> None:
        await self.gate.wait()
        await super().group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        await self.gate.wait()
        await super().group_discard(group, channel)


class Failing(Watched):
    """Each of its ways fails while it is named in ``broken``."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.broken: set[str] = set()
        self.tries: list[str] = []

    def check(self, way: str) -> None:
        self.tries.append(way)
        if way in self.broken:
            raise ConnectionError(f"{way} failed")

    async def new_channel(self, prefix: str = "specific.") -> str:
        self.check("new_channel")
        return str(await super().new_channel(prefix))

    async def group_add(self, group: str, channel: str) -> None:
        self.check("group_add")
        await super().group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self.check("group_discard")
        await super().group_discard(group, channel)

    async def receive(self, channel: str) -> Any:
        self.check("receive")
        return await super().receive(channel)


class Unmade(BaseChannelLayer):  # type: ignore[misc]
    """A layer that cannot even be made."""

    def __init__(self) -> None:
        raise ValueError("no hosts")
