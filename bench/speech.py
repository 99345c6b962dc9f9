"""What is said in a run, and the exact bytes in which each application says it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

BODY_SIZE = 38  # characters


def bodies(first: int, count: int, size: int | None = None) -> list[str]:
    """Numbered bodies, all of one size."""
    filler = "." * ((size or BODY_SIZE) - 9)
    return [f"{number:08d} {filler}" for number in range(first, first + count)]


def plain(author: str, body: str) -> str:
    return json.dumps({"author": author, "body": body}, ensure_ascii=False, separators=(",", ":"))


GREETING = plain("Server", "Welcome!")


def server_frame(text: str) -> bytes:
    """A text frame as servers send it."""
    payload = text.encode()
    return b"\x81" + length_of(payload, 0) + payload


def client_frame(text: str) -> bytes:
    """A text frame as clients send it, under a mask of zeros, which leaves the payload as it is."""
    payload = text.encode()
    return b"\x81" + length_of(payload, 0x80) + bytes(4) + payload


def length_of(payload: bytes, masked: int) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes([masked | size])
    if size < 65536:
        return bytes([masked | 126]) + size.to_bytes(2, "big")
    return bytes([masked | 127]) + size.to_bytes(8, "big")


@dataclass(frozen=True)
class Speech:
    """How one application greets, and how what is sent or relayed is heard."""

    greeting: str = GREETING
    is_tutorial: bool = False
    is_batched: bool = False  # what comes together comes in arrays, so that its bytes are not known
    is_deflated: bool = False  # its clients offer to take compressed frames

    def greeted(self) -> bytes:
        return server_frame(self.greeting) if self.greeting else b""

    @property
    def offers(self) -> str:
        """What its clients offer with the handshake, as lines of it."""
        deflate = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
        batches = "Sec-WebSocket-Protocol: broadcast.v1.batch, broadcast.v1\r\n"
        return deflate * self.is_deflated + batches * self.is_batched

    def heard(self, texts: Iterable[str], author: str = "Server") -> bytes:
        """The stream of one client that hears `texts`."""
        return b"".join(server_frame(self.worded(text, author)) for text in texts)

    def worded(self, text: str, author: str) -> str:
        return json.dumps({"message": text}) if self.is_tutorial else plain(author, text)

    def relayed(self, text: str, group: str, ref: str = "") -> bytes:
        """What a client sends to be heard in another group than its own, with a ref to be told when it is."""
        if self.is_tutorial:
            return client_frame(json.dumps({"message": text, "room": group}))
        return client_frame(json.dumps({"body": text, "group": group} | ({"ref": ref} if ref else {})))
