"""Notices among the processes of one machine that share a database, by datagram sockets that nobody has to set up."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

from django.db import connections

from ..log_lines import say
from ..storage.database import alias
from .directories import Directory, Place, new_socket, open_directory, places_of
from .notices import HERE, Notice, NoticeWriter, Outbox
from .ways import Way

if TYPE_CHECKING:
    from ..node import Node
    from ..process import Process

MAX_NOTICE = 32 * 1024  # bytes
READ_AT_ONCE = 64  # datagrams, before the loop does something else
FIRST_PAUSE, LAST_PAUSE = 0.001, 0.05  # seconds between two tries for a queue that is full
PLACES_AGE = 5.0  # seconds
PATIENCE = 5.0  # seconds that a notice is tried again; a poll has found what it tells by then
FLUSH_TIMEOUT = 0.2  # seconds that the end of the process waits

Recipient = tuple[Place, str]


class SocketWay(Way):
    """Each node that listens has a socket; whoever sends, sends to each socket in the directory but its own.

    The system's queue of a socket holds ten datagrams. What finds it full is kept, the newest head of each group
    only, and tried again in a thread that ends when nothing is kept.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._writer = NoticeWriter(process, MAX_NOTICE)
        self._mailboxes: dict[Node, Mailbox] = {}
        self._numbers = count(1)
        self._places: tuple[Any, float, list[Place]] = (None, 0.0, [])
        self._lock = threading.Lock()
        self._kept: dict[Recipient, tuple[Outbox, float]] = {}
        self._is_running = False

    def send(self, outbox: Outbox) -> None:
        notices: list[Notice] = []
        for place in self._places_for_sender():
            directory = open_directory(place)
            if directory is None:
                continue
            with directory, new_socket() as sender:
                for name in directory.names():
                    if not name.startswith(self._process.origin):
                        notices = notices or self._writer.notices(outbox)
                        self._send_or_keep(directory, sender, (place, name), notices)

    def listen(self, node: Node) -> None:
        mailbox = self._mailboxes.get(node)
        if mailbox is None or not mailbox.is_there():
            self.leave(node)
            self._open(node)
        self.is_alone = node in self._mailboxes and not any(map(self._has_others, self._places_for_sender()))

    def _open(self, node: Node) -> None:
        for place in places():
            directory = open_directory(place, make=True)
            if directory is None:
                continue
            with suppress(OSError, NotImplementedError), directory:
                directory.sweep()
                name = f"{self._process.origin}-{next(self._numbers)}"
                self._mailboxes[node] = Mailbox(node.loop, place, directory, name, node.notices.read)
                self.send(Outbox.of_event({"type": HERE}))
                return

    def _has_others(self, place: Place) -> bool:
        directory = open_directory(place)
        if directory is None:
            return False
        with directory:
            return any(not name.startswith(self._process.origin) for name in directory.names())

    def leave(self, node: Node) -> None:
        self.is_alone = False
        if (mailbox := self._mailboxes.pop(node, None)) is not None:
            mailbox.close()

    def abandon(self) -> None:
        """Closes what would keep the parent's sockets alive when the parent is dead, and leaves them where they are."""
        for mailbox in self._mailboxes.values():
            mailbox.socket.close()

    def flush(self) -> None:
        deadline = self._process.system.monotonic() + FLUSH_TIMEOUT
        while self._kept and self._process.system.monotonic() < deadline:
            self._process.system.sleep(FIRST_PAUSE)

    def _places_for_sender(self) -> list[Place]:
        """The places, as they were a moment ago: to look for them takes as long as the rest."""
        now = self._process.system.monotonic()
        database = connections[alias()].settings_dict
        known, until, found = self._places
        key = (database["NAME"], database["HOST"], database["PORT"])
        if known != key or now > until:
            found = places()
            self._places = key, now + PLACES_AGE, found
        return found

    # Full queues

    def _send_or_keep(self, directory: Directory, sender: socket.socket, to: Recipient, notices: list[Notice]) -> None:
        """Behind what is kept already, so that nothing overtakes it."""
        with self._lock:
            if to in self._kept:
                for notice in notices:
                    self._kept[to][0].add(notice.content)
                return
        rest = unsent(directory, sender, to[1], notices)
        if rest:
            self._keep(to, rest)

    def _keep(self, to: Recipient, outbox: Outbox) -> None:
        with self._lock:
            kept, _ = self._kept.setdefault(to, (Outbox(), self._process.system.monotonic()))
            kept.add(outbox)
            if not self._is_running:
                try:
                    self._process.system.start_thread(self._send_kept, "broadcast-sockets", True)
                    self._is_running = True
                except RuntimeError:  # no more threads: the polls have to do
                    self._kept.clear()

    def _send_kept(self) -> None:
        pause = FIRST_PAUSE
        while True:
            self._process.system.sleep(pause)
            for to in list(self._kept):
                try:
                    self._try_again(to)
                except Exception as error:  # nobody else would ever send what is kept
                    say(logging.WARNING, "Hints for another process are given up", error=error)
                    with self._lock:
                        self._kept.pop(to, None)
            pause = min(2 * pause, LAST_PAUSE)
            with self._lock:
                if not self._kept:
                    self._is_running = False
                    return

    def _try_again(self, to: Recipient) -> None:
        now = self._process.system.monotonic()
        with self._lock:
            outbox, since = self._kept[to]
            self._kept[to] = Outbox(), since  # what comes meanwhile is put there, behind
        rest = Outbox()
        directory = open_directory(to[0])
        if directory is not None:
            with directory, new_socket() as sender:
                if now - since < PATIENCE:
                    rest = unsent(directory, sender, to[1], self._writer.notices(outbox))
        with self._lock:
            rest.add(self._kept[to][0])
            self._kept[to] = rest, since
            if not rest:
                del self._kept[to]


