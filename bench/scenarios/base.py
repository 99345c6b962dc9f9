"""What the scenarios share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
WARM_UP = 20  # messages
WARM_UP_SECONDS = 5.0
DEPARTURE_SECONDS = 60


@dataclass(frozen=True)
class Sent:
    """One sending: when the server began, when each client had everything, and what it cost server and load client.

    Every process of a machine has the same monotonic clock.
    """

    begun: float
    moments: list[float]
    processor_seconds: float
    client_seconds: float

    @property
    def seconds(self) -> float:
        """From the call that sends until the last client has it."""
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
        speech = self.server.row.speech
        stream = speech.heard(bodies(first, count, size))
        used = process.processor_seconds(self.server.pid)
        self.server.control.tell("send", first=first, count=count, size=size, persist=persist, together=together)
        if speech.is_batched:
            moments, busy = self.crowd.receive_messages(count)
        else:
            moments, busy = self.crowd.receive(stream, checked=checked)
        begun = self.server.control.answer()["begun"]
        time.sleep(REST)
        return Sent(begun, moments, process.processor_seconds(self.server.pid) - used, busy)

    def warm_up(self) -> None:
        """Makes connections old: of a new one, Linux acknowledges each of the first segments by itself."""
        ends = time.monotonic() + WARM_UP_SECONDS
        for _ in range(WARM_UP):
            self.send()
            if time.monotonic() > ends:
                return


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


@contextmanager
def meanwhile(do: Callable[[], None], every: float) -> Iterator[None]:
    """Does something again and again, beside what is done here. If it fails, that is raised at the end."""
    ended = threading.Event()
    failures: list[Exception] = []

    def go_on() -> None:
        try:
            while not ended.is_set():
                begun = time.monotonic()
                do()
                ended.wait(max(0.0, begun + every - time.monotonic()))
        except Exception as failure:
            failures.append(failure)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if failures:
        raise failures[0]
