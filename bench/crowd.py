"""The load client: thousands of raw sockets, whose bytes are counted and not parsed.

What a client must receive is known to the byte, so a checksum of its stream shows that it got every
message, once and in order.
"""

from __future__ import annotations

import resource
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count as counter
from typing import Self
from zlib import crc32

from bench.cores import OF_CLIENT, OF_SERVERS
from bench.link import Lost, request

PARALLEL = 64  # handshakes under way at a time: redis-py has no more than 100 connections for them
PER_ADDRESS = 10_000  # connections from one source address; it has some 28,000 ports
TIMEOUT = 120.0  # seconds
PATIENCE = 10.0  # seconds without a byte
NAP = 0.01 if OF_CLIENT == OF_SERVERS else 0.0  # seconds without a byte: where there is one core, the server needs it

IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: the port is chosen by connect()
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
MESSAGE = b'"type":"message"'
HEAD_END = b"\r\n\r\n"


class Late(Exception):
    """Clients that had not received everything in time."""


class Wrong(Exception):
    """Clients that received something else than what was sent."""


def allow_files() -> int:
    """Raises the limit of open files as far as it goes, also for servers started from here; the limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


class Crowd:
    """Connections that all listen to the same."""

    numbers = counter()

    def __init__(self, port: int, receive_buffer: int | None = None, offers: str = "") -> None:
        self.port = port
        self.offers = offers
        self.receive_buffer = receive_buffer
        self.sockets: dict[int, socket.socket] = {}
        self._into: dict[int, Callable[[memoryview], int]] = {}
        self._poll = select.epoll()
        self._buffer = memoryview(bytearray(1 << 18))

    def __len__(self) -> int:
        return len(self.sockets)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()
        self._poll.close()

    def drop(self) -> None:
        """Resets all connections at once."""
        for connection in self.sockets.values():
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            connection.close()
        self.sockets.clear()
        self._into.clear()

    # Connecting

    def open(self, paths: Sequence[str], greeting: bytes) -> float:
        """Opens a connection to each path; how many seconds it took until the last one had its greeting.

        ``greeting`` is what each must have received first, to the byte.
        """
        begun = time.monotonic()
        requests = (request(self.port, path, self.offers) for path in paths)
        received: dict[int, bytes] = {}
        to_start, to_open = len(paths), len(paths)
        while to_open:
            while to_start and len(received) < PARALLEL:
                received[self._connect()] = b""
                to_start -= 1
            for fd, events in self._events(begun + TIMEOUT, f"{to_open} of {len(paths)} are not connected"):
                if events & select.EPOLLOUT:
                    self._begin(fd, next(requests))
                    continue
                received[fd] += self._some(fd)
                if is_greeted(received[fd], None if self.offers else greeting):
                    del received[fd]
                    to_open -= 1
        return time.monotonic() - begun

    def _begin(self, fd: int, handshake: bytes) -> None:
        try:
            self.sockets[fd].send(handshake)
        except OSError as error:
            raise Lost(str(error)) from None
        self._poll.modify(fd, select.EPOLLIN)

    def _connect(self) -> int:
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        connection.bind((f"127.0.0.{1 + next(self.numbers) // PER_ADDRESS % 250}", 0))
        connection.connect_ex(("127.0.0.1", self.port))
        fd = connection.fileno()
        self.sockets[fd] = connection
        self._into[fd] = connection.recv_into
        self._poll.register(fd, select.EPOLLIN | select.EPOLLOUT)
        return fd

    # Receiving

    def receive(self, stream: bytes, timeout: float = TIMEOUT, checked: bool = True) -> tuple[list[float], float]:
        """Reads until every client has received ``stream``: when each had, the last one last, and the seconds it took.

        It does not sleep in between, for to wake it would cost the server as much as to write; the seconds
        are those in which there was something to read. Raises Late after ``timeout`` seconds, Lost if a
        connection ends, and Wrong if a client received anything but the stream; unless it is ``checked``,
        only its length counts.
        """
        sums = dict.fromkeys(self.sockets, 0)

        def take(fd: int, data: memoryview) -> int:
            if checked:
                sums[fd] = crc32(data, sums[fd])
            return len(data)

        left, moments, busy = self._receive(len(stream), take, timeout)
        self._check(left, sums if checked else {}, crc32(stream))
        return moments, busy

    def receive_messages(self, count: int, timeout: float = TIMEOUT) -> tuple[list[float], float]:
        """Reads until every client has received so many messages of `broadcast.v1`, in arrays or not; as `receive`."""
        tails = dict.fromkeys(self.sockets, b"")

        def take(fd: int, data: memoryview) -> int:
            seen = tails[fd] + data
            tails[fd] = seen[1 - len(MESSAGE) :]
            return seen.count(MESSAGE)

        left, moments, busy = self._receive(count, take, timeout)
        self._check(left, {}, 0)
        return moments, busy

    def _receive(
        self, due: int, take: Callable[[int, memoryview], int], timeout: float
    ) -> tuple[dict[int, int], list[float], float]:
        """Reads until ``take`` has counted for each what is due: what is left, when each had it, and the seconds."""
        into, view, monotonic = self._into, self._buffer, time.monotonic
        left = dict.fromkeys(self.sockets, due)
        moments: list[float] = []
        busy = 0.0
        deadline = monotonic() + timeout
        try:
            while len(moments) < len(left):
                events = self._poll.poll(NAP, len(left))
                begun = monotonic()
                for fd, _ in events:
                    size = into[fd](view)
                    if not size:
                        raise Lost("The server closed a connection")
                    left[fd] -= take(fd, view[:size])
                    if left[fd] <= 0:
                        moments.append(monotonic())
                busy += monotonic() - begun
                if begun > deadline:
                    raise Late(f"{len(left) - len(moments)} of {len(left)} have not received everything")
        except ConnectionError as error:
            raise Lost(str(error)) from None
        return left, moments, busy

    def _check(self, left: dict[int, int], sums: dict[int, int], expected: int) -> None:
        too_long = sum(rest < 0 for rest in left.values())
        differing = sum(value != expected for value in sums.values())
        if too_long or differing:
            raise Wrong(f"Of {len(left)} clients {too_long} received too much and {differing} something else")

    def idle(self, seconds: float) -> None:
        """Answers the server's pings for a while. Raises Wrong if anything else comes."""
        ends = time.monotonic() + seconds
        while (rest := ends - time.monotonic()) > 0:
            for fd, _ in self._poll.poll(rest, max(1, len(self.sockets))):
                ping = self._some(fd)
                if ping[0] != 0x89:
                    raise Wrong(f"A client received {ping[:200]!r} while nothing was sent")
                self.pong(fd, ping)

    def pong(self, fd: int, ping: bytes) -> None:
        self.sockets[fd].send(b"\x8a" + bytes([0x80 | ping[1]]) + bytes(4) + ping[2:])

    def read(self, heard: dict[int, bytearray]) -> int:
        """Appends what is there right now to what each client has heard; how many bytes there were."""
        total = 0
        for fd, _ in self._events(time.monotonic() + PATIENCE, f"Nothing was heard for {PATIENCE:g} seconds"):
            data = self._some(fd)
            heard[fd] += data
            total += len(data)
        return total

    def throw_away(self) -> None:
        """Reads what is there right now, and forgets it."""
        for fd, _ in self._poll.poll(0, max(1, len(self.sockets))):
            self._some(fd)

    def pieces(self, until: float) -> Iterator[tuple[int, memoryview]]:
        """What comes up to a moment, as it comes, and for whom. A piece is good until the next is asked for."""
        while (rest := until - time.monotonic()) > 0:
            for fd, _ in self._poll.poll(rest, max(1, len(self.sockets))):
                size = self._into[fd](self._buffer)
                if not size:
                    raise Lost("The server closed a connection")
                yield fd, self._buffer[:size]

    def _events(self, deadline: float, late: str) -> Iterable[tuple[int, int]]:
        events = self._poll.poll(max(0.0, deadline - time.monotonic()), max(1, len(self.sockets)))
        if not events:
            raise Late(late)
        return events

    def _some(self, fd: int) -> bytes:
        try:
            data = self.sockets[fd].recv(1 << 16)
        except ConnectionError as error:
            raise Lost(str(error)) from None
        if not data:
            raise Lost("The server closed a connection")
        return data


def is_greeted(received: bytes, greeting: bytes | None) -> bool:
    """Whether the answer to a handshake and the greeting, or any, are there. Raises Lost or Wrong if they cannot be."""
    head, ended, greeted = received.partition(HEAD_END)
    if not ended:
        return False
    line = head.partition(b"\r\n")[0]
    if b" 101 " not in line:
        raise Lost(f"The handshake was answered by {line!r}")
    if greeting is None:
        return bool(greeted)
    if not greeting.startswith(greeted):
        raise Wrong(f"A client was greeted by {greeted[:200]!r} instead of {greeting[:200]!r}")
    return len(greeted) == len(greeting)
