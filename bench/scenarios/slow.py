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
TOGETHER = 20  # messages
WARM_UP = 20  # bursts, until the server keeps as many messages as it ever does
BREATH = 0.02  # seconds between a burst and the next one, which is another server's
RECEIVE_BUFFER = 1 << 16  # what the slow clients' own kernel takes for them, in bytes
SETTLING = 2.0  # seconds
WATCH_EVERY = 0.05  # seconds

FRAME_BYTES = len(server_frame(plain("Server", "." * BODY)))


class Audience:
    """Clients of one server that all read, what each burst took to each of them, and how much the server grew."""

    def __init__(self, server: Server, crowd: Crowd, size: int) -> None:
        self.server = server
        self.delays: list[float] = []
        crowd.open([LISTEN] * size, server.row.speech.greeted())
        self._announcer = Announcer(server, crowd)
        for _ in range(WARM_UP):
            self._announcer.send(TOGETHER, persist=True, size=BODY)
        self._before = self._most = memory(server)

    def hear_a_burst(self) -> None:
        sent = self._announcer.send(TOGETHER, persist=True, size=BODY, checked=False, pause=BREATH)
        self.delays += [moment - sent.begun for moment in sent.moments]
        self._most = max(self._most, memory(self.server))

    def note(self, note: Note, kind: str) -> None:
        note(f"p99_{kind}", quantiles(self.delays, n=100)[-1] * 1e3)
        note(f"growth_{kind}", (self._most - self._before) / 2**20)


def one_slow(server: Server, note: Note, size: int, megabytes: float) -> None:
    """Sends so many megabytes to each of ``size`` clients, of whom one does not read, and by a twin without that one.

    The two take turns burst by burst, so that what the machine does besides meets both alike. Notes for each the
    99th percentile over all readers and bursts, and how much the server's memory grew. At the end the slow one reads
    on, and must get every message once, in order, or be told of a reset.
    """
    bursts = round(megabytes * 1e6 / FRAME_BYTES / TOGETHER)
    with server.twin() as twin, Crowd(twin.port) as alone, Crowd(server.port) as beside:
        without = Audience(twin, alone, size - 1)
        having = Audience(server, beside, size - 1)
        with Link(server.port, f"{LISTEN}?v=1", RECEIVE_BUFFER) as link:
            begin = json.loads(link.read())["offset"]
            turns = [without, having]
            for _ in range(bursts):
                for audience in turns:
                    audience.hear_a_burst()
                turns.reverse()
            without.note(note, "without")
            having.note(note, "with")
            note("slow_resets", read_on(link, begin, begin + bursts * TOGETHER))


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
