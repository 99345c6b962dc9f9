"""The channel layer of the site: which one, the names of its groups, and calls that are tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from channels.layers import get_channel_layer

from ...conf import conf

T = TypeVar("T")

CONTROL_GROUP = ""  # no group has this name: the Channels group that is made of it, "broadcast.", has every node in it
TRIES = 3


def current_layer() -> Any:
    """The channel layer, or None where the site configured none."""
    return get_channel_layer(conf.CHANNEL_LAYER)


def describe(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def call_once(seconds: float, function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Calls the layer. Raises what it raises, or TimeoutError after ``seconds``: it may have been done all the same."""
    async with asyncio.timeout(seconds):
        return await function(*args)


async def call_with_retry(seconds: float, function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Calls the layer; what fails is tried again at once. Raises what fails last, or TimeoutError after ``seconds``.

    So it may be done more than once. A client of Redis keeps several connections, and when Redis was away each of them
    fails once more later.
    """
    async with asyncio.timeout(seconds):
        for _ in range(TRIES - 1):
            with suppress(Exception):
                return await function(*args)
        return await function(*args)
