"""The readers of a site: guests or signed-in users, who come as the page's script has a browser come.

Each opens a socket that joins nothing by its address, with the session's cookie in the handshake, and asks for its
groups by frames, with the positions that the page was served with.
"""

from __future__ import annotations

import json
import select
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from bench.crowd import HEAD_END, MESSAGE, PARALLEL, Crowd, Late, Wrong
from bench.link import Link, Lost, request
from bench.rows import Row
from bench.speech import client_frame

SOCKET = "/ws?v=1&join=none"
SHARED = "broadcast"
ARRIVAL_SECONDS = 600.0
WELCOME = b'"type":"welcome"'
BYE = b'"type":"bye"'
REFUSED = b'"type":"error"'
TAIL = len(WELCOME) - 1  # bytes of a word that may be cut
PING = 0x89


@dataclass(frozen=True)
class Position:
    """A place in a group's log; to begin with that of a group in which nothing was ever said."""

    epoch: str = "void"
    offset: int = 0


VOID = Position()


def session_key(number: int) -> str:
    """The key of the session of a user, who is known by the primary key."""
    return f"reader{number:026d}"


@dataclass(frozen=True)
class Reader:
    """One of them, known by a number from 1 on: the handshake, and what is sent once the socket is open."""

    number: int
    lines: str
    asks: bytes
    groups: int

    def following(self, asks: list[bytes]) -> Reader:
        """The same one, who asks for other groups."""
        return replace(self, asks=b"".join(asks), groups=len(asks))


@dataclass(frozen=True)
class Kind:
    """Readers of one kind. They all follow one shared group; some have a group of their own beside it."""

    key: str
    title: str
    is_signed_in: bool = False
    has_own: bool = False

    def row(self, row: Row) -> Row:
        """A server's row as it is in the tables of its readers."""
        return replace(row, key=f"{row.key}-{self.key}", title=f"{row.title}: {self.title}")

    def own_group(self, number: int) -> str:
        return f"user.{number}" if self.is_signed_in else f"bench.reader.{number}"

    def cookie(self, number: int) -> str:
        return f"sessionid={session_key(number)}" if self.is_signed_in else ""

    def readers(self, numbers: Iterable[int], position: Position = VOID) -> list[Reader]:
        """Readers who go on from a position in the shared group; in their own nothing was said."""
        return [self._reader(number, position) for number in numbers]

    def _reader(self, number: int, position: Position) -> Reader:
        places = {SHARED: position} | ({self.own_group(number): VOID} if self.has_own else {})
        cookie = f"Cookie: {self.cookie(number)}\r\n" if self.is_signed_in else ""
        return Reader(number, cookie, b"".join(subscribe(*place) for place in places.items()), len(places))


KINDS = {
    kind.key: kind
    for kind in (
        Kind("guests", "guests, one group"),
        Kind("guests-own", "guests, a group of their own each", has_own=True),
        Kind("users", "signed in, one group", is_signed_in=True),
        Kind("users-own", "signed in, a group of their own each", is_signed_in=True, has_own=True),
    )
}


def subscribe(group: str, position: Position = VOID) -> bytes:
    frame = {"type": "subscribe", "group": group, "epoch": position.epoch, "after": position.offset}
    return client_frame(json.dumps(frame, separators=(",", ":")))


def position_in(port: int, group: str = SHARED) -> Position:
    """The end of a group's log, as whoever comes now is told."""
    with Link(port, f"/ws/{group}?v=1") as link:
        welcome = json.loads(link.read())
    return Position(welcome["epoch"], welcome["offset"])


@dataclass(slots=True)
class Ear:
    """What one reader has heard so far, counted and not parsed."""

    reader: Reader
    head: bytes | None = b""  # of the answer to the handshake, until it is there
    welcomes: int = 0
    messages: int = 0
    tail: bytes = field(default=b"")

    def take(self, data: bytes) -> bytes:
        """Counts what came; returns it, with the end of what came before."""
        heard = self.tail + data
        self.welcomes += heard.count(WELCOME)
        self.messages += heard.count(MESSAGE)
        self.tail = heard[-TAIL:]
        return heard

    def is_there(self, messages: int) -> bool:
        """Whether all that was asked for is joined, and as many messages are there."""
        return self.welcomes >= self.reader.groups and self.messages >= messages


