"""Clients of `broadcast.v1` that hold the server to its word: each message once, in order, none left out."""

import asyncio
import json
from math import inf
from typing import Any
from urllib.parse import urlencode

from chaos import GROUPS
from chaos.book import Book, Frame
from chaos.clients import Client, Drop
from chaos.judge.timeline import Place, Step
from chaos.stays import Stays
from chaos.websocket import WebSocket


class Reader(Client):
    """Follows every group; its address joins one of them, frames join the others."""

    subprotocol = "broadcast.v1"

    def __init__(self, number: int, ports: list[int], seed: str, book: Book) -> None:
        super().__init__(number, ports, seed)
        self.book = book
        own = number % len(GROUPS)
        self.groups = [own, *(group for group in range(len(GROUPS)) if group != own)]
        self.first: dict[int, int] = {}
        self.positions = dict.fromkeys(self.groups, -1)
        self.epochs: dict[int, str] = {}
        self.welcomed: set[int] = set()
        self.away: set[int] = set()  # groups that it does not want to follow for now
        self.ended: set[int] = set()  # groups of which late frames may come until the next welcome
        self.steps: list[Step] = []  # what servers said that moved it otherwise than by messages
        self.stays = Stays(self.name)
        self.letters = Letters()
        self.heard_again = 0  # ephemeral messages that came on a connection and on a later one too
        self._heard: set[str] = set()  # refs of those that came on this one
        self._bit = 1 << number
        self._unanswered = 0
        self._ping_after = 25.0

    @property
    def has_begun(self) -> bool:
        return len(self.first) == len(self.groups)

    def path(self) -> str:
        group = self.groups[0]
        path = "/ws" if GROUPS[group] == "broadcast" else f"/ws/{GROUPS[group]}"
        if group not in self.epochs:
            return path
        return f"{path}?{urlencode({'after': self.positions[group], 'epoch': self.epochs[group]})}"

    # What the world does to it

    def leave(self, group: int) -> None:
        """Follows a group no longer, if it does."""
        if group in self.welcomed:
            self.note(f"leaves {GROUPS[group]}")
            self._stay_ends(group)
            self.welcomed.discard(group)
            self.away.add(group)
            self.ended.add(group)
            self.say({"type": "unsubscribe", "group": GROUPS[group]})

    def return_to(self, group: int) -> None:
        """Follows a group again from where it left it, unless it was led back by a new connection."""
        if group in self.away:
            self.away.discard(group)
            self.subscribe(group)

    def stall(self) -> None:
        self.is_kept_from_hearing()
        super().stall()

    def go_on(self) -> None:
        super().go_on()
        self.hears_again()

    def is_kept_from_hearing(self) -> None:
        """From now on nobody can expect that it hears anything: it does not read, or its server cannot work."""
        for group in self.welcomed:
            self._stay_ends(group)

    def hears_again(self) -> None:
        """From now on it should hear what is sent, and soon what it has not heard."""
        for group in self.welcomed:
            self._stay_ends(group)
            self._stay_begins(group)

    def _stay_begins(self, group: int) -> None:
        is_well = not self._is_stalled and self.port not in self.book.unwell
        self.stays.begin(group, self._loop.time(), is_well)

    def _stay_ends(self, group: int) -> None:
        self.stays.end(group, self._loop.time(), self._place(group))

    def _place(self, group: int) -> Place:
        return Place(self.epochs.get(group, ""), self.positions[group])

    # What it does

    def closed(self) -> None:
        self.is_kept_from_hearing()
        self.welcomed.clear()

    def connecting(self) -> None:
        self.welcomed, self.away, self.ended = set(), set(), set()
        self._heard.clear()
        self._unanswered = 1  # the group that the address names

    def say(self, frame: dict[str, Any]) -> None:
        if self.socket is not None:
            self.socket.send(json.dumps(frame))

    def ping(self) -> None:
        self.say({"type": "ping"})

    def ping_after(self) -> float:
        return self._ping_after

    def received(self, payload: bytes) -> None:
        assert self.socket is not None
        frame = self.book.frames.get(payload) or self.book.read(payload, self.socket.heard_at)
        if isinstance(frame, Frame):
            self.book.received += 1
            group, offset = frame.group, frame.offset
            if offset == self.positions[group] + 1 and group in self.welcomed and not frame.is_duplicate:
                self.positions[group] = offset
                frame.arrivals.add(self.socket.heard_at, self.stays.since.get(group, inf))
                if frame.epoch != (epoch := self.epochs[group]):
                    if frame.epoch:
                        frame.more_epochs.add(epoch)
                    else:
                        frame.epoch = epoch
            elif offset is None:
                self._ephemeral(frame)
            else:
                self._unexpected(frame, offset)
            if frame.ref == self.letters.ref:
                self.letters.delivered()
        else:
            self._told(frame)

    def _ephemeral(self, frame: Frame) -> None:
        where = f"{frame.fields['body'][:30]!r} in {GROUPS[frame.group]}"
        if frame.group not in self.welcomed | self.ended:
            self.mistake("ephemeral before its welcome", where)
        if frame.ref in self._heard:
            self.mistake("ephemeral twice", where)
        elif frame.heard_by & self._bit:
            self.heard_again += 1
        self._heard.add(frame.ref)
        frame.heard_by |= self._bit

    def _unexpected(self, frame: Frame, offset: int) -> None:
        position = self.positions[frame.group]
        where = f"{GROUPS[frame.group]} {offset} after {position}: {frame.fields['body'][:30]!r}"
        if frame.is_duplicate:
            self.note(f"again {where}")
        elif frame.group in self.ended:
            self.note(f"late {where}")
        elif frame.group not in self.welcomed:
            self.mistake("before its welcome", where)
        elif offset <= position:
            self.mistake("doubled", where)
        else:
            self.mistake("missing", where, offset - position - 1)
            self.positions[frame.group] = offset

    def _told(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "welcome":
                self._welcome(frame)
            case "reset":
                self._moved(frame, frame.get("lost", True))
            case "bye":
                self._drop(Drop(json.dumps(frame), frame["reconnect"], (frame["after_ms"] or 0) / 1000))
            case "error":
                self._refused(frame)
            case "pong":
                pass
            case other:
                self.mistake("unknown frame", str(other))

    def _welcome(self, frame: dict[str, Any]) -> None:
        group = GROUPS.index(frame["group"])
        self.note(f"welcome to {frame['group']} at {frame['offset']}, recovered: {frame['recovered']}")
        if group in self.first:
            self._moved(frame, not frame["recovered"])
        else:
            self.first[group] = 0 if frame["offset"] is None else frame["offset"]
            self.positions[group], self.epochs[group] = self.first[group], frame["epoch"]
        self._ping_after = frame["ping_ms"] / 1000
        self.became_live()
        is_first = not self.welcomed
        self.welcomed.add(group)
        self.ended.discard(group)
        self._stay_begins(group)
        self._answered(0.0 if is_first else 1.0)
        self.letters.changed.set()

    def _moved(self, frame: dict[str, Any], is_lost: bool) -> None:
        """A server says where it is: the judge will see whether that is true."""
        group = GROUPS.index(frame["group"])
        if frame["offset"] is None:
            self.mistake("no log", json.dumps(frame))
            return
        before, after = self._place(group), Place(frame["epoch"], frame["offset"])
        if is_lost or before != after:
            self.note(f"{frame['type']} moves it from {before} to {after}, lost: {is_lost}")
            self.steps.append(Step(GROUPS[group], frame["type"], before, after, is_lost, self.name))
        is_live = group in self.stays.since
        if is_live:
            self._stay_ends(group)
        self.positions[group], self.epochs[group] = after.offset, after.epoch
        if is_live:
            self._stay_begins(group)

    def _answered(self, wait: float) -> None:
        """When nothing is under way any more, asks for what has no welcome yet."""
        self._unanswered -= 1
        if not self._unanswered and len(self.welcomed | self.away) < len(self.groups):
            self._loop.call_later(wait, self._subscribe_to_the_rest, self.socket)

    def _subscribe_to_the_rest(self, socket: WebSocket | None) -> None:
        if socket is self.socket and not self._unanswered:
            for group in self.groups:
                if group not in self.welcomed | self.away:
                    self.subscribe(group)

    def subscribe(self, group: int) -> None:
        frame: dict[str, Any] = {"type": "subscribe", "group": GROUPS[group]}
        if group in self.epochs:
            frame |= {"after": self.positions[group], "epoch": self.epochs[group]}
        self._unanswered += 1
        self.say(frame)

    def _refused(self, frame: dict[str, Any]) -> None:
        """An error without a ref answers a subscription: what has no welcome in the end is asked for again."""
        self.note(json.dumps(frame))
        if frame["code"] not in ("unavailable", "rate_limited"):
            self.mistake("refused", json.dumps(frame))
        elif "ref" in frame:
            self.letters.refused(frame)
        else:
            self._answered(1.0)


class Letters:
    """The message that a reader has handed over and that is not settled yet."""

    def __init__(self) -> None:
        self.ref = ""
        self.is_delivered = False
        self.refusal: dict[str, Any] | None = None
        self.changed = asyncio.Event()

    def hand_over(self, ref: str) -> None:
        self.ref, self.is_delivered, self.refusal = ref, False, None
        self.changed.clear()

    def delivered(self) -> None:
        self.ref, self.is_delivered = "", True
        self.changed.set()

    def refused(self, frame: dict[str, Any]) -> None:
        if frame["ref"] == self.ref:
            self.refusal = frame
            self.changed.set()