class Mailbox:
    """The socket of one node that listens, read in the node's loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        place: Place,
        directory: Directory,
        name: str,
        read: Callable[[list[bytes]], None],
    ) -> None:
        """Raises OSError or NotImplementedError where there can be none."""
        self.place = place
        self.socket = directory.bind(name)
        self._loop = loop
        self._name = name
        self._number = directory.number(name)
        self._read = read
        try:
            loop.add_reader(self.socket, self._on_readable)
        except NotImplementedError:
            self.socket.close()
            directory.remove(name)
            raise

    def is_there(self) -> bool:
        """False if somebody has removed it, or the directory."""
        return self._in_directory(lambda directory: True)

    def close(self) -> None:
        if not self._loop.is_closed() and self.socket.fileno() >= 0:
            self._loop.remove_reader(self.socket)
        self.socket.close()
        self._in_directory(self._remove)

    def _in_directory(self, act: Callable[[Directory], Any]) -> bool:
        """Does something in the directory if the socket is still there. Returns True if it is."""
        directory = open_directory(self.place)
        if directory is None:
            return False
        with directory:
            is_there = directory.number(self._name) == self._number
            if is_there:
                act(directory)
            return is_there

    def _remove(self, directory: Directory) -> None:
        directory.remove(self._name)
        directory.remove_if_empty()

    def _on_readable(self) -> None:
        notices: list[bytes] = []
        with suppress(OSError):
            while len(notices) < READ_AT_ONCE:
                notices.append(self.socket.recv(MAX_NOTICE + 1))
        self._read(notices)


def places() -> list[Place]:
    """The places of the log's database; none where the system has no such sockets."""
    if not hasattr(socket, "AF_UNIX") or os.name != "posix":
        return []
    try:
        return places_of(connections[alias()])
    except OSError:
        return []


def unsent(directory: Directory, sender: socket.socket, name: str, notices: list[Notice]) -> Outbox:
    """Sends to a socket; what did not fit into its queue.

    By a new socket each time: what is in the queue of one that reads nothing counts against the socket that sent it.
    """
    rest = Outbox()
    for notice in notices:
        if rest or not directory.send(sender, name, notice.data):
            rest.add(notice.content)
    return rest
