"""Streams as tests drive them: frames, drafts, and connections whose sockets a test opens and shuts."""

import asyncio
import json
import threading
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import connections

from broadcast.engine.frames import Dialect, Frame
from broadcast.engine.hints.hint import EVENT, SITE_MARK, Hint
from broadcast.engine.hub import pages
from broadcast.engine.hub.position import Position
from broadcast.engine.hub.stream import GroupStream
from broadcast.engine.process import Process, current_process, this_process
from broadcast.engine.storage.records import Draft, NewMessages
from broadcast.engine.transports.asgi import AsgiTransport
from tests.kit.waiting import until

T = TypeVar("T")


def frame(offset: int | None, body: str = "hi", **more: Any) -> Frame:
    return Frame({"type": "message", "author": "Ann", "body": body, "offset": offset, **more})


def draft(body: str = "hi", group: str = "broadcast", ref: uuid.UUID | None = None, **more: Any) -> Draft:
    """A draft of the server's; with a ``ref``, one that the sender chose."""
    fields = {"source": "server", "author": "Server", "has_client_ref": ref is not None, **more}
    return Draft(group=group, body=body, ref=ref or uuid.uuid4(), **fields)


def drafts(*bodies: str, group: str = "broadcast") -> list[Draft]:
    return [draft(body, group=group) for body in bodies]


def foreign_event(**fields: Any) -> dict[str, Any]:
    """A hint as another process of the site puts it on the channel layer."""
    sender = {"origin": "elsewhere", SITE_MARK: this_process.site.own}
    return {"type": EVENT, "author": "Ann", "body": "hi", "group": "broadcast", **sender, **fields}


def is_live(position: Position) -> bool:
    """Whether a position has nothing left to read."""
    return position.place.index == position.stream.ring.end and position.epoch == position.stream.epoch


class PageLog:
    """A log in memory, read by pages; it notes where it was read, fails while ``error`` is set, waits at its gate."""

    def __init__(self, *offsets: int, size: int = 2) -> None:
        self.offsets = list(offsets)
        self.size = size
        self.reads: list[int] = []
        self.error: BaseException | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def read_for(self, stream: GroupStream, after: int) -> list[Frame]:
        return await self.read(after)

    async def read(self, after: int) -> list[Frame]:
        self.reads.append(after)
        page = [offset for offset in self.offsets if after < offset <= after + pages.PAGE]
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [frame(offset, "x" * self.size) for offset in page]


async def elsewhere(function: Callable[..., T], *args: Any) -> T:
    """Runs ``function`` as another process would: in a thread and on a connection of its own."""

    def work() -> T:
        try:
            return function(*args)
        finally:
            connections.close_all()

    return await asyncio.to_thread(work)


async def append(*bodies: str, group: str = "broadcast") -> NewMessages:
    """Appends to the log as another process whose hints are lost."""
    return (await elsewhere(current_process().log.append, drafts(*bodies, group=group))).news[0]


async def publish(*bodies: str, group: str = "broadcast") -> NewMessages:
    """Appends to the log and tells, as this process does."""
    news = await append(*bodies, group=group)
    current_process().hints.publish_news([news])
    return news


def hint_for(new_messages: NewMessages) -> Hint:
    frames = [frame(message.offset, message.body) for message in new_messages.messages]
    return Hint(new_messages.group, frames, new_messages.epoch, frames[-1].offset)


class Client:
    """A connection as the hub sees it; what it received is in ``received``, unless its socket is shut.

    It holds its node from the beginning until it leaves.
    """

    def __init__(self, dialect: Dialect = Dialect.V1) -> None:
        self.node = current_process().node().__enter__()
        self.received: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self.socket = asyncio.Event()
        self.socket.set()
        self.transport = AsgiTransport(self.send, dialect, self.node.scheduler)

    async def send(self, event: dict[str, Any]) -> None:
        await self.socket.wait()
        if event["type"] == "websocket.close":
            self.close_code = event["code"]
        else:
            self.received.append(json.loads(event["text"]))

    async def join(self, group: str = "broadcast", after: int | None = None, epoch: str = "") -> Position:
        position, self.recovered = await self.node.hub.join(self.transport, group, after, epoch)
        self.welcome = position.epoch, position.offset
        self.transport.follow(position)
        return position

    async def leave(self) -> None:
        await self.transport.close()
        self.node.__exit__()

    @property
    def offsets(self) -> list[int | None]:
        return [fields["offset"] for fields in self.received if fields["type"] == "message"]

    @property
    def bodies(self) -> list[str]:
        return [fields["body"] for fields in self.received if fields["type"] == "message"]

    @property
    def resets(self) -> list[dict[str, Any]]:
        """Those that tell of a loss: by others a connection leaves the void epoch."""
        return [fields for fields in self.received if fields["type"] == "reset" and fields.get("lost", True)]


def database_threads() -> list[threading.Thread]:
    """The threads in which nodes use the database."""
    return [each for each in threading.enumerate() if each.name.startswith(("broadcast-reader", "broadcast-writer"))]


async def end_nodes(*processes: Process) -> None:
    """Ends the nodes of this loop at once, as its end does."""
    for process in processes or (this_process,):
        node = process.nodes.get(asyncio.get_running_loop())
        if node is not None and node._running is not None:
            node._running.cancel()
            await asyncio.wait([node._running])
    await until(lambda: not database_threads())
