"""The floor of a connection: accepted, and nothing else."""

from typing import Any


async def accept_only(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass
