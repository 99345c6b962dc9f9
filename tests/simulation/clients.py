"""Clients that follow the page's protocol: they resume, subscribe, say things until these are heard, come back."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from tests.simulation.connection import Connection
from tests.simulation.judge import Sent
from tests.simulation.process import SimulatedProcess

if TYPE_CHECKING:
    from tests.simulation.world import World

COMES_BACK = 1.0  # seconds at most
HEARTBEAT = 4.0  # seconds between two pings, of which the earlier must have been answered


class Place:
    """How far one client has got in one group."""

    def __init__(self, client: SimulatedClient, group: str) -> None:
        self.client = client
        self.group = group
        self.epoch = ""
        self.offset: int | None = None
        self.is_live = False
        self.asked_at = 0.0
        self.asked: tuple[str, int | None] = ("", None)
        self.live_at = 0.0
        self.ephemerals: set[str] = set()

    def __str__(self) -> str:
        return f"{self.client.name} in {self.group} at {self.epoch or '-'} {self.offset}"

    @property
    def connection(self) -> Connection:
        assert self.client.connection is not None
        return self.client.connection

    def ask(self) -> dict[str, Any]:
        """What it asks for when it joins."""
        self.is_live, self.asked_at = False, self.client.world.scheduler.now
        self.asked = self.epoch, self.offset
        self.ephemerals.clear()
        return {} if self.offset is None else {"after": self.offset, "epoch": self.epoch}

    def move(self, epoch: str, offset: int) -> None:
        self.epoch, self.offset = epoch, offset


class SimulatedClient:
    """One page. It is on one connection at a time, in one group by its address and in others by subscribing."""

    def __init__(self, world: World, name: str, groups: list[str]) -> None:
        self.world = world
        self.name = name
        self.places = {group: Place(self, group) for group in groups}
        self.connection: Connection | None = None
        self.connections = 0
        self._last: SimulatedProcess | None = None
        self.outbox: dict[str, tuple[str, str]] = {}  # by ref: what is yet to be heard
        self.is_gone = False
        self._random = world.scheduler.random(name)
        self._has_ponged = True
        self._hurries = 0  # how many times more it leaves with the next message, at once, for another process

    def connect(self) -> None:
        if self.connection is not None or self.is_gone:
            return
        process = self.world.some_daphne(self._random, self._last)
        if process is None:
            self.come_back()
            return
        self.connections += 1
        self._last = process
        first, *others = self.places.values()
        query = "&".join(["v=1", *(f"{key}={value}" for key, value in first.ask().items())])
        connection = self.connection = Connection(self, process, f"/ws/{first.group}/", query)
        self.world.note(self.name, "connects to", process.name, first.group, query)
        for place in others:
            connection.write(type="subscribe", group=place.group, **place.ask())
        for ref, (group, body) in self.outbox.items():
            connection.write(body=body, ref=ref, group=group)
        self._has_ponged = True
        self._beat(connection)

    def say(self, group: str, body: str) -> None:
        """Says something, until it is heard."""
        ref = str(uuid.UUID(int=self._random.getrandbits(128)))
        self.outbox[ref] = group, body
        self.world.judge.sent[body] = Sent(body, group, self.world.scheduler.now, outcome="said")
        if self.connection is not None:
            self.connection.write(body=body, ref=ref, group=group)

    def leave(self) -> None:
        """Goes to another page."""
        self.is_gone = True
        if self.connection is not None:
            self._drop(self.connection)

    def drop(self, seconds: float = 0.0) -> None:
        """Loses its connection and comes back after so long, or a little later."""
        if self.connection is not None:
            self._drop(self.connection)
            self.come_back(seconds)

    def subscribe_again(self) -> None:
        """Asks once more for what it has, on the same connection."""
        if self.connection is not None:
            for place in self.places.values():
                self._subscribe_again(self.connection, place)

    def hurry(self, times: int) -> None:
        """Loses its connection with the next message, and is back at once, where that may not be known yet."""
        self._hurries = times

    def come_back(self, seconds: float = 0.0) -> None:
        most = self._random.choice([COMES_BACK / 20, COMES_BACK])
        self.world.scheduler.call_at(self.world.scheduler.now + seconds + self._random.uniform(0, most), self.connect)

    def _drop(self, connection: Connection) -> None:
        connection.cut()
        self.connection = None
        for place in self.places.values():
            place.is_live = False

    def _beat(self, connection: Connection) -> None:
        if connection is not self.connection:
            return
        if not self._has_ponged and not connection.is_shut:
            self.world.note(self.name, "finds its connection dead")
            self.drop()
            return
        if not connection.is_shut:
            self._has_ponged = False
            connection.write(type="ping")
        self.world.scheduler.call_at(self.world.scheduler.now + HEARTBEAT, self._beat, connection)

    def on_close(self, connection: Connection, code: int) -> None:
        self.world.note(self.name, "closed", code)
        if connection is self.connection:
            self._drop(connection)
            self.come_back()

    def on_frame(self, connection: Connection, fields: dict[str, Any]) -> None:
        if connection is not self.connection:
            return
        self.world.note(self.name, "<", fields)
        judge = self.world.judge
        kind = fields["type"]
        if kind == "pong":
            self._has_ponged = True
        elif kind == "error":
            self._on_error(connection, fields)
        elif kind == "bye":
            pass  # the close follows
        elif fields.get("duplicate"):
            self._hear(fields)
        else:
            place = self.places[fields["group"]]
            if kind == "welcome":
                judge.on_welcome(place, fields)
                place.is_live, place.live_at = True, self.world.scheduler.now
                place.move(fields["epoch"], fields["offset"])
            elif kind == "reset":
                judge.on_reset(place, fields)
                place.move(fields["epoch"], fields["offset"])
                for ref in self.outbox:  # the answer may be in what was skipped
                    self._say_again(connection, ref)
            else:
                judge.on_message(place, fields)
                if fields["offset"] is not None:
                    place.move(place.epoch, fields["offset"])
                self._hear(fields)
            if self._hurries and kind != "welcome":
                self._hurries -= 1
                self._drop(connection)
                self.world.scheduler.call_at(self.world.scheduler.now + self._random.uniform(0, 0.01), self.connect)

    def _hear(self, fields: dict[str, Any]) -> None:
        if self.outbox.pop(fields.get("ref") or "", None) is not None:
            self.world.judge.sent[fields["body"]].outcome = "sent"

    def _on_error(self, connection: Connection, fields: dict[str, Any]) -> None:
        """Tries again what was not taken and may be; the rest it gives up, as the page does."""
        now = self.world.scheduler.now
        after = now + (fields.get("retry_after_ms") or 500) / 1000
        is_spoilt = self.world.judge.truth.spoilt is not None
        if fields["code"] not in ("unavailable", "rate_limited"):
            self.outbox.pop(fields.get("ref") or "", None)
            if not is_spoilt:
                self.world.judge.complain(f"{self.name}: refused: {fields}")
        elif fields.get("ref") in self.outbox:
            self.world.scheduler.call_at(after, self._say_again, connection, fields["ref"])
        elif fields.get("group") in self.places:
            self.world.scheduler.call_at(after, self._subscribe_again, connection, self.places[fields["group"]])

    def _say_again(self, connection: Connection, ref: str) -> None:
        if connection is self.connection and ref in self.outbox:
            group, body = self.outbox[ref]
            connection.write(body=body, ref=ref, group=group)

    def _subscribe_again(self, connection: Connection, place: Place) -> None:
        if connection is self.connection:
            connection.write(type="subscribe", group=place.group, **place.ask())
