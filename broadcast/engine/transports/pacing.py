"""Pacing: what a client sends costs it its budget, where a server reads by itself and tells of whole messages only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ..throttle import Budget

FLOODED = "broadcast.flooded"  # the event after which a client is to be closed, because it pours on
MAX_HOLD = 0.5  # seconds that a message is held back, and with it the news that its client has gone

Receive = Callable[[], Awaitable[dict[str, Any]]]


def paced(receive: Receive) -> Receive:
    """The same ``receive``, which takes its time with a client that has spent its budget.

    A server whose queue is bounded stops to read the client then.
    """
    budget = Budget()

    async def receive_paced() -> dict[str, Any]:
        event = await receive()
        budget.spend(1, len(event.get("text") or event.get("bytes") or b""))
        if budget.is_spent and (wait := budget.refill(asyncio.get_running_loop().time())):
            if budget.is_poured_over:
                return {"type": FLOODED}
            await asyncio.sleep(min(wait, MAX_HOLD))
        return event

    return receive_paced
