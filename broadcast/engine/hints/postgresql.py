"""Notices among machines, by ``LISTEN`` and ``NOTIFY`` of the PostgreSQL database that the log is in."""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ..log_lines import described, say
from ..storage.database import alias
from .hint import is_ephemeral
from .notices import NoticeWriter, Outbox
from .ways import Way

if TYPE_CHECKING:
    from ..node import Node
    from ..process import Process

CHANNEL = "broadcast"
MAX_NOTICE = 7900  # bytes: PostgreSQL takes less than 8000
IDLE_TIMEOUT = 30.0  # seconds after which a connection on which nobody listens is closed
PAUSE_AFTER_FAILURE = 1.0  # seconds
FLUSH_TIMEOUT = 1.0  # seconds that the end of the process waits

FAILED = "PostgreSQL does not carry hints, so other machines hear of messages up to a second later: %s"
POOLED = "the database is reached through a pooler, which may not keep a connection for who listens"


class NotifyWay(Way):
    """One lazy thread per process, with a connection of its own beside Django's, which listens while a node does.

    It notifies after the commit: in the sender's transaction ``NOTIFY`` would double what the commit takes. Heads and
    events for nodes only, for every role that may connect to the database may listen.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._writer = NoticeWriter(process, MAX_NOTICE)
        self._lock = threading.Lock()
        self._outbox = Outbox()
        self._nodes: dict[Node, None] = {}
        self._waker: socket.socket | None = None
        self._is_running = False
        self._is_sending = False
        self.is_listening = False
        self.is_pooled = False

    def send(self, outbox: Outbox) -> None:
        if not is_usable(connections[alias()]):
            return
        told = Outbox()
        told.heads.update(outbox.heads)
        told.events.extend(event for event in outbox.events if not is_ephemeral(event))
        if told:
            with self._lock:
                self._outbox.add(told)
                self._wake()

    def listen(self, node: Node) -> None:
        self.is_alone = not is_usable(connections[alias()])  # otherwise nobody can know
        if not self.is_alone:
            with self._lock:
                self._nodes[node] = None
                if not self.is_listening and not self.is_pooled:
                    self._wake()

    def leave(self, node: Node) -> None:
        with self._lock:
            if self._nodes.pop(node, self) is not self and self._is_running:
                self._wake()

    def flush(self) -> None:
        deadline = self._process.system.monotonic() + FLUSH_TIMEOUT
        while self._is_running and (self._outbox or self._is_sending) and self._process.system.monotonic() < deadline:
            self._process.system.sleep(0.005)

    def abandon(self) -> None:
        """The thread and its connection are the parent's, and psycopg ends no connection of another process."""

    # The thread

    def _wake(self) -> None:
        """Has the thread look for what there is to do, which must be written down before, under the lock."""
        if not self._is_running:
            try:
                self._process.system.start_thread(self._work, "broadcast-notify", True)
                self._is_running = True
            except RuntimeError:  # no more threads: the polls have to do
                self._outbox = Outbox()
        elif self._waker is not None:
            with suppress(BlockingIOError):  # it is awake
                self._waker.send(b"\0")

    def _work(self) -> None:
        """Keeps a connection for as long as there is something to do, and another one when it fails."""
        while self._has_work():
            try:
                self._connect_and_serve()
            except Exception as error:
                text = described(error)
                if self._process.is_first_time(text):
                    say(logging.WARNING, FAILED, text)
                self._process.system.sleep(PAUSE_AFTER_FAILURE)

    def _connect_and_serve(self) -> None:
        try:
            with own_connection() as connection:
                self._serve(connection)
        finally:
            self.is_listening = False

    def _has_work(self) -> bool:
        with self._lock:
            self._is_running = bool(self._outbox or (self._nodes and not self.is_pooled))
            return self._is_running

    def _serve(self, connection: Any) -> None:
        reader, waker = socket.socketpair()
        with reader, waker, selectors.DefaultSelector() as selector:
            reader.setblocking(False)
            waker.setblocking(False)
            selector.register(reader, selectors.EVENT_READ)
            selector.register(connection, selectors.EVENT_READ)
            heard: list[bytes] = []
            connection.add_notify_handler(lambda notification: heard.append(notification.payload.encode()))
            self._see_pooler(connection)
            with self._lock:
                self._waker = waker
            try:
                while True:
                    self._listen_or_not(connection)
                    self._send_outbox(connection)
                    ready = selector.select(IDLE_TIMEOUT)
                    if not ready and not self.is_listening:
                        return
                    with suppress(BlockingIOError):
                        reader.recv(1024)
                    if not ready:
                        connection.execute("SELECT 1")  # a connection that is dead says so
                    self._hand_over([*heard, *received(connection)])
                    heard.clear()
            finally:
                with self._lock:
                    self._waker = None

    def _see_pooler(self, connection: Any) -> None:
        """Notes if each statement may run on another connection of a pooler: who listened there would be another.

        What was received at the login as the number of the server's process is then not that of the one that answers.
        """
        self.is_pooled = is_pooled(connection)
        if self.is_pooled and self._nodes and self._process.is_first_time(POOLED):
            say(logging.WARNING, FAILED, POOLED)

    def _listen_or_not(self, connection: Any) -> None:
        should_listen = bool(self._nodes) and not self.is_pooled
        if should_listen != self.is_listening:
            connection.execute(f"LISTEN {CHANNEL}" if should_listen else f"UNLISTEN {CHANNEL}")
            self.is_listening = should_listen

    def _send_outbox(self, connection: Any) -> None:
        with self._lock:
            outbox, self._outbox = self._outbox, Outbox()
            self._is_sending = bool(outbox)
        try:
            for notice in self._writer.notices(outbox):
                connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, notice.data.decode()])
        finally:
            self._is_sending = False

    def _hand_over(self, notices: list[bytes]) -> None:
        for node in list(self._nodes) if notices else []:
            with suppress(RuntimeError):  # its loop has ended
                node.loop.call_soon_threadsafe(node.notices.read, notices)


def is_usable(database: BaseDatabaseWrapper) -> bool:
    """True for PostgreSQL by psycopg 3."""
    module = getattr(database, "Database", None)
    return database.vendor == "postgresql" and getattr(module, "__name__", "") == "psycopg"


@contextmanager
def own_connection() -> Iterator[Any]:
    """A new connection to the log's database, as Django would make one, and from no pool."""
    wrapper = connections[alias()].copy()
    wrapper.settings_dict["AUTOCOMMIT"] = True
    wrapper.settings_dict["OPTIONS"].pop("pool", None)
    wrapper.connect()
    try:
        yield wrapper.connection
    finally:
        wrapper.close()


def is_pooled(connection: Any) -> bool:
    (number,) = connection.execute("SELECT pg_backend_pid()").fetchone()
    return bool(number != connection.info.backend_pid)


def received(connection: Any) -> Iterator[bytes]:
    """What others have said since the last question; what comes with an answer goes to the connection's handlers."""
    connection.pgconn.consume_input()
    while (notification := connection.pgconn.notifies()) is not None:
        if notification.be_pid != connection.info.backend_pid:
            yield notification.extra
