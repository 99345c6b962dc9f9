"""Sites on uvicorn whose middleware does what the app cannot look through."""

from typing import Any

from tests.live.host import application as host


async def wrapped(scope: Any, receive: Any, send: Any) -> None:
    """Sees each event before the server does."""

    async def seen(event: Any) -> None:
        await send(event)

    await host(scope, receive, seen)
