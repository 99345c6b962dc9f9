"""A WebSocket client that reads frames by hand: a run brings it millions of them."""

import asyncio
import base64
import os
import struct
from collections.abc import Callable, Sequence

TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
MASKED = 0x80
ABNORMAL = 1006


class WebSocket(asyncio.Protocol):
    """One connection: `on_open()` once it is accepted, `on_text(bytes)` for each text frame, `on_close(code)` once.

    Data that comes after `abort()` is not told.
    """

    def __init__(
        self,
        path: str,
        on_open: Callable[[], None],
        on_text: Callable[[bytes], None],
        on_close: Callable[[int], None],
        subprotocol: str = "",
        headers: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.headers = headers
        self.subprotocol = subprotocol
        self.heard_at = 0.0
        self._on_open, self._on_text, self._on_close = on_open, on_text, on_close
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._is_open = False
        self._is_over = False

    # What the client does

    def send(self, text: str) -> None:
        self._write(TEXT, text.encode())

    def abort(self) -> None:
        """Drops the connection without a word."""
        self._over(ABNORMAL)

    def stall(self) -> None:
        """Stops reading, as a client on a bad link or with a busy page does."""
        if not self._is_over:
            self._transport.pause_reading()

    def go_on(self) -> None:
        if not self._is_over:
            self._transport.resume_reading()

    # What the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # A connection that was cut before it was made has no name any more; that it is lost is told next.
        host, port = transport.get_extra_info("peername") or ("127.0.0.1", 0)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {self.path} HTTP/1.1",
            f"Host: {host}:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            *([f"Sec-WebSocket-Protocol: {self.subprotocol}"] if self.subprotocol else []),
            *self.headers,
        ]
        transport.write("\r\n".join([*lines, "", ""]).encode())

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        buffer = self._buffer + data if self._buffer else data
        if not self._is_open:
            head, separator, buffer = buffer.partition(b"\r\n\r\n")
            if not separator:
                self._buffer = head
                return
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                self._over(ABNORMAL)
                return
            self._is_open = True
            self._on_open()
        self._buffer = self._read(buffer)

    def connection_lost(self, error: Exception | None) -> None:
        self._over(ABNORMAL)

    # Frames

    def _read(self, buffer: bytes) -> bytes:
        """Tells every whole frame and returns the rest."""
        at, end = 0, len(buffer)
        while end - at >= 2 and not self._is_over:
            start, length = at + 2, buffer[at + 1]
            if length == 126:
                start += 2
            elif length == 127:
                start += 8
            if end < start:
                break
            if start - at > 2:
                length = int.from_bytes(buffer[at + 2 : start], "big")
            if end - start < length:
                break
            if buffer[at] == TEXT:
                self._on_text(buffer[start : start + length])
            else:
                self._control(buffer[at], buffer[start : start + length])
            at = start + length
        return buffer[at:]

    def _control(self, first: int, payload: bytes) -> None:
        if first == PING:
            self._write(PONG, payload)
        elif first == CLOSE:
            self._write(CLOSE, payload[:2])
            self._over(int.from_bytes(payload[:2], "big") if payload else 1005)
        elif first != PONG:
            raise ValueError(f"A frame begins with {first:#x}")

    def _write(self, first: int, payload: bytes) -> None:
        if self._is_over:
            return
        length = len(payload)
        if length < 126:
            head = struct.pack("!BB", first, MASKED | length)
        else:
            head = struct.pack("!BBH", first, MASKED | 126, length)
        # A mask of zeros leaves the payload as it is.
        self._transport.write(head + bytes(4) + payload)

    def _over(self, code: int) -> None:
        if not self._is_over:
            self._is_over = True
            self._transport.abort()
            self._on_close(code)
