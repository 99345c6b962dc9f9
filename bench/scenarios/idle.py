"""What connections cost while nobody says anything."""

from __future__ import annotations

from bench import process
from bench.crowd import Crowd
from bench.scenarios.base import LISTEN, Note
from bench.servers import Server

GROUPS = (LISTEN, f"{LISTEN}/bench.two", f"{LISTEN}/bench.three")
SETTLING = 3.0  # seconds


def idle(server: Server, note: Note, size: int, seconds: float) -> None:
    """Opens ``size`` connections in three groups and notes the processor's use while they answer pings only.

    ``seconds`` that are less than daphne takes from ping to ping leave the pings out.
    """
    with Crowd(server.port) as crowd:
        crowd.open([GROUPS[index % len(GROUPS)] for index in range(size)], server.row.speech.greeted())
        crowd.idle(SETTLING)
        used = process.processor_seconds(server.pid)
        crowd.idle(seconds)
        note("idle", (process.processor_seconds(server.pid) - used) / seconds * 100)
