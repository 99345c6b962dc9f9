"""Frames and requests as bytes: right ones, and all kinds of wrong ones."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN = 0x80
MASKED = 0x80
ADDRESS = b"@ADDRESS@"  # where a request or a handshake has the client's own address


class Burst(NamedTuple):
    """Bytes that are sent in one go, and how many frames or requests are in them."""

    data: bytes
    size: int


def frame(payload: bytes = b"", opcode: int = TEXT, first: int = FIN, mask: bytes | None = bytes(4)) -> bytes:
    """A frame as a client sends it, masked with zeros; unmasked if the mask is None."""
    bit = 0 if mask is None else MASKED
    return bytes([first | opcode]) + sized(len(payload), bit) + (mask or b"") + payload


def sized(length: int, bit: int = MASKED) -> bytes:
    if length < 126:
        return bytes([bit | length])
    if length < 1 << 16:
        return bytes([bit | 126]) + length.to_bytes(2)
    return bytes([bit | 127]) + length.to_bytes(8)


def said(**fields: Any) -> bytes:
    """A frame with a JSON object."""
    return frame(json.dumps(fields, ensure_ascii=False).encode())


def burst(*frames: bytes, times: int = 1) -> Burst:
    return Burst(b"".join(frames) * times, len(frames) * times)


def handshake(path: str, *headers: str) -> bytes:
    own = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    return request("GET", path, *own, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *headers)


def request(method: str, path: str, *headers: str, body: bytes = b"", forwarded: str = "") -> bytes:
    """A request through a proxy, which adds the client's address to what the client claims."""
    claims = f"{forwarded}, " if forwarded else ""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"X-Forwarded-For: {claims}{ADDRESS.decode()}", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body
