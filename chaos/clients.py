"""Clients that come back by themselves, as the chat page does."""

import asyncio
from collections import Counter, deque
from random import Random
from typing import NamedTuple

from chaos.websocket import WebSocket

# As in the page's backoff.js, monitor.js and connection.js, in seconds.
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
ANSWER = 10.0
STEADY = 5.0

FINAL = range(4500, 5000)
EVENTS_KEPT = 300
MISTAKES_TOLD = 5  # of a kind, in full, per client


class Drop(NamedTuple):
    """The end of a connection."""

    reason: str
    comes_back: bool = True
    after: float = 0.0  # seconds


class Backoff:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.attempts = 0

    def next(self) -> float:
        ceiling: float = min(LONGEST_WAIT, FIRST_WAIT * 2**self.attempts)
        self.attempts += 1
        return self.random.random() * ceiling

    def reset(self) -> None:
        self.attempts = 0


class Client:
    """Comes back for as long as it runs, to any of the servers, as behind a balancer that knows nothing of them."""

    subprotocol = ""

    def __init__(self, number: int, ports: list[int], seed: str) -> None:
        self.name = f"c{number:03}"
        self.ports = ports
        self.random = Random(f"{seed}:{self.name}")
        self.backoff = Backoff(self.random)
        self.events: deque[str] = deque(maxlen=EVENTS_KEPT)
        self.mistakes: Counter[str] = Counter()
        self.visits = 0
        self.port = 0  # of the server that it came to last
        self.socket: WebSocket | None = None
        self._is_stalled = False
        self._live_since: float | None = None
        self._not_before = 0.0
        self._wake = asyncio.Event()
        self._dropped: asyncio.Future[Drop]
        self._loop = asyncio.get_running_loop()

    # What the world does to it

    def wake(self) -> None:
        """The network is back: it tries again now, unless a server asked it to wait."""
        if self._loop.time() >= self._not_before:
            self._wake.set()

    def cut(self) -> None:
        """Its connection breaks."""
        self._drop(Drop("cut"))

    def stall(self) -> None:
        self._is_stalled = True
        self.note("stalls")
        if self.socket is not None:
            self.socket.stall()

    def go_on(self) -> None:
        self._is_stalled = False
        self.note("goes on")
        if self.socket is not None:
            self.socket.go_on()

    def leave(self, group: int) -> None:
        """It follows a group no longer, if it can."""

    def return_to(self, group: int) -> None:
        """It follows the group again."""

    # Coming and going

    async def run(self) -> None:
        while True:
            drop = await self._visit()
            self.note(f"dropped: {drop.reason}")
            self.closed()
            if not drop.comes_back:
                self.mistake("sent away", drop.reason)
                return
            now = self._loop.time()
            if self._live_since is not None and now - self._live_since >= STEADY:
                self.backoff.reset()
            self._live_since = None
            self._not_before = now + drop.after
            self._wake.clear()
            try:
                async with asyncio.timeout(drop.after + self.backoff.next()):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _visit(self) -> Drop:
        """One connection, from the attempt to its end."""
        self._dropped = self._loop.create_future()
        self.connecting()
        self.port = port = self.random.choice(self.ports)
        self.note(f"connects to {port} {self.path()}")
        try:
            async with asyncio.timeout(ANSWER):
                _, self.socket = await self._loop.create_connection(self._new_socket, "127.0.0.1", port)
        except (OSError, TimeoutError) as error:
            return Drop(f"no connection ({error!r})")
        self.visits += 1
        try:
            return await self._watch(self.socket)
        finally:
            self.socket.abort()
            self.socket = None

    def _new_socket(self) -> WebSocket:
        return WebSocket(self.path(), self.opened, self.received, self._closed, self.subprotocol)

    async def _watch(self, socket: WebSocket) -> Drop:
        """Waits for the end; a link that shows no sign of life in time is given up."""
        asked_at, is_asked = self._loop.time(), True
        while True:
            due = asked_at + ANSWER if is_asked else socket.heard_at + self.ping_after()
            await asyncio.wait({self._dropped}, timeout=max(0.0, due - self._loop.time()))
            if self._dropped.done():
                return self._dropped.result()
            if self._is_stalled:
                asked_at, is_asked = self._loop.time(), True
            elif is_asked:
                if socket.heard_at <= asked_at:
                    return Drop("silent")
                is_asked = False
            elif self._loop.time() - socket.heard_at >= self.ping_after():
                self.ping()
                asked_at, is_asked = self._loop.time(), True

    def _closed(self, code: int) -> None:
        self._drop(Drop(f"closed with {code}", comes_back=code not in FINAL))

    def _drop(self, drop: Drop) -> None:
        if self.socket is not None and not self._dropped.done():
            self._dropped.set_result(drop)
            self.socket.abort()

    def became_live(self) -> None:
        if self._live_since is None:
            self._live_since = self._loop.time()
        if self._is_stalled and self.socket is not None:
            self.socket.stall()

    # What it tells

    def note(self, event: str) -> None:
        self.events.append(f"{self._loop.time():.3f} {event}")

    def mistake(self, kind: str, details: str, count: int = 1) -> None:
        self.mistakes[kind] += count
        if self.mistakes[kind] <= MISTAKES_TOLD or count > 1:
            self.note(f"MISTAKE {kind}: {details}")

    # What a kind of client does

    @property
    def has_begun(self) -> bool:
        """Whether it follows everything that it wants to."""
        raise NotImplementedError

    def path(self) -> str:
        raise NotImplementedError

    def connecting(self) -> None:
        """A new connection begins, on which nothing was said yet."""

    def opened(self) -> None:
        """The handshake is done."""

    def closed(self) -> None:
        """The connection, or the attempt to make one, has ended."""

    def received(self, payload: bytes) -> None:
        raise NotImplementedError

    def ping(self) -> None:
        """Asks for a sign of life."""

    def ping_after(self) -> float:
        raise NotImplementedError
