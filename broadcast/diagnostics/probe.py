"""A WebSocket handshake within the process: whether the site's ASGI application lets one in, and what it does to it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from ..conf import conf
from ..engine.process import current_process
from ..engine.transports.daphne.behind import below_channels

PATIENCE = 5.0  # seconds


@dataclass(slots=True, frozen=True)
class ProbeResult:
    """The result of a handshake: was it accepted, and each ``send`` that reached a consumer of this app."""

    accepted: bool
    sends: list[Any]
    ours: Any

    @property
    def is_served(self) -> bool:
        """True if a consumer of this app has answered."""
        return bool(self.sends)

    @property
    def wrapper(self) -> str:
        """The name of what wraps ``send`` beside the middleware of Channels; "" if nothing does."""
        others = [found for found in map(below_channels, self.sends) if found is not self.ours]
        return name_of(others[0]) if others else ""


async def probe_websocket(asgi: Any) -> ProbeResult:
    """Makes a handshake as a page of the site's own would. Raises what the application raises."""
    host = next((name.removeprefix(".") for name in settings.ALLOWED_HOSTS if "*" not in name), "localhost")
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    send = heard.put
    process = current_process()
    sends = process.captured_sends = []
    said.put_nowait({"type": "websocket.connect"})
    scope = {
        "type": "websocket",
        "path": conf.SOCKET_PATH,
        "query_string": b"",
        "headers": [(b"host", host.encode()), (b"origin", f"http://{host}".encode())],
        "subprotocols": [],
    }
    task = asyncio.ensure_future(asgi(scope, said.get, send))
    answer = asyncio.ensure_future(heard.get())
    await asyncio.wait([task, answer], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    said.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await asyncio.wait([task], timeout=PATIENCE)
    if task.done() and not answer.done():
        task.result()
    task.cancel()
    answer.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(task, return_exceptions=True)
    process.captured_sends = None
    accepted = answer.done() and not answer.cancelled() and answer.result()["type"] == "websocket.accept"
    return ProbeResult(accepted, sends, send)


def name_of(wrapper: Any) -> str:
    """The place where a wrapper of ``send`` is written: its module and its name."""
    named = wrapper if hasattr(wrapper, "__qualname__") else type(wrapper)
    return f"{named.__module__}.{named.__qualname__}"
