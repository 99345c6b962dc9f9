"""What the tests of the hub's side share: frames, connections whose sockets a test opens and shuts, waiting."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import connections

from broadcast.engine.frames import Dialect, Frame
from broadcast.engine.hints.hint import EVENT, Hint
from broadcast.engine.hub.hub import Hub, current_hub
from broadcast.engine.hub.stream import Position
from broadcast.engine.storage import log
from broadcast.engine.transports.asgi import AsgiTransport

T = TypeVar("T")


def frame(offset: int | None, body: str = "hi", **more: Any) -> Frame:
    return Frame({"type": "message", "author": "Ann", "body": body, "offset": offset, **more})


def drafts(*bodies: str, group: str = "broadcast") -> list[log.Draft]:
    return [log.Draft(group, "server", "Server", body) for body in bodies]


def foreign_event(**fields: Any) -> dict[str, Any]:
    """A hint as another process puts it on the channel layer."""
    return {"type": EVENT, "author": "Ann", "body": "hi", "group": "broadcast", "origin": "elsewhere", **fields}


def is_live(position: Position) -> bool:
    """Whether a position has nothing left to read."""
    return position.index == position.stream.ring.end and position.epoch == position.stream.epoch


async def until(condition: Callable[[], Any], seconds: float = 10) -> None:
    """Waits for a condition; fails if it does not come true in time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def elsewhere(function: Callable[..., T], *args: Any) -> T:
    """Runs ``function`` as another process would: in a thread and on a connection of its own."""

    def work() -> T:
        try:
            return function(*args)
        finally:
            connections.close_all()

    return await asyncio.to_thread(work)


async def append(*bodies: str, group: str = "broadcast") -> log.NewMessages:
    """Appends to the log as another process whose hints are lost."""
    return (await elsewhere(log.append, drafts(*bodies, group=group))).news[0]


def hint_for(new_messages: log.NewMessages) -> Hint:
    frames = [
        Frame({"type": "message", "author": "a", "body": m.body, "offset": m.offset}) for m in new_messages.messages
    ]
    return Hint(new_messages.group, frames, new_messages.epoch, frames[-1].offset)


class Client:
    """A connection as the hub sees it; what it received is in ``received``, unless its socket is shut."""

    def __init__(self, dialect: Dialect = Dialect.V1) -> None:
        self.received: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self.socket = asyncio.Event()
        self.socket.set()
        self.transport = AsgiTransport(self.send, dialect)

    async def send(self, event: dict[str, Any]) -> None:
        await self.socket.wait()
        if event["type"] == "websocket.close":
            self.close_code = event["code"]
        else:
            self.received.append(json.loads(event["text"]))

    async def join(self, group: str = "broadcast", after: int | None = None, epoch: str = "") -> Position:
        position, self.recovered = await current_hub().join(self.transport, group, after, epoch)
        self.welcome = position.epoch, position.offset
        self.transport.follow(position)
        return position

    @property
    def offsets(self) -> list[int | None]:
        return [fields["offset"] for fields in self.received if fields["type"] == "message"]

    @property
    def bodies(self) -> list[str]:
        return [fields["body"] for fields in self.received if fields["type"] == "message"]

    @property
    def resets(self) -> list[dict[str, Any]]:
        return [fields for fields in self.received if fields["type"] == "reset"]


async def end(hub: Hub) -> None:
    """Ends a hub at once, as the end of its loop does."""
    if hub._polling is not None:
        hub._polling.cancel()
        await asyncio.wait([hub._polling])
