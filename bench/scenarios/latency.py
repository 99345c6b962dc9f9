"""From a publish in one process to the receipt from another, by whatever way the site has, at a steady pace."""

from __future__ import annotations

import time
from statistics import median, quantiles
from zlib import crc32

from bench import process
from bench.crowd import Crowd, Late, Wrong
from bench.scenarios.base import LISTEN, PAUSE, Note
from bench.servers import Server
from bench.speech import BODY_SIZE, bodies

SIZE = 300  # connections
EVERY = 0.05  # seconds
MESSAGES = 300
OF_TUTORIAL = 100  # as many as a channel of Channels holds: a row that falls behind loses none
PATIENCE = 60.0  # seconds for the last ones


def latency(server: Server, note: Note) -> None:
    """Has one process send a durable message every 50 ms, and notes when each client of another has it."""
    messages = OF_TUTORIAL if server.row.speech.is_tutorial else MESSAGES
    with server.another() as sender, Crowd(server.port) as crowd:
        crowd.open([LISTEN] * SIZE, server.row.speech.greeted())
        tell(sender, 0)
        crowd.receive(server.row.speech.heard(bodies(0, 1)))
        time.sleep(PAUSE)
        arrivals = Arrivals(crowd, server.row.speech.heard(bodies(1, messages)), messages)
        used = both(server, sender)
        begun = time.monotonic()
        for number in range(messages):
            arrivals.go_on(begun + number * EVERY)
            arrivals.sent.append(time.monotonic())
            tell(sender, 1 + number)
        arrivals.finish()
        for _ in range(1 + messages):
            sender.control.answer()
        note("hint_cpu", (both(server, sender) - used) / messages * 1e3)
    for key, delays in (("latency", arrivals.delays), ("hint", list(arrivals.last.values()))):
        note(key, median(delays) * 1e3)
        note(f"{key}_p99", quantiles(delays, n=100)[-1] * 1e3)


def both(server: Server, sender: Server) -> float:
    return process.processor_seconds(server.pid) + process.processor_seconds(sender.pid)


def tell(sender: Server, number: int) -> None:
    sender.control.tell("send", first=number, count=1, size=BODY_SIZE, persist=True, together=True)


class Arrivals:
    """What a crowd has heard of a stream of messages that all have one size, and how long each took to each client."""

    def __init__(self, crowd: Crowd, stream: bytes, messages: int) -> None:
        self.crowd = crowd
        self.stream = stream
        self.messages = messages
        self.message_size = len(stream) // messages
        self.sent: list[float] = []
        self.delays: list[float] = []
        self.last: dict[int, float] = {}  # by messages: how long it took to the client that was last
        self._sizes = dict.fromkeys(crowd.sockets, 0)
        self._sums = dict.fromkeys(crowd.sockets, 0)

    def go_on(self, until: float) -> None:
        """Reads up to a moment."""
        for fd, data in self.crowd.pieces(until):
            now, before = time.monotonic(), self._sizes[fd]
            self._sums[fd] = crc32(data, self._sums[fd])
            self._sizes[fd] = before + len(data)
            whole = range(before // self.message_size, self._sizes[fd] // self.message_size)
            for number in whole:
                self.last[number] = now - self.sent[number]
                self.delays.append(self.last[number])

    def finish(self) -> None:
        """Reads the rest. Raises Late if it does not come, and Wrong if anything else does."""
        ends = time.monotonic() + PATIENCE
        while len(self.delays) < self.messages * len(self.crowd):
            if time.monotonic() > ends:
                raise Late(f"{self.messages * len(self.crowd) - len(self.delays)} messages have not arrived")
            self.go_on(time.monotonic() + EVERY)
        if set(self._sums.values()) != {crc32(self.stream)}:
            raise Wrong("Clients received something else than what was sent")
