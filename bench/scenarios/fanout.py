"""One message to all, and fifty; and what the connections cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from bench import process
from bench.crowd import Crowd
from bench.figures import counted
from bench.scenarios.base import LISTEN, Announcer, Note, Sent, drop
from bench.servers import Server

FIRST = 20  # connections
SETTLING = 1.5  # seconds: what a server does once, such as to open its database, is no connection's cost
MANY = 50


@dataclass(frozen=True)
class Way:
    """A way to send, measured some times within a few seconds."""

    key: str
    count: int
    repeats: int
    persist: bool = False
    together: bool = True


ONE = Way("one", 1, 15)
BURST = Way("burst", MANY, 5)
OURS = (
    Way("one_durable", 1, 15, persist=True),
    BURST,
    Way("burst_durable", MANY, 5, persist=True),
    Way("loop", MANY, 5, together=False),
    Way("loop_durable", MANY, 5, persist=True, together=False),
)


def fan_out(
    server: Server, note: Note, size: int, budget: float, in_every_way: bool, leave_out: Callable[[str], None]
) -> None:
    """Opens ``size`` connections and sends to them, by this project's ``in_every_way`` that it has.

    What is likely to take longer than ``budget`` seconds is left out, and ``leave_out`` told why.
    """
    with Crowd(server.port, offers=server.row.speech.offers) as crowd:
        connect(server, crowd, size, note)
        if not server.row.can_send:
            return
        announcer = Announcer(server, crowd)
        announcer.warm_up()
        seconds = perform(announcer, ONE, note)
        ways = OURS if server.row.is_ours and in_every_way else (BURST,)
        affordable = [way for way in ways if seconds * way.count <= budget]
        for way in affordable:
            perform(announcer, way, note)
        if len(affordable) < len(ways):
            fifty = f"fifty messages to {counted(size, 'connection')} would take about {seconds * MANY:,.1f} s"
            leave_out(f"{fifty}, more than the {budget:g} s of --budget")


def connect(server: Server, crowd: Crowd, size: int, note: Note) -> None:
    """Opens the crowd's connections beside a few that warm the server up, and notes their cost."""
    greeting = server.row.speech.greeted()
    with Crowd(server.port, offers=server.row.speech.offers) as first:
        first.open([LISTEN] * FIRST, greeting)
        time.sleep(SETTLING)
        server.control.ask("collect")
        resident, used = process.resident_bytes(server.pid), process.processor_seconds(server.pid)
        seconds = crowd.open([LISTEN] * size, greeting)
        note("connect_cpu", (process.processor_seconds(server.pid) - used) / size * 1e3)
        note("connect", seconds / size * 1e3)
        server.control.ask("collect")
        note("memory", (process.resident_bytes(server.pid) - resident) / size / 1024)
        drop(server, first)


def perform(announcer: Announcer, way: Way, note: Note, seconds: float = 5.0) -> float:
    """Sends in one way, for some seconds at most, and notes the medians; the seconds of one."""
    ends = time.monotonic() + seconds
    sent: list[Sent] = []
    while len(sent) < way.repeats and (not sent or time.monotonic() < ends):
        sent.append(announcer.send(way.count, way.persist, way.together))
    typical = median(one.seconds for one in sent)
    deliveries = len(announcer.crowd) * way.count
    note(way.key, typical * 1e3)
    note(f"{way.key}_cpu", median(one.processor_seconds for one in sent) / deliveries * 1e6)
    note(f"{way.key}_client", median(one.client_seconds for one in sent) / deliveries * 1e6)
    return typical
