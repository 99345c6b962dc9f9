"""What the scenarios share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bench import process
from bench.crowd import Crowd, Late
from bench.servers import Server
from bench.speech import BODY_SIZE, bodies

Note = Callable[[str, float], None]
"""Takes a figure's key and its value."""

LISTEN = "/ws"
PAUSE = 0.15  # seconds between two measurements, in which the server comes to rest
REST = 0.005  # seconds after an answer: the clock of a process that still runs is behind by up to a tick
DEPARTURE_SECONDS = 60


@dataclass(frozen=True)
class Sent:
    """One sending: when it was triggered, when each client had everything, and what it cost server and load client."""

    begun: float
    moments: list[float]
    processor_seconds: float
    client_seconds: float

    @property
    def seconds(self) -> float:
        """From the trigger until the last client has it."""
        return self.moments[-1] - self.begun


class Announcer:
    """Has a server send numbered messages to a crowd that listens."""

    def __init__(self, server: Server, crowd: Crowd) -> None:
        self.server = server
        self.crowd = crowd
        self._first = 0

    def send(
        self,
        count: int = 1,
        persist: bool = False,
        together: bool = True,
        size: int = BODY_SIZE,
        checked: bool = True,
        pause: float = PAUSE,
    ) -> Sent:
        """Sends, and returns when every client has received all of it, and nothing else, in order."""
        time.sleep(pause)
        first, self._first = self._first, self._first + count
        stream = self.server.row.speech.heard(bodies(first, count, size))
        used, own = process.processor_seconds(self.server.pid), time.process_time()
        begun = time.monotonic()
        self.server.control.tell("send", first=first, count=count, size=size, persist=persist, together=together)
        moments = self.crowd.receive(stream, checked=checked)
        own = time.process_time() - own
        self.server.control.answer()
        time.sleep(REST)
        return Sent(begun, moments, process.processor_seconds(self.server.pid) - used, own)


def drop(server: Server, crowd: Crowd) -> None:
    """Drops a crowd at once, and returns when the server has noticed."""
    left = process.open_files(server.pid) - len(crowd)
    crowd.drop()
    deadline = time.monotonic() + DEPARTURE_SECONDS
    while process.open_files(server.pid) > left:
        if time.monotonic() > deadline:
            raise Late("The server still has connections whose clients are gone")
        time.sleep(0.02)
    time.sleep(PAUSE)
