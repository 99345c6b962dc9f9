"""Honest clients: they chat, and each checks that it hears every message once and in order; and they load pages."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

from abuse import HALL
from chaos.websocket import WebSocket

PAGES = ("/", f"/broadcast/?format=json&limit=20&group={HALL}", "/admin/login/")
NEWCOMER = "198.51.100.250"
WAIT = 30.0  # seconds for an answer
PAUSE = 0.5  # before a client comes back
PAGES_EVERY = 1.0
MOST_TOLD = 20


class Watch:
    """What honest clients met with: how long things took, and what went wrong."""

    def __init__(self) -> None:
        self.latencies: list[tuple[float, float]] = []  # when it was sent, and how long it took to one client
        self.page_times: list[tuple[float, float]] = []
        self.arrivals: list[tuple[float, float]] = []  # when somebody came, and how long it took to be welcomed
        self.sent = self.frames = 0
        self.counts: Counter[str] = Counter()
        self.mistakes: list[str] = []

    def mistake(self, kind: str, details: str, count: int = 1) -> None:
        self.counts[kind] += count
        if len(self.mistakes) < MOST_TOLD:
            self.mistakes.append(f"{kind}: {details}")


class Client:
    """A guest on a socket, with a position; it comes back to where it was, and says again what was not acknowledged."""

    def __init__(self, number: int, port: int, watch: Watch, moments: dict[str, float]) -> None:
        self.name = f"honest-{number}"
        self.address = f"198.51.100.{number}"
        self.port = port
        self.watch = watch
        self.moments = moments  # when each message was said for the first time
        self.epoch, self.offset = "", -1
        self.heard: set[str] = set()
        self.unacknowledged: dict[str, str] = {}
        self.is_live = asyncio.Event()
        self._over = asyncio.Event()
        self._socket: WebSocket | None = None

    async def run(self) -> None:
        while True:
            await self._visit()
            self.is_live.clear()
            self.watch.mistake("connections lost", self.name)
            await asyncio.sleep(PAUSE)

    async def _visit(self) -> None:
        self._over.clear()
        position = f"&after={self.offset}&epoch={self.epoch}" if self.offset >= 0 else ""
        loop = asyncio.get_running_loop()
        headers = [f"X-Forwarded-For: {self.address}"]
        _, self._socket = await loop.create_connection(
            lambda: WebSocket(f"/ws?v=1{position}", lambda: None, self._hear, self._closed, headers=headers),
            *("127.0.0.1", self.port),
        )
        try:
            await self._over.wait()
        finally:
            self._socket.abort()

    def say(self) -> None:
        body, ref = f"{self.name} {uuid.uuid4()}", str(uuid.uuid4())
        self.moments[body] = asyncio.get_running_loop().time()
        self.watch.sent += 1
        self.unacknowledged[ref] = json.dumps({"body": body, "author": self.name, "ref": ref})
        self._send(self.unacknowledged[ref])

    def _send(self, text: str) -> None:
        assert self._socket is not None
        self.watch.frames += 1
        self._socket.send(text)

    def _closed(self, code: int) -> None:
        self._over.set()

    def _hear(self, payload: bytes) -> None:
        fields = json.loads(payload)
        kind = fields.get("type")
        if kind == "message":
            self._hear_message(fields)
        elif kind == "welcome":
            self._hear_welcome(fields)
        elif kind == "reset":
            self._hear_reset(fields)
        else:
            self.watch.mistake("refused", payload.decode()[:300])
            if (text := self.unacknowledged.get(fields.get("ref", ""))) is not None:
                wait = fields.get("retry_after_ms", 1000) / 1000
                asyncio.get_running_loop().call_later(wait, self._send, text)

    def _hear_welcome(self, fields: dict[str, Any]) -> None:
        if self.offset >= 0 and not fields["recovered"]:
            self.watch.mistake("lost", f"{self.name} could not go on from {self.offset}")
        self.epoch, self.offset = fields["epoch"], fields["offset"]
        self.is_live.set()
        for text in self.unacknowledged.values():
            self._send(text)

    def _hear_reset(self, fields: dict[str, Any]) -> None:
        if fields.get("lost", True):
            self.watch.mistake("lost", f"{self.name} was told {fields}")
        self.epoch, self.offset = fields["epoch"], fields["offset"]

    def _hear_message(self, fields: dict[str, Any]) -> None:
        self.unacknowledged.pop(fields["ref"], None)
        if fields.get("duplicate"):
            return
        offset, body = fields["offset"], fields["body"]
        if offset > self.offset + 1:
            self.watch.mistake("lost", f"{self.name} was at {self.offset} and heard {offset}", offset - self.offset - 1)
        if offset <= self.offset or body in self.heard:
            self.watch.mistake("doubled", f"{self.name} was at {self.offset} and heard {offset}")
        self.offset = max(self.offset, offset)
        if (moment := self.moments.get(body)) is not None:
            self.heard.add(body)
            self.watch.latencies.append((moment, asyncio.get_running_loop().time() - moment))


class Crowd:
    """All honest clients, of whom somebody says something every now and then, and somebody loads a page."""

    def __init__(self, port: int, clients: int, rate: float, seed: str) -> None:
        self.port = port
        self.rate = rate
        self.random = Random(f"{seed}:honest")
        self.watch = Watch()
        self.moments: dict[str, float] = {}
        self.clients = [Client(number, port, self.watch, self.moments) for number in range(1, clients + 1)]
        self._tasks: list[asyncio.Task[None]] = []

    async def come(self) -> None:
        self._tasks = [asyncio.ensure_future(client.run()) for client in self.clients]
        async with asyncio.timeout(WAIT):
            for client in self.clients:
                await client.is_live.wait()
        self._tasks += [asyncio.ensure_future(self._chat()), asyncio.ensure_future(self._load())]

    async def settle(self) -> None:
        """Ends the chat, waits until everybody has heard everything, and notes what did not come."""
        *clients, chat, load = self._tasks
        for task in (chat, load):
            task.cancel()
        try:
            async with asyncio.timeout(WAIT):
                while any(self._missing()):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except TimeoutError:
            for client, missing in zip(self.clients, self._missing(), strict=True):
                if missing:
                    self.watch.mistake("lost", f"{client.name} did not hear {missing}", missing)
        for task in clients:
            task.cancel()
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                self.watch.mistake("connections lost", repr(ended))

    def _missing(self) -> Iterator[int]:
        """The messages that each has not heard; all were there before the first was said."""
        return (len(self.moments) - len(client.heard) for client in self.clients)

    async def _chat(self) -> None:
        while True:
            live = [client for client in self.clients if client.is_live.is_set()]
            if live:
                self.random.choice(live).say()
            await asyncio.sleep(1 / self.rate)

    async def _load(self) -> None:
        while True:
            for path in PAGES:
                await self._load_one(path)
                await self._arrive()
                await asyncio.sleep(PAGES_EVERY)

    async def _load_one(self, path: str) -> None:
        begun = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(WAIT):
                status, _ = await get(self.port, path)
        except (OSError, TimeoutError, IndexError) as error:
            self.watch.mistake("pages not had", f"{path}: {error!r}")
            return
        self.watch.page_times.append((begun, asyncio.get_running_loop().time() - begun))
        if status != "200":
            self.watch.mistake("pages not had", f"{path}: {status}")

    async def _arrive(self) -> None:
        """Somebody comes, is welcomed, and leaves."""
        loop = asyncio.get_running_loop()
        begun, welcomed = loop.time(), asyncio.Event()
        headers = [f"X-Forwarded-For: {NEWCOMER}"]
        _, guest = await loop.create_connection(
            lambda: WebSocket("/ws?v=1", lambda: None, lambda _: welcomed.set(), lambda _: None, headers=headers),
            *("127.0.0.1", self.port),
        )
        try:
            async with asyncio.timeout(WAIT):
                await welcomed.wait()
            self.watch.arrivals.append((begun, loop.time() - begun))
        except TimeoutError:
            self.watch.mistake("arrivals in vain", f"no welcome in {WAIT:g} s")
        finally:
            guest.abort()


async def get(port: int, path: str) -> tuple[str, bytes]:
    """The status and the body of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = (f"GET {path} HTTP/1.0", "Host: 127.0.0.1", f"X-Forwarded-For: {NEWCOMER}", "", "")
        writer.write("\r\n".join(lines).encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    return head.split()[1].decode(), body
