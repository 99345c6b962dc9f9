"""Clients that stop reading while messages go by, and what they cost the server and the others."""

from __future__ import annotations

import json
import time
from statistics import quantiles

from bench import process
from bench.crowd import Crowd
from bench.link import Link
from bench.scenarios.base import LISTEN, Announcer, Note
from bench.servers import Server
from bench.speech import BODY_SIZE, bodies, plain, server_frame

BODY = 4000  # characters
TOGETHER = 50  # messages
RECEIVE_BUFFER = 1 << 16  # what the slow clients' own kernel takes for them, in bytes
SETTLING = 2.0  # seconds
WATCH_EVERY = 0.05  # seconds

FRAME_BYTES = len(server_frame(plain("Server", "." * BODY)))


def one_slow(server: Server, note: Note, size: int, megabytes: float, is_there: bool) -> None:
    """Sends so many megabytes to each of ``size`` clients, of whom one does not read, if it ``is_there``.

    Notes the 99th percentile of the others, over all clients and all bursts of fifty messages, and how much
    the server's memory grew. At the end the slow one reads on, and must get every message once, in
    order, or be told of a reset.
    """
    kind = "with" if is_there else "without"
    with Crowd(server.port) as crowd:
        crowd.open([LISTEN] * (size - 1), server.row.speech.greeted())
        announcer = Announcer(server, crowd)
        announcer.send(TOGETHER, persist=True, size=BODY)
        with Link(server.port, f"{LISTEN}?v=1", RECEIVE_BUFFER) as link:
            welcome = json.loads(link.read())
            if not is_there:
                link.close()
            before = memory(server)
            delays, most = [], before
            for _ in range(round(megabytes * 1e6 / FRAME_BYTES / TOGETHER)):
                sent = announcer.send(TOGETHER, persist=True, size=BODY, checked=False)
                delays += [moment - sent.begun for moment in sent.moments]
                most = max(most, memory(server))
            note(f"p99_{kind}", quantiles(delays, n=100)[-1] * 1e3)
            note(f"growth_{kind}", (most - before) / 2**20)
            if is_there:
                head = welcome["offset"] + len(delays) // (size - 1) * TOGETHER
                note("slow_resets", read_on(link, welcome["offset"], head))


def read_on(link: Link, offset: int, head: int) -> int:
    """Reads from ``offset`` to ``head``; how many resets there were. Raises if anything is skipped or repeated."""
    resets = 0
    while offset < head:
        frame = json.loads(link.read())
        if frame["type"] == "reset":
            resets += 1
        elif frame["type"] != "message" or frame["offset"] != offset + 1:
            raise AssertionError(f"At {offset} a slow client was sent {str(frame)[:300]}")
        offset = frame["offset"]
    return resets


def all_slow(server: Server, note: Note, size: int, megabytes: float) -> None:
    """Sends so many megabytes to clients of whom none reads; notes the memory that each of them costs."""
    with Crowd(server.port, RECEIVE_BUFFER) as crowd:
        crowd.open([LISTEN] * size, server.row.speech.greeted())
        server.control.ask("send", first=0, count=TOGETHER, size=BODY_SIZE, persist=True, together=True)
        crowd.receive(server.row.speech.heard(bodies(0, TOGETHER)))
        before = most = memory(server)
        for _ in range(round(megabytes * 1e6 / FRAME_BYTES / TOGETHER)):
            server.control.ask("send", first=0, count=TOGETHER, size=BODY, persist=True, together=True)
            most = max(most, memory(server))
        ends = time.monotonic() + SETTLING
        while time.monotonic() < ends:
            most = max(most, memory(server))
            time.sleep(WATCH_EVERY)
        note("all_slow", (most - before) / size / 1024)


def memory(server: Server) -> int:
    """What the server holds, in its own memory and in its sockets."""
    return process.resident_bytes(server.pid) + process.socket_bytes(server.port)
