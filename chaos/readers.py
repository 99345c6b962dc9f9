"""Clients of `broadcast.v1` that hold the server to its word: each message once, in order, none left out."""

import asyncio
import json
from typing import Any, NamedTuple
from urllib.parse import urlencode

from chaos import GROUPS
from chaos.clients import Client, Drop
from chaos.websocket import WebSocket

VOID = "void"  # the epoch of a group in which nothing was said


class Frame(NamedTuple):
    """A message frame as it came: the number of its group, and what it says."""

    group: int
    offset: int
    ref: str
    is_duplicate: bool
    fields: dict[str, Any]


class Book:
    """Every message frame that any client got, read once for all who get the same bytes."""

    def __init__(self) -> None:
        self.frames: dict[bytes, Frame] = {}
        self.received = 0

    def read(self, payload: bytes) -> Frame | dict[str, Any]:
        """Reads a frame that is not in the book; a message is entered."""
        fields: dict[str, Any] = json.loads(payload)
        if fields["type"] != "message":
            return fields
        is_duplicate = bool(fields.get("duplicate"))
        frame = Frame(GROUPS.index(fields["group"]), fields["offset"], fields["ref"], is_duplicate, fields)
        self.frames[payload] = frame
        return frame


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
        self.letters = Letters()
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
            self.welcomed.discard(group)
            self.away.add(group)
            self.ended.add(group)
            self.say({"type": "unsubscribe", "group": GROUPS[group]})

    def return_to(self, group: int) -> None:
        """Follows a group again from where it left it, unless it was led back by a new connection."""
        if group in self.away:
            self.away.discard(group)
            self.subscribe(group)

    # What it does

    def connecting(self) -> None:
        self.welcomed, self.away, self.ended = set(), set(), set()
        self._unanswered = 1  # the group that the address names

    def say(self, frame: dict[str, Any]) -> None:
        if self.socket is not None:
            self.socket.send(json.dumps(frame))

    def ping(self) -> None:
        self.say({"type": "ping"})

    def ping_after(self) -> float:
        return self._ping_after

    def received(self, payload: bytes) -> None:
        frame = self.book.frames.get(payload) or self.book.read(payload)
        if type(frame) is Frame:
            self.book.received += 1
            group, offset = frame.group, frame.offset
            if offset == self.positions[group] + 1 and group in self.welcomed and not frame.is_duplicate:
                self.positions[group] = offset
            else:
                self._unexpected(frame)
            if frame.ref == self.letters.ref:
                self.letters.delivered()
        else:
            self._told(frame)

    def _unexpected(self, frame: Frame) -> None:
        position = self.positions[frame.group]
        where = f"{GROUPS[frame.group]} {frame.offset} after {position}: {frame.fields['body'][:30]!r}"
        if frame.is_duplicate:
            self.note(f"again {where}")
        elif frame.group in self.ended:
            self.note(f"late {where}")
        elif frame.group not in self.welcomed:
            self.mistake("before its welcome", where)
        elif frame.offset <= position:
            self.mistake("doubled", where)
        else:
            self.mistake("missing", where, frame.offset - position - 1)
            self.positions[frame.group] = frame.offset

    def _told(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "welcome":
                self._welcome(frame)
            case "reset":
                group = GROUPS.index(frame["group"])
                if frame.get("lost", True):
                    self.mistake("reset", json.dumps(frame))
                self.positions[group], self.epochs[group] = frame["offset"], frame["epoch"]
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
        asked = (self.positions[group], self.epochs.get(group))
        found = (frame["offset"], asked[1] if asked == (0, VOID) else frame["epoch"])
        if group in self.first and (not frame["recovered"] or found != asked):
            self.mistake("not resumed", f"asked for {asked}, got {json.dumps(frame)}")
        if frame["offset"] is None:
            self.mistake("no log", json.dumps(frame))
            frame["offset"] = 0
        self.first.setdefault(group, frame["offset"])
        self.positions[group], self.epochs[group] = frame["offset"], frame["epoch"]
        self._ping_after = frame["ping_ms"] / 1000
        self.became_live()
        is_first = not self.welcomed
        self.welcomed.add(group)
        self.ended.discard(group)
        self._answered(0.0 if is_first else 1.0)
        self.letters.changed.set()

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
