"""Waiting for a condition, never for a time."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

SECONDS = 60


async def until(condition: Callable[[], Any], seconds: float = 10) -> None:
    """Waits for a condition; fails if it does not come true in time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def wait_until(condition: Callable[[], Any], seconds: float = SECONDS, pause: float = 0.005) -> Any:
    """The same in a thread; what the condition then is. A `pause` lies between two looks."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "It did not come true"
        time.sleep(pause)
    return found
