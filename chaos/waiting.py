"""Waiting for something to become true."""

import asyncio
import time
from collections.abc import Callable


async def until(condition: Callable[[], bool], seconds: float, meanwhile: Callable[[], None] | None = None) -> bool:
    """Waits until the condition holds; false if it does not in time."""
    deadline, wakes_at = time.monotonic() + seconds, 0.0
    while not condition():
        if time.monotonic() > deadline:
            return False
        if meanwhile is not None and time.monotonic() > wakes_at:
            meanwhile()
            wakes_at = time.monotonic() + 1
        await asyncio.sleep(0.05)
    return True
