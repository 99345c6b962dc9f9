"""Connections that follow two groups, and connections beside some that read slowly or not at all."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from statistics import median

from bench.crowd import Crowd
from bench.scenarios.base import LISTEN, Announcer, Note, meanwhile
from bench.scenarios.fanout import MANY, ONE, Way, perform
from bench.servers import Server
from bench.speech import client_frame

OTHER = '{"type":"subscribe","group":"bench.two"}'
LOOP = Way("loop", MANY, 5, together=False)
STUCK = SLOW = 50  # connections
SIP = 2048  # bytes that a slow one reads at a time
SIP_EVERY = 0.05  # seconds
RECEIVE_BUFFER = 4096  # bytes that the kernel of a slow or stuck client takes for it
BODY = 1000  # characters
BURSTS = 10


def two_groups(server: Server, note: Note, size: int) -> None:
    """Has every client follow a second group, as each page with announcements does, and sends to the first."""
    greeting = server.row.speech.greeted()
    with Crowd(server.port) as crowd:
        crowd.open([LISTEN] * size, greeting)
        for connection in crowd.sockets.values():
            connection.send(client_frame(OTHER))
        crowd.receive(greeting)
        announcer = Announcer(server, crowd)
        announcer.warm_up()
        for way in (ONE, LOOP):
            perform(announcer, way, lambda key, value: note(f"two_{key}", value))


def among_slow(server: Server, note: Note, size: int) -> None:
    """Sends bursts to clients that read, alone and then beside fifty that read nothing and fifty that read slowly."""
    greeting = server.row.speech.greeted()
    readers = size - STUCK - SLOW
    with (
        server.twin() as twin,
        Crowd(twin.port) as alone,
        Crowd(server.port) as beside,
        Crowd(server.port, RECEIVE_BUFFER) as stuck,
        Crowd(server.port, RECEIVE_BUFFER) as slow,
    ):
        alone.open([LISTEN] * readers, greeting)
        beside.open([LISTEN] * readers, greeting)
        stuck.open([LISTEN] * STUCK, greeting)
        slow.open([LISTEN] * SLOW, greeting)
        announcers = {"alone": Announcer(twin, alone), "beside": Announcer(server, beside)}
        seconds: dict[str, list[float]] = {kind: [] for kind in announcers}
        with meanwhile(partial(sip, slow), SIP_EVERY):
            for number in range(BURSTS + 2):
                for kind, announcer in announcers.items():
                    sent = announcer.send(MANY, size=BODY)
                    if number >= 2:  # by then the slow ones are behind
                        seconds[kind].append(sent.seconds)
        for kind, each in seconds.items():
            note(f"slow_{kind}", median(each) * 1e3)


def sip(crowd: Crowd) -> None:
    """Has a crowd's clients read a little."""
    for connection in crowd.sockets.values():
        with suppress(BlockingIOError):
            connection.recv(SIP)
