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


def wait_until(condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """The same in a thread; what the condition then is."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "It did not come true"
        time.sleep(0.005)
    return found
