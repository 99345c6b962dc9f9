"""Readers of a process that was killed arrive at another one, which goes on serving pages and live messages."""

from __future__ import annotations

import json
import threading
import time
from http.client import HTTPConnection

from bench import process
from bench.link import Link
from bench.readers import Kind, Readers
from bench.scenarios.base import Note, meanwhile
from bench.scenarios.readers import send, warm_up
from bench.servers import Server
from bench.speech import BODY_SIZE

PAGE = "/bench/page"
PAGE_EVERY = 0.1  # seconds
MESSAGE_EVERY = 0.5
REST = 60.0  # seconds for what is still to be delivered


def storm(server: Server, note: Note, kind: Kind, size: int) -> None:
    """Kills the process of some readers, who arrive at another; notes how long that takes and what others notice.

    Every reader must have each message that was sent meanwhile, once.
    """
    readers = range(1, size + 1)
    with server.another() as other:
        warm_up(other, kind, size)
        position = send(server, 1)
        with Readers(server.port) as crowd:
            crowd.come(kind.readers(readers))
            server.kill()
        page, live = Page(other.port, kind.cookie(size + 1)), Live(other)
        page.open()
        page.seconds.clear()  # what a server does once is none of this
        with Readers(other.port) as crowd, meanwhile(page.open, PAGE_EVERY), meanwhile(live.send, MESSAGE_EVERY):
            used = process.processor_seconds(other.pid)
            seconds = crowd.come(kind.readers(readers, position))
            note("storm_cpu", (process.processor_seconds(other.pid) - used) / size * 1e3)
            note("storm", seconds)
            live.end()
            note("storm_live", max(live.delays) * 1e3)
            crowd.hear_messages(live.sent, REST)
        note("storm_page", max(page.seconds) * 1e3)


class Page:
    """A page that is asked for again and again over one connection, and how long each answer took."""

    def __init__(self, port: int, cookie: str = "", path: str = PAGE) -> None:
        self.seconds: list[float] = []
        self._connection = HTTPConnection("127.0.0.1", port, timeout=REST)
        self._path = path
        self._headers = {"Cookie": cookie} if cookie else {}

    def open(self) -> None:
        begun = time.monotonic()
        self._connection.request("GET", self._path, headers=self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise AssertionError(f"The page was answered by {answer.status}: {text[:300]!r}")
        self.seconds.append(time.monotonic() - begun)


class Live:
    """Live messages of a server, and how long each took to a witness who is there already."""

    def __init__(self, server: Server) -> None:
        self.delays: list[float] = []
        self.sent = 0
        self._server = server
        self._witness = Link(server.port, "/ws?v=1")
        self._witness.read()
        self._turn = threading.Lock()
        self._is_over = False

    def send(self) -> None:
        with self._turn:
            if self._is_over:
                return
            begun = time.monotonic()
            self._server.control.tell("send", first=0, count=1, size=BODY_SIZE, persist=True, together=True)
            while json.loads(self._witness.read())["type"] != "message":
                continue
            self.delays.append(time.monotonic() - begun)
            self._server.control.answer()
            self.sent += 1

    def end(self) -> None:
        """Sends no more; returns when nothing is under way."""
        with self._turn:
            self._is_over = True
            self._witness.close()
