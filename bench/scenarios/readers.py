"""Readers who come in a crowd, come back, and do nothing."""

from __future__ import annotations

import time

from bench import process
from bench.crowd import PATIENCE, Late
from bench.readers import Kind, Position, Readers, position_in, subscribe
from bench.scenarios.base import Note, drop
from bench.scenarios.fanout import FIRST
from bench.scenarios.fanout import SETTLING as WARMING
from bench.scenarios.idle import SETTLING
from bench.servers import Server
from bench.speech import BODY_SIZE

MISSED = 100  # messages
USERS_BESIDE = 50  # beside those who are measured: the first ones, and who opens pages
FULL, QUIET_CONNECTIONS = 50, 200  # groups of a connection (MAX_GROUPS), and how many connections follow quiet ones
QUIET = {"few": 1, "many": FULL}
"""How many groups each of these connections follows: of a hundred two share one, of ten thousand each has its own."""


def come(server: Server, note: Note, kind: Kind, size: int) -> None:
    """Has readers come for the first time and notes their cost; then drops them, and has them come back to what they
    missed in the shared group."""
    with Readers(server.port) as crowd:
        warm_up(server, kind, size)
        resident, used = process.resident_bytes(server.pid), process.processor_seconds(server.pid)
        seconds = crowd.come(kind.readers(range(1, size + 1)))
        note("readers_cpu", (process.processor_seconds(server.pid) - used) / size * 1e3)
        note("readers", seconds / size * 1e3)
        server.control.ask("collect")
        note("readers_memory", (process.resident_bytes(server.pid) - resident) / size / 1024)
        drop(server, crowd)
    used, seconds = come_back(server, kind, size)
    note("readers_resume_cpu", used / size * 1e3)
    note("readers_resume", seconds / size * 1e3)


def count(server: Server, note: Note, kind: Kind, size: int) -> None:
    """Notes the queries of a reader who comes for the first time, who comes back to another process, and who comes
    back there again to what was missed."""
    with server.another() as other:
        for number, (each, key) in enumerate(((server, "new"), (other, "back"))):
            warm_up(each, kind, size + number * FIRST)
            before = queries(each)
            with Readers(each.port) as crowd:
                crowd.come(kind.readers(range(1, size + 1)))
                note(f"readers_{key}_queries", (queries(each) - before) / size)
                drop(each, crowd)
        before = queries(other)
        come_back(other, kind, size)
        note("readers_resume_queries", (queries(other) - before) / size)


def come_back(server: Server, kind: Kind, size: int) -> tuple[float, float]:
    """Has readers come back to a hundred messages of the shared group: the processor's seconds, and the clock's."""
    end = send(server, MISSED)
    before = Position(end.epoch, end.offset - MISSED)
    with Readers(server.port) as crowd:
        used = process.processor_seconds(server.pid)
        seconds = crowd.come(kind.readers(range(1, size + 1), before), MISSED)
        used = process.processor_seconds(server.pid) - used
        drop(server, crowd)
    return used, seconds


def warm_up(server: Server, kind: Kind, size: int) -> None:
    """Has a few others come and go: what a server does once is no reader's cost."""
    with Readers(server.port) as first:
        first.come(kind.readers(range(size + 1, size + 1 + FIRST)))
        time.sleep(WARMING)
        drop(server, first)
    server.control.ask("collect")


def idle(server: Server, note: Note, kind: Kind, size: int, seconds: float) -> None:
    """Notes the processor's use while readers answer pings and do nothing else."""
    with Readers(server.port) as crowd:
        crowd.come(kind.readers(range(1, size + 1)))
        note("readers_idle", percent_idle(server, crowd, seconds))


def quiet(server: Server, note: Note, seconds: float) -> None:
    """Notes the same for connections that follow a hundred quiet groups, and for as many that follow ten thousand."""
    guests = Kind("", "").readers(range(1, QUIET_CONNECTIONS + 1))
    with server.twin() as twin:
        for (key, each), one in zip(QUIET.items(), (server, twin), strict=True):
            with Readers(one.port) as crowd:
                crowd.come([guest.following(quiet_groups(guest.number, each)) for guest in guests])
                note(f"quiet_{key}", percent_idle(one, crowd, seconds))


def quiet_groups(number: int, each: int) -> list[bytes]:
    """What one of these connections asks for."""
    if each == 1:
        return [subscribe(f"bench.quiet.{(number - 1) // 2}")]
    return [subscribe(f"bench.quiet.{number}.{index}") for index in range(each)]


def percent_idle(server: Server, crowd: Readers, seconds: float) -> float:
    crowd.idle(SETTLING)
    used = process.processor_seconds(server.pid)
    crowd.idle(seconds)
    return (process.processor_seconds(server.pid) - used) / seconds * 100


def queries(server: Server) -> int:
    answer = server.control.ask("collect")
    return int(answer["queries"] + answer["of_visitors"])


def send(server: Server, count: int) -> Position:
    """Has messages sent to the log of the shared group: the position after them, once the server tells it to others."""
    due = position_in(server.port).offset + count
    server.control.ask("send", first=0, count=count, size=BODY_SIZE, persist=True, together=True)
    ends = time.monotonic() + PATIENCE
    while (end := position_in(server.port)).offset < due:
        if time.monotonic() > ends:
            raise Late("The server does not tell others of what it has sent")
    return end
