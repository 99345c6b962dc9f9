"""Messages per second: relayed from client to client, and published by the site's own code."""

from __future__ import annotations

import time
from itertools import cycle
from uuid import uuid4

from bench import process
from bench.crowd import Crowd, Wrong
from bench.scenarios.base import LISTEN, PAUSE, Note
from bench.servers import Server
from bench.speech import bodies

LISTENERS = 10
SENDERS = 200
ELSEWHERE = "/ws/bench.quiet"  # where those who only send listen
RELAYS = {"relay_many": SENDERS, "relay_few": 4}
FEWER = 4  # times fewer messages from a few, who are slower
TUTORIAL_UNDER_WAY = 80  # its channels drop what exceeds a hundred
WAYS = {"publish_one": (1, 1, 10), "publish_threads": (16, 1, 2), "publish_together": (1, 100, 1)}
"""How many threads, how many messages a call, and what share of them all it is tried with."""


def relay(server: Server, note: Note, total: int) -> None:
    """Has 200 clients say ``total`` messages, each with one under way, to 10 listeners."""
    under_way = TUTORIAL_UNDER_WAY if server.row.speech.is_tutorial else SENDERS
    relay_from(server, note, total, SENDERS, under_way, "relay", has_refs=False)


def relay_with_refs(server: Server, note: Note, total: int) -> None:
    """Has 200 clients say messages with refs, as pages do, and then 4 of them, who hear that each is in the log."""
    for key, senders in RELAYS.items():
        relay_from(server, note, total, senders, senders, key, has_refs=True)
        total //= FEWER


def relay_from(server: Server, note: Note, total: int, count: int, under_way: int, key: str, has_refs: bool) -> None:
    speech = server.row.speech
    with Crowd(server.port) as listeners, Crowd(server.port) as senders:
        listeners.open([LISTEN] * LISTENERS, speech.greeted())
        senders.open([ELSEWHERE] * count, speech.greeted())
        texts = bodies(0, total)
        frames = iter([speech.relayed(text, "broadcast", str(uuid4()) if has_refs else "") for text in texts])
        turns = cycle(senders.sockets.values())
        transcript = Transcript(listeners, len(speech.heard(texts[:1], "Guest")))
        used, begun, sent = process.processor_seconds(server.pid), time.monotonic(), 0
        while transcript.messages < total:
            for _ in range(min(total, int(transcript.messages) + under_way) - sent):
                next(turns).sendall(next(frames))
                sent += 1
            transcript.go_on()
            if has_refs:
                senders.throw_away()
        note(key, total / (time.monotonic() - begun))
        note(f"{key}_cpu", (process.processor_seconds(server.pid) - used) / total * 1e6)
        transcript.check([speech.heard([text], "Guest") for text in texts])


def publish(server: Server, note: Note, total: int) -> None:
    """Publishes to the log by `send()` in a loop, in threads, and by `send_many()`, while 10 clients listen."""
    speech = server.row.speech
    with Crowd(server.port) as listeners:
        listeners.open([LISTEN] * LISTENERS, speech.greeted())
        for key, (threads, together, share) in WAYS.items():
            count = total // share
            time.sleep(PAUSE)
            texts = bodies(0, count)
            transcript = Transcript(listeners, len(speech.heard(texts[:1])))
            begun = time.monotonic()
            server.control.tell("publish", count=count, threads=threads, together=together)
            while transcript.messages < count:
                transcript.go_on()
            server.control.answer()
            note(key, count / (time.monotonic() - begun))
            transcript.check([speech.heard([text]) for text in texts])


class Transcript:
    """What some listeners hear, kept to the last byte."""

    def __init__(self, listeners: Crowd, message_size: int) -> None:
        self.listeners = listeners
        self.message_size = message_size
        self.heard = {fd: bytearray() for fd in listeners.sockets}
        self.received = 0

    @property
    def messages(self) -> float:
        """How many messages each has heard, on average."""
        return self.received / self.message_size / len(self.heard)

    def go_on(self) -> None:
        self.received += self.listeners.read(self.heard)

    def check(self, frames: list[bytes]) -> None:
        """Raises Wrong unless all have heard the same, and each frame once."""
        streams = set(map(bytes, self.heard.values()))
        size = self.message_size
        for stream in streams:
            if sorted(stream[at : at + size] for at in range(0, len(stream), size)) != sorted(frames):
                raise Wrong("Listeners did not hear each message once")
        if len(streams) > 1:
            raise Wrong("Listeners heard messages in different orders")
