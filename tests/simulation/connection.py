"""One WebSocket between a client and a process: bytes that take their time, fill a buffer, and never come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from broadcast.consumers import BroadcastConsumer
from broadcast.engine.frames import Dialect, text_frame
from broadcast.engine.node import Node
from broadcast.engine.transports.asgi import AsgiTransport
from broadcast.engine.transports.direct import MAX_TURN, DirectTransport
from broadcast.engine.transports.transport import Transport
from tests.kit.fakes import OfDaphne
from tests.simulation.layer import set_done
from tests.simulation.process import SimulatedProcess

if TYPE_CHECKING:
    from tests.simulation.clients import SimulatedClient

LATENCY = 0.01  # seconds at most
BUSY = 0.2  # how likely it is that a write takes so long that the turn is over
GONE = 3.0  # seconds at most until the server sees that the client is gone
application = BroadcastConsumer.as_asgi()


class Connection(OfDaphne):
    """Both ends. The server's is an ASGI connection, and the socket that a direct transport writes to."""

    def __init__(self, client: SimulatedClient, process: SimulatedProcess, path: str, query: str) -> None:
        self.client = client
        self.process = process
        self.scheduler = process.scheduler
        self.opened_at = self.begun_at = self.scheduler.now
        self.is_shut = False  # the client reads nothing
        self.is_cut = False  # nothing passes
        self.is_over = False  # and the server knows
        self.random = self.scheduler.random(f"{client.name} connection {client.connections}")
        self.is_direct = self.random.random() < 0.6
        self.capacity = self.random.choice([600, 2000, 65536])
        self._in_kernel: list[bytes | int] = []
        self._buffer: list[bytes | int] = []
        self._on_drained: Callable[[], None] | None = None
        self._room: list[asyncio.Future[None]] = []
        self._unread = b""
        self._arriving = 0.0
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        offered = [Dialect.BATCH.value] if self.random.random() < 0.4 else []
        scope = {"type": "websocket", "path": path, "query_string": query.encode(), "headers": []}
        scope["subprotocols"] = offered
        assert process.loop is not None
        self.loop = process.loop
        self.task: asyncio.Task[None] | None = None
        self._events.put_nowait({"type": "websocket.connect"})
        self.loop.call_soon_threadsafe(self._begin, scope, context=process.process.context())

    # The server's side

    def _begin(self, scope: dict[str, Any]) -> None:
        self.begun_at = self.scheduler.now
        self.task = self.loop.create_task(application(scope, self._events.get, self.send))
        self.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.client.world.judge.complain(f"{self.client.name}: the consumer failed: {error!r}")
        if not self.is_cut:
            self._write(1006)

    def transport(self, node: Node, dialect: Dialect) -> Transport:
        if self.is_direct:
            return DirectTransport(self.send, dialect, self, node.scheduler)
        return AsgiTransport(self.send, dialect, node.scheduler)

    async def send(self, event: dict[str, Any]) -> None:
        """ASGI's ``send``: it waits for a client that does not read, unless the server has buffers for it."""
        if self.is_over:
            raise ConnectionError("the client is gone")
        match event["type"]:
            case "websocket.accept":
                return
            case "websocket.close":
                self.on_news()
                self._write(event["code"])
            case _:
                data = text_frame(event["text"])
                if self._buffer or self._held + len(data) > self.capacity:
                    self.on_news()
                self._write(data)
        while not self.is_direct and self._buffer and not self.is_over:
            room = self.loop.create_future()
            self._room.append(room)
            await room

    def is_ready(self) -> bool:
        return not self.is_over and not self._buffer

    def send_now(self, data: bytes) -> int:
        if self.is_over:
            raise ConnectionError("the client is gone")
        if self.random.random() < BUSY:
            self.loop.spend(self.random.uniform(0, 2 * MAX_TURN))
        room = self.capacity - self._held
        if room <= 0:
            raise BlockingIOError
        self._to_kernel(data[:room])
        return min(room, len(data))

    def write_buffered(self, rest: bytes) -> None:
        self.on_news()
        self._write(rest)

    def when_drained(self, callback: Callable[[], None]) -> None:
        self._on_drained = callback
        if not self.is_over:
            self._fill_kernel()

    def mute(self) -> None:
        pass

    def abort_if_closing(self) -> None:
        pass

    # The network

    @property
    def _held(self) -> int:
        return sum(len(each) for each in self._in_kernel if isinstance(each, bytes))

    def _write(self, data: bytes | int) -> None:
        self._buffer.append(data)
        self._fill_kernel()

    def _fill_kernel(self) -> None:
        while self._buffer and self._held < self.capacity:
            data = self._buffer.pop(0)
            room = self.capacity - self._held
            if isinstance(data, bytes) and len(data) > room:
                self._buffer.insert(0, data[room:])
                data = data[:room]
            self._to_kernel(data)
        if not self._buffer and self._held < self.capacity:
            self._drained()

    def _drained(self) -> None:
        if self.loop.is_closed():
            return
        callback, self._on_drained = self._on_drained, None
        if callback is not None:
            self.loop.call_soon_threadsafe(callback, context=self.process.process.context())
        rooms, self._room = self._room, []
        for room in rooms:
            self.loop.call_soon_threadsafe(set_done, room)

    def _to_kernel(self, data: bytes | int) -> None:
        self._in_kernel.append(data)
        self._arriving = max(self._arriving, self.scheduler.now + self.random.uniform(0, LATENCY))
        self.scheduler.call_at(self._arriving, self._arrive)

    def _arrive(self) -> None:
        if self.is_shut or self.is_cut or not self._in_kernel:
            return
        data = self._in_kernel.pop(0)
        if isinstance(data, int):
            self.cut(at_once=True)
            self.client.on_close(self, data)
            return
        if not self.loop.is_closed():  # the kernel has room now, and the server fills it when it comes to that
            self.loop.call_soon_threadsafe(self._fill_kernel, context=self.process.process.context())
        self._unread += data
        while (text := self._next_text()) is not None:
            try:
                frames = json.loads(text)
            except ValueError:
                self.client.world.judge.complain(f"{self.client.name}: a frame that is torn: {text[:100]!r}")
                return
            for frame in frames if isinstance(frames, list) else [frames]:
                self.client.on_frame(self, frame)

    def _next_text(self) -> bytes | None:
        data = self._unread
        if len(data) < 2:
            return None
        short, start = data[1], 2
        if short == 126:
            short, start = int.from_bytes(data[2:4], "big"), 4
        if len(data) < start + short:
            return None
        self._unread = data[start + short :]
        return data[start : start + short]

    # The client's side

    def write(self, **fields: Any) -> None:
        event = {"type": "websocket.receive", "text": json.dumps(fields)}
        self.scheduler.call_at(self.scheduler.now + self.random.uniform(0, LATENCY / 2), self._to_server, event)

    def _to_server(self, event: dict[str, Any]) -> None:
        if not self.loop.is_closed() and (not self.is_cut or event["type"] == "websocket.disconnect"):
            self.loop.call_soon_threadsafe(self._events.put_nowait, event)

    def shut(self) -> None:
        self.is_shut = True

    def open(self) -> None:
        self.is_shut = False
        self.opened_at = self.scheduler.now
        for _ in range(len(self._in_kernel)):
            self.scheduler.call_at(self.scheduler.now + self.random.uniform(0, LATENCY), self._arrive)

    def cut(self, at_once: bool = False) -> None:
        """Nothing passes any more; the server hears of it some time."""
        if self.is_cut:
            return
        self.is_cut = True
        delay = self.random.uniform(0, LATENCY if at_once else GONE)
        event = {"type": "websocket.disconnect", "code": 1006}
        self.scheduler.call_at(self.scheduler.now + delay, self._to_server, event)
        self.scheduler.call_at(self.scheduler.now + delay, self._see_end)
        if self.random.random() < 0.3:
            self.scheduler.call_at(self.scheduler.now + delay, self._cancel)

    def _see_end(self) -> None:
        self.is_over = True
        self._drained()

    def _cancel(self) -> None:
        """What servers do with an application that does not end soon after the disconnect."""
        if not self.loop.is_closed() and self.task is not None:
            self.loop.call_soon_threadsafe(self.task.cancel)
