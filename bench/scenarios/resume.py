"""All clients are dropped at once and come back: plain, and from an older position."""

from __future__ import annotations

import json

from bench.crowd import Crowd
from bench.link import Link
from bench.scenarios.base import LISTEN, Note, drop
from bench.servers import Server
from bench.speech import BODY_SIZE, server_frame

MISSED = 100  # messages
V1 = f"{LISTEN}?v=1"


def resume(server: Server, note: Note, size: int) -> None:
    """Connects ``size`` clients plain, drops them, and lets them come back as far behind as `MISSED` messages."""
    server.control.ask("send", first=0, count=MISSED, size=BODY_SIZE, persist=True, together=True)
    with Link(server.port, V1) as link:
        welcome = link.read()
        greeting, position = server_frame(welcome.decode()), json.loads(welcome)
        path = f"{V1}&after={position['offset'] - MISSED}&epoch={position['epoch']}"
        missed = missed_by_a_witness(server, path)
        reconnect(server, size, V1, greeting)  # the first crowd has the server load and allocate what the next ones use
        plain = reconnect(server, size, V1, greeting)
        asked = server.control.ask("collect")["queries"]
        behind = reconnect(server, size, path, missed)
        note("resume_queries", (server.control.ask("collect")["queries"] - asked) / size)
    note("reconnect", plain * 1e3)
    note("resume", behind * 1e3)
    note("resume_ratio", behind / plain)


def missed_by_a_witness(server: Server, path: str) -> bytes:
    """The stream of one client that comes back; all others must get the same, to the byte."""
    with Link(server.port, path) as link:
        frames = [link.read() for _ in range(1 + MISSED)]
    welcome, *messages = map(json.loads, frames)
    offsets = [message["offset"] for message in messages]
    if not welcome["recovered"] or offsets != list(range(welcome["offset"] + 1, welcome["offset"] + 1 + MISSED)):
        raise AssertionError(f"A client that came back was told {welcome} and sent {offsets}")
    return b"".join(server_frame(frame.decode()) for frame in frames)


def reconnect(server: Server, size: int, path: str, stream: bytes) -> float:
    """Connects everybody, and drops them at once; the seconds until the last one had its stream."""
    with Crowd(server.port) as crowd:
        seconds = crowd.open([path] * size, stream)
        drop(server, crowd)
    return seconds
