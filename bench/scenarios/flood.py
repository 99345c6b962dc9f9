"""A client that sends without end and reads nothing."""

from __future__ import annotations

import time

from bench.link import Link
from bench.scenarios.base import LISTEN, Note
from bench.scenarios.slow import memory
from bench.servers import Server
from bench.speech import client_frame, plain

PATIENCE = 5.0  # seconds for the server to take anything more
PIECE = 1 << 16  # bytes
WATCH_EVERY = 0.05  # seconds

FRAMES = client_frame(plain("Flood", "." * 1000)) * 64
# Parts of a message that never ends: a text frame and its continuations, none of them the last.
BEGINNING = b"\x01\xfe\xff\xff" + bytes(4) + b"." * 65535
CONTINUATION = b"\x00" + BEGINNING[1:]


def flood(server: Server, note: Note, megabytes: float) -> None:
    """Sends so many megabytes of small messages, then of one message without end, under the app's own limits."""
    for key, first, repeated in (("flood_messages", b"", FRAMES), ("flood_fragments", BEGINNING, CONTINUATION)):
        growth, taken = pour(server, first, repeated, megabytes)
        note(key, growth)
        note(f"{key}_taken", taken)


def pour(server: Server, first: bytes, repeated: bytes, megabytes: float) -> tuple[float, float]:
    """How many MiB the server grew at most, and how many MB it and the kernel took.

    It ends when they have taken everything, or nothing for a while, or when the server has closed the connection.
    """
    with Link(server.port, LISTEN) as link:
        link.read()
        server.control.ask("collect")
        before = most = memory(server)
        link.socket.setblocking(False)
        left, pending = megabytes * 1e6, memoryview(first or repeated)
        taken_at = watched_at = time.monotonic()
        while left > 0 and time.monotonic() < taken_at + PATIENCE:
            try:
                taken = link.socket.send(pending[:PIECE])
            except BlockingIOError:
                time.sleep(0.001)
            except ConnectionError:
                break
            else:
                taken_at = time.monotonic()
                left, pending = left - taken, pending[taken:] or memoryview(repeated)
            if time.monotonic() > watched_at + WATCH_EVERY:
                most, watched_at = max(most, memory(server)), time.monotonic()
        time.sleep(WATCH_EVERY)
        return (max(most, memory(server)) - before) / 2**20, megabytes - left / 1e6
