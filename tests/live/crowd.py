"""Thousands of clients in one process: raw sockets that come all at once and keep what they hear."""

import select
import socket
import time
from typing import Self

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from bench.crowd import allow_files
from bench.link import KEY, request

WAIT = 60  # seconds without a byte, on a machine that is busy
SPARE_FILES = 200


class Crowd:
    """Clients of one server on one path."""

    def __init__(self, port: int, path: str, count: int) -> None:
        assert count + SPARE_FILES < allow_files(), "see ulimit -Hn"
        self.request = request(port, path)
        self.heard: dict[int, bytearray] = {}
        self.sockets: dict[int, socket.socket] = {}
        self.poll = select.epoll()
        for _ in range(count):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
            self.sockets[client.fileno()] = client
            self.heard[client.fileno()] = bytearray()
            self.poll.register(client, select.EPOLLIN | select.EPOLLOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.poll.close()
        for client in self.sockets.values():
            client.close()

    def listen_until(self, heard: bytes) -> list[float]:
        """Reads until each has heard this; the moments when each had, in their order."""
        moments: list[float] = []
        waiting = {number for number, data in self.heard.items() if heard not in data}
        while waiting:
            events = self.poll.poll(WAIT, len(self.sockets))
            assert events, f"{len(waiting)} of {len(self.sockets)} have not heard {heard!r}"
            for number, event in events:
                if event & select.EPOLLOUT:
                    self.sockets[number].send(self.request)
                    self.poll.modify(number, select.EPOLLIN)
                elif self._hear(number, heard) and number in waiting:
                    waiting.remove(number)
                    moments.append(time.monotonic())
        return moments

    def _hear(self, number: int, heard: bytes) -> bool:
        data = self.sockets[number].recv(1 << 16)
        assert data, "the server closed a connection"
        so_far = self.heard[number]
        so_far += data
        return so_far.find(heard, max(0, len(so_far) - len(data) - len(heard))) >= 0

    def texts(self) -> set[tuple[bytes, ...]]:
        """What the clients were told, frame by frame: one sequence if all were told the same."""
        return {tuple(texts_in(bytes(data))) for data in self.heard.values()}


def texts_in(stream: bytes) -> list[bytes]:
    """The text frames behind a handshake; others are pings."""
    protocol = ClientProtocol(parse_uri("ws://127.0.0.1/ws"))
    protocol.key = KEY
    protocol.receive_data(stream)
    frames = (event for event in protocol.events_received() if isinstance(event, Frame))
    return [bytes(frame.data) for frame in frames if frame.opcode is Opcode.TEXT]
