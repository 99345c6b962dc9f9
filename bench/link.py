"""One WebSocket connection that waits for what it asked: the control connection, a witness, a slow client."""

from __future__ import annotations

import json
import socket
from typing import Any

from bench.speech import client_frame

TIMEOUT = 120.0  # seconds

# The sample of RFC 6455, section 1.3. One key for all makes all answers equal.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Lost(Exception):
    """The server closed a connection that was to stay open."""


def request(port: int, path: str, more: str = "") -> bytes:
    """A client's handshake. By itself it does not offer compression, so what comes has a size that is known."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    ).encode()


class Link:
    """A blocking connection that reads frame by frame."""

    def __init__(self, port: int, path: str, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(TIMEOUT)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(request(port, path))
        self.received = 0
        self._stream = self.socket.makefile("rb", buffering=1 << 16 if receive_buffer is None else 0)
        self._open()

    def close(self) -> None:
        self._stream.close()
        self.socket.close()

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        line = self._stream.readline()
        if b" 101 " not in line:
            raise Lost(f"The handshake was answered by {line!r}")
        while self._stream.readline() not in (b"\r\n", b""):
            pass

    def read(self) -> bytes:
        """The next text frame's payload; ``received`` grows by its whole size."""
        while True:
            head = self._exactly(2)
            size = head[1] & 0x7F
            if size > 125:
                more = self._exactly(2 if size == 126 else 8)
                size, head = int.from_bytes(more, "big"), head + more
            payload = self._exactly(size)
            if head[0] == 0x81:
                self.received += len(head) + size
                return payload
            if head[0] == 0x88:
                raise Lost(f"The server closed with {int.from_bytes(payload[:2], 'big')}")

    def _exactly(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            part = self._stream.read(size - len(parts))
            if not part:
                raise Lost("The server closed the connection")
            parts += part
        return parts

    # The control connection

    def tell(self, do: str, **arguments: Any) -> None:
        """Sends a command; its answer is read by `answer`."""
        self.socket.sendall(client_frame(json.dumps({"do": do, **arguments})))

    def answer(self) -> dict[str, Any]:
        answered: dict[str, Any] = json.loads(self.read())
        return answered

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        self.tell(do, **arguments)
        return self.answer()