class Readers(Crowd):
    """Readers at one server. What ends without them having ended it is kept, with the moment."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.ears: dict[int, Ear] = {}
        self.ended: dict[int, float] = {}  # by numbers of readers

    def drop(self) -> None:
        super().drop()
        self.ears.clear()

    def come(self, readers: Sequence[Reader], missed: int = 0) -> float:
        """Has readers come, some at a time: the seconds until the last one has joined and has what it ``missed``."""
        begun = time.monotonic()
        coming = iter(readers)
        arriving: set[int] = set()
        left = len(readers)
        while left:
            while len(arriving) < PARALLEL and (reader := next(coming, None)):
                fd = self._connect()
                self.ears[fd] = Ear(reader)
                arriving.add(fd)
            for fd, events in self._events(begun + ARRIVAL_SECONDS, f"{left} of {len(readers)} readers are not there"):
                ear = self.ears[fd]
                if events & select.EPOLLOUT:
                    self._begin(fd, request(self.port, SOCKET, self._offers() + ear.reader.lines))
                    continue
                heard = self._hear(fd, ear)
                if fd not in arriving:
                    continue
                if REFUSED in heard or fd not in self.ears or BYE in heard:
                    raise Wrong(f"A reader was told {heard[:300]!r}")
                if ear.is_there(missed):
                    arriving.remove(fd)
                    left -= 1
        return time.monotonic() - begun

    def listen(self, until: float, is_enough: Callable[[], bool] = lambda: False) -> None:
        """Hears what comes up to a moment, or until it is enough."""
        while not is_enough() and (rest := until - time.monotonic()) > 0:
            for fd, _ in self._poll.poll(min(rest, 0.1), max(1, len(self.sockets))):
                self._hear(fd, self.ears[fd])

    def hear_messages(self, count: int, seconds: float) -> None:
        """Listens until each has heard as many messages. Raises Late, and Wrong if one has heard more."""
        ears = self.ears.values()
        self.listen(time.monotonic() + seconds, lambda: all(ear.messages >= count for ear in ears))
        if late := sum(ear.messages < count for ear in ears):
            raise Late(f"{late} of {len(ears)} readers have not received everything")
        if wrong := sum(ear.messages > count for ear in ears):
            raise Wrong(f"{wrong} of {len(ears)} readers received too much")

    def _offers(self) -> str:
        """What a browser says besides: where the page is from, and that it takes batches."""
        return f"Origin: http://127.0.0.1:{self.port}\r\nSec-WebSocket-Protocol: broadcast.v1.batch, broadcast.v1\r\n"

    def _hear(self, fd: int, ear: Ear) -> bytes:
        """Takes what came to one of them, answers a ping, and asks for the groups once the socket is open."""
        try:
            data = self._some(fd)
        except Lost:
            if ear.head is not None:
                raise
            self._end(fd)
            return b""
        if ear.head is not None:
            return self._open(fd, ear, data)
        if data[0] == PING:
            self.pong(fd, data)
        heard = ear.take(data)
        if BYE in heard:
            self.ended.setdefault(ear.reader.number, time.monotonic())
        return heard

    def _open(self, fd: int, ear: Ear, data: bytes) -> bytes:
        head, is_whole, rest = ((ear.head or b"") + data).partition(HEAD_END)
        if not is_whole:
            ear.head = head
            return b""
        line = head.partition(b"\r\n")[0]
        if b" 101 " not in line:
            raise Lost(f"The handshake was answered by {line!r}")
        ear.head = None
        self.sockets[fd].send(ear.reader.asks)
        return ear.take(rest)

    def _end(self, fd: int) -> None:
        self.ended.setdefault(self.ears[fd].reader.number, time.monotonic())
        self._poll.unregister(fd)
        self.sockets.pop(fd).close()
        del self._into[fd], self.ears[fd]
