"""The dialects on the wire: what clients are told.

Plain: ``{"author", "body"}`` both ways and nothing else. ``broadcast.v1``: the same with further keys,
``type`` first; several in an array for whoever takes batches. docs/protocol.md has every frame.
"""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from itertools import accumulate
from math import ceil
from typing import Any

from django.utils.timezone import is_naive, make_aware

from ..conf import conf
from ..exceptions import BroadcastError, InvalidMessage
from ..models import Message
from .validation import SERVER, shown

# Close codes. A client comes back after those below 4500, and not after the others.
INTERNAL_ERROR = 1011  # RFC 6455, section 7.4.1
RESTARTING = 4000
STALLED = 4001
UNAVAILABLE = 4003
USER_CHANGED = 4004
TOO_MANY_CONNECTIONS = 4005
FORBIDDEN = 4500
TOO_MANY_BAD_FRAMES = 4501
FLOODING = 4502

ARRAY_CHARACTERS = 16 * 1024
MAX_REF = 64  # characters of a wrong ref that its sender is told again

Fields = dict[str, Any]

Mark = tuple[int, int]
"""A place in one epoch: an index in the ring (before its start for "not in there") and an offset in the log."""

Piece = tuple[str, int]
"""A text frame as it is sent, empty if its dialect has no such frame, and how many frames of a batch end with it."""


class Dialect(StrEnum):
    """A way to say things; in batches several frames of ``broadcast.v1`` may come as one, an array of them."""

    PLAIN = "plain"
    V1 = "broadcast.v1"
    BATCH = "broadcast.v1.batch"

    __hash__ = str.__hash__  # looked up for every delivery; an Enum's own is slower


encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encoded(fields: Mapping[str, Any]) -> str:
    return encoder.encode(fields)


def message_fields(message: Message) -> Fields:
    """A message as clients of ``broadcast.v1`` see it, and as hints carry it between processes."""
    fields: Fields = {
        "type": "message",
        "author": message.author,
        "body": message.body,
        "group": message.group_id,
        "offset": message.offset,
        "sent_at": utc(message.sent_at).isoformat() if message.sent_at else None,
        "source": str(message.source),
        "ref": str(message.ref),
    }
    if message.source == Message.Source.GUEST:
        fields["guest"] = True
    if message.data is not None:
        fields["data"] = message.data
    return fields


class Frame:
    """One frame for many connections, encoded once per dialect. ``size`` is about the bytes that it takes."""

    __slots__ = ("bytes", "fields", "offset", "size", "texts")

    def __init__(self, fields: Fields) -> None:
        text = encoder.encode(fields)
        self.fields = fields
        self.offset: int | None = fields.get("offset")
        self.size = len(text)
        self.texts: dict[Dialect, str] = {Dialect.V1: text, Dialect.BATCH: text}
        self.bytes: dict[Dialect, bytes] = {}

    def text(self, dialect: Dialect) -> str:
        """The frame as it is sent; empty if the dialect has no such frame."""
        text = self.texts.get(dialect)
        if text is None:
            text = self.texts[dialect] = plain_text(self.fields)
        return text

    def data(self, dialect: Dialect) -> bytes:
        """The frame as a server writes it to a socket; empty if the dialect has no such frame."""
        data = self.bytes.get(dialect)
        if data is None:
            data = self.bytes[dialect] = text_frame(self.texts.get(dialect) or self.text(dialect))
        return data


class Batch:
    """Frames that follow each other, and where a position stands after each of them.

    ``is_last`` says whether there was nothing behind them when it was made. What comes later is notified.
    """

    __slots__ = ("_data", "_pieces", "epoch", "frames", "is_last", "marks")

    def __init__(self, epoch: str, frames: list[Frame], marks: list[Mark], is_last: bool = False) -> None:
        self.epoch = epoch
        self.frames = frames
        self.marks = marks
        self.is_last = is_last
        self._data: dict[Dialect, tuple[bytes, list[int]]] = {}
        self._pieces: dict[Dialect, list[Piece]] = {}

    def pieces(self, dialect: Dialect) -> list[Piece]:
        """What a client is sent, one text frame after another; an array of frames where it takes batches."""
        pieces = self._pieces.get(dialect)
        if pieces is None:
            pieces = self._pieces[dialect] = (
                arrays(self.frames)
                if dialect is Dialect.BATCH
                else [(frame.text(dialect), count) for count, frame in enumerate(self.frames, 1)]
            )
        return pieces

    def data(self, dialect: Dialect) -> tuple[bytes, list[int]]:
        """The pieces as they go to a socket, joined once for all, and where in there each one ends."""
        data = self._data.get(dialect)
        if data is None:
            if dialect is Dialect.BATCH:
                parts = [text_frame(text) for text, _ in self.pieces(dialect)]
            else:
                parts = [frame.data(dialect) for frame in self.frames]
            data = self._data[dialect] = (b"".join(parts), list(accumulate(map(len, parts))))
        return data


