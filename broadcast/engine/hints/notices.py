"""Notices: what processes tell each other without a channel layer, sealed: heads of groups, and events."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..frames import checked_epoch, checked_offset
from ..log_lines import described, say
from ..validation import checked_group
from .hint import EVENT, Hint, event_of, hint_of
from .seal import DIGITS, Repeats

if TYPE_CHECKING:
    from ..process import Process

MAX_EVENTS = 1000  # that wait
MAX_HEADS = 10_000
HERE = "broadcast.here"  # the type of an event that says nothing but that somebody has begun to listen

Event = Mapping[str, Any]


class Outbox:
    """What is yet to be told: the newest head of each group, and events in their order; of too many the oldest go."""

    def __init__(self) -> None:
        self.heads: dict[str, tuple[str, int]] = {}
        self.events: deque[Event] = deque(maxlen=MAX_EVENTS)

    def __bool__(self) -> bool:
        return bool(self.heads or self.events)

    @classmethod
    def of_hint(cls, hint: Hint) -> Outbox:
        """Of messages in the log only the head; each that is in no log is an event of its own."""
        outbox = cls()
        if hint.head is None:
            outbox.events.extend(event_of(Hint(hint.group, [frame])) for frame in hint.frames)
        else:
            outbox.heads[hint.group] = hint.epoch, hint.head
        return outbox

    @classmethod
    def of_event(cls, event: Event) -> Outbox:
        outbox = cls()
        outbox.events.append(event)
        return outbox

    def add(self, other: Outbox) -> None:
        for group, (epoch, head) in other.heads.items():
            known = self.heads.pop(group, ("", 0))
            self.heads[group] = (epoch, max(head, known[1])) if epoch == known[0] else (epoch, head)
        while len(self.heads) > MAX_HEADS:
            del self.heads[next(iter(self.heads))]
        self.events.extend(other.events)


@dataclass(frozen=True, slots=True)
class Notice:
    """A sealed notice, and what is in it."""

    data: bytes
    content: Outbox


class NoticeWriter:
    """Makes sealed notices; each says which process it is of, and its number among those of that process."""

    def __init__(self, process: Process, max_bytes: int) -> None:
        self._process = process
        self._room = max_bytes - DIGITS - len(self._text([]))

    def notices(self, outbox: Outbox) -> list[Notice]:
        """What is in an outbox, in as many notices as it takes. What is too large for one is left out."""
        notices: list[Notice] = []
        texts: list[bytes] = []
        left, content = self._room, Outbox()
        for text, part in parts_of(outbox):
            if len(text) >= left and texts:
                notices.append(self._notice(texts, content))
                texts, left, content = [], self._room, Outbox()
            if len(text) < left:
                texts.append(text)
                left -= len(text) + 1
                content.add(part)
        if texts:
            notices.append(self._notice(texts, content))
        return notices

    def _notice(self, texts: list[bytes], content: Outbox) -> Notice:
        return Notice(self._process.seal.close(self._text(texts)), content)

    def _text(self, texts: list[bytes]) -> bytes:
        """JSON in ASCII, which a database in any encoding can carry."""
        beginning = f'["{self._process.origin}",{next(self._process.notice_numbers):20}'.encode()
        return b",".join([beginning, *texts]) + b"]"


def parts_of(outbox: Outbox) -> Iterator[tuple[bytes, Outbox]]:
    """Each event and each head by itself, as JSON and as it is."""
    for event in outbox.events:
        yield json.dumps(event, separators=(",", ":")).encode(), Outbox.of_event(event)
    for group, (epoch, head) in outbox.heads.items():
        yield json.dumps([group, epoch, head], separators=(",", ":")).encode(), head_of(group, epoch, head)


class NoticeReader:
    """Reads what came to a node, by whatever way, and passes it on: of the heads of a group only the newest."""

    def __init__(
        self,
        process: Process,
        on_hint: Callable[[Hint], None],
        on_control: Callable[[Event], None],
    ) -> None:
        self._process = process
        self._on_hint = on_hint
        self._on_control = on_control
        self._repeats = Repeats()

    def read(self, notices: Iterable[bytes]) -> None:
        """Passes over what is not of this site, came before, or is this process's own. Never raises."""
        heads = Outbox()
        for notice in notices:
            try:
                self._read(notice, heads)
            except Exception as error:  # of another version of this app
                say(logging.WARNING, "Ignored a notice of another process that is not sound: %s", described(error))
        for group, (epoch, head) in heads.heads.items():
            self._on_hint(Hint(group, [], epoch, head))

    def _read(self, notice: bytes, heads: Outbox) -> None:
        text = self._process.seal.open(notice)
        if text is None:
            return
        origin, number, *parts = json.loads(text)
        if origin == self._process.origin or not self._repeats.is_new(str(origin), int(number)):
            return
        self._process.hints.neighbours.hear_of_others()
        for part in parts:
            if isinstance(part, list):
                group, epoch, head = part
                heads.add(head_of(checked_group(group), checked_epoch(epoch), checked_offset(head)))
            elif part.get("type") == EVENT:
                if (hint := hint_of(part)) is not None and hint.head is None:
                    self._on_hint(hint)
            elif part.get("type") != HERE:
                self._on_control(part)


def head_of(group: str, epoch: str, head: int) -> Outbox:
    return Outbox.of_hint(Hint(group, [], epoch, head))