def arrays(frames: list[Frame]) -> list[Piece]:
    """Frames as JSON arrays, none much longer than ARRAY_CHARACTERS: one that was begun has to be finished."""
    pieces: list[Piece] = []
    texts: list[str] = []
    size = 0
    for count, frame in enumerate(frames, 1):
        texts.append(frame.text(Dialect.BATCH))
        size += frame.size
        if size >= ARRAY_CHARACTERS or count == len(frames):
            pieces.append((texts[0] if len(texts) == 1 else f"[{','.join(texts)}]", count))
            texts, size = [], 0
    return pieces


def text_frame(text: str) -> bytes:
    """An unmasked, unfragmented text frame (RFC 6455, section 5.2)."""
    payload = text.encode()
    size = len(payload)
    if not size:
        return b""
    if size < 126:
        return struct.pack("!BB", 0x81, size) + payload
    if size < 65536:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload


def plain_text(fields: Fields) -> str:
    """A frame as plain clients get it: only what an author says, and no positions. Empty for any other."""
    if "author" not in fields:
        return ""
    return encoded({"author": fields["author"], "body": fields["body"]})


def utc(moment: datetime) -> datetime:
    """A moment in UTC, also where the site keeps local times (``USE_TZ = False``)."""
    return (make_aware(moment) if is_naive(moment) else moment).astimezone(UTC)


def message_frame(message: Message) -> Frame:
    return Frame(message_fields(message))


def reset_fields(group: str, epoch: str, offset: int | None, reason: str, is_lost: bool = True) -> Fields:
    fields: Fields = {"type": "reset", "group": group, "epoch": epoch, "offset": offset, "reason": reason}
    return fields if is_lost else fields | {"lost": False}


def welcome_fields(
    group: str, epoch: str, offset: int | None, recovered: bool, user: str | None, greeting: str
) -> Fields:
    return {
        "type": "welcome",
        "author": SERVER,
        "body": greeting,
        "group": group,
        "epoch": epoch,
        "offset": offset,
        "recovered": recovered,
        "user": user,
        "ping_ms": round(conf.PING_INTERVAL * 1000),
    }


def bye_fields(code: int, reason: str, after: float | None) -> Fields:
    """Why a client has to go, and in how many seconds to come back, if at all."""
    fields: Fields = {"type": "bye", "code": code, "reason": reason, "reconnect": after is not None}
    return fields | {"after_ms": None if after is None else round(after * 1000)}


def error_fields(error: BroadcastError, sentence: str) -> Fields:
    """An error as a client is told of it, in such words: a frame that was refused, or a subscription that ended."""
    fields: Fields = {"type": "error", "author": SERVER, "body": sentence, "code": error.code}
    if error.group is not None:
        fields["group"] = error.group
    if is_repeatable(error.ref):
        fields["ref"] = str(error.ref)
    if error.retry_after is not None:
        fields["retry_after_ms"] = ceil(error.retry_after * 1000)
    return fields


def is_repeatable(ref: object) -> bool:
    """True if a client can be told again what it sent as a ref, right or wrong."""
    return isinstance(ref, uuid.UUID) or (isinstance(ref, str) and len(ref) <= MAX_REF and ref.isprintable())


def checked_offset(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise InvalidMessage(f"The offset must be a whole number from 0 on; it came as {shown(value)}.")


def checked_epoch(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and len(value) <= 64:
        return value
    raise InvalidMessage(f"The epoch must be the text of a welcome; it came as {shown(value)}.")
