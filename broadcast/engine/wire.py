"""The two dialects on the wire: what clients may say, and what they are told.

Plain: ``{"author", "body"}`` both ways and nothing else. ``broadcast.v1``: the same with further keys,
``type`` first. docs/protocol.md has every frame.
"""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from math import ceil
from typing import Any

from django.utils.timezone import is_naive, make_aware

from ..conf import conf
from ..exceptions import InvalidMessage
from ..groups import is_group_name
from ..models import Message
from .validation import (
    SERVER,
    checked_author,
    checked_body,
    checked_data,
    checked_group,
    checked_ref,
    shown,
)

SUBPROTOCOL = "broadcast.v1"
MAX_SIGNED_NAME = 300  # characters

Fields = dict[str, Any]


class Dialect(StrEnum):
    PLAIN = "plain"
    V1 = SUBPROTOCOL

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
    """One frame for many connections, encoded once per dialect, when first asked for."""

    __slots__ = ("bytes", "fields", "offset", "texts")

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.offset: int | None = fields.get("offset")
        self.texts: dict[Dialect, str] = {}
        self.bytes: dict[Dialect, bytes] = {}

    @property
    def size(self) -> int:
        """About how many bytes the frame takes."""
        return len(self.text(Dialect.V1))

    def text(self, dialect: Dialect) -> str:
        """The frame as it is sent; empty if the dialect has no such frame."""
        text = self.texts.get(dialect)
        if text is None:
            text = self.texts[dialect] = in_dialect(self.fields, dialect)
        return text

    def data(self, dialect: Dialect) -> bytes:
        """The frame as a server writes it to a socket; empty if the dialect has no such frame."""
        data = self.bytes.get(dialect)
        if data is None:
            data = self.bytes[dialect] = text_frame(self.text(dialect))
        return data


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


def in_dialect(fields: Fields, dialect: Dialect) -> str:
    """A frame's text in a dialect: plain has only what an author says, and knows no positions."""
    if dialect is Dialect.V1:
        return encoded(fields)
    if "author" not in fields:
        return ""
    return encoded({"author": fields["author"], "body": fields["body"]})


def utc(moment: datetime) -> datetime:
    """A moment in UTC, also where the site keeps local times (``USE_TZ = False``)."""
    return (make_aware(moment) if is_naive(moment) else moment).astimezone(UTC)


def message_frame(message: Message) -> Frame:
    return Frame(message_fields(message))


def reset_fields(group: str, epoch: str, offset: int | None, reason: str) -> Fields:
    return {"type": "reset", "group": group, "epoch": epoch, "offset": offset, "reason": reason}


def error_fields(
    code: str, text: str, ref: object = None, retry_after: float | None = None, group: str | None = None
) -> Fields:
    """What a client is told of a frame that was refused; ``retry_after`` is in seconds.

    ``group`` is that of a subscription which is not, or is no more.
    """
    fields: Fields = {"type": "error", "author": SERVER, "body": text, "code": code}
    if group is not None:
        fields["group"] = group
    if isinstance(ref, str | uuid.UUID):
        fields["ref"] = str(ref)
    if retry_after is not None:
        fields["retry_after_ms"] = ceil(retry_after * 1000)
    return fields


@dataclass(slots=True, frozen=True)
class Publish:
    """``{"body": …}``: say something to a group; None means the address's own group, or no name given."""

    body: str
    author: str | None
    group: str | None
    ref: uuid.UUID | None
    data: Fields | None


@dataclass(slots=True, frozen=True)
class Subscribe:
    """``name`` is a group's, or a signed one: ``<group>:<time>:<signature>``."""

    name: str
    after: int | None
    epoch: str


@dataclass(slots=True, frozen=True)
class Unsubscribe:
    group: str


@dataclass(slots=True, frozen=True)
class Ping:
    pass


Command = Publish | Subscribe | Unsubscribe | Ping


class BadFrame(Exception):
    """A frame that is not acceptable: the sentence that the client is told, a code, and the frame's ref.

    ``retry_after`` is in seconds, for what may be accepted later. ``group`` is that of a subscription.
    """

    def __init__(
        self,
        text: str,
        code: str = "invalid",
        ref: object = None,
        retry_after: float | None = None,
        group: str | None = None,
    ) -> None:
        super().__init__(text)
        self.code = code
        self.ref = ref
        self.retry_after = retry_after
        self.group = group


def max_frame() -> int:
    """How many characters a frame may have: every character of body and data escaped, and then some."""
    return 12 * conf.MAX_BODY + 6 * conf.MAX_DATA + 4096


def command(text: str | None) -> Command:
    """Reads one frame of a client; ``text`` is None for a binary one. Raises BadFrame."""
    if text is None:
        raise BadFrame("A frame must be text; it came as binary.")
    if len(text) > max_frame():
        raise BadFrame(f"A frame may have {max_frame()} characters; it came with {len(text)}.", "too_large")
    fields = decoded(text)
    try:
        return command_of(fields)
    except InvalidMessage as error:
        raise BadFrame(str(error), error.code, fields.get("ref"), group=subscribed_in(fields)) from None


def decoded(text: str, what: str = "A frame") -> Fields:
    try:
        fields = decoder.decode(text)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"{what} must be a JSON object; this is not JSON ({error}).") from None
    if not isinstance(fields, dict):
        raise BadFrame(f"{what} must be a JSON object; it came as {shown(fields)}.")
    return fields


def unread(text: str | None, reason: str, code: str, retry_after: float) -> BadFrame:
    """What a frame is answered that is refused before it is read: with its ref, and the group it subscribes to."""
    try:
        fields = decoded(text) if text and len(text) <= max_frame() else {}
    except BadFrame:
        fields = {}
    return BadFrame(reason, code, fields.get("ref"), retry_after, subscribed_in(fields))


def subscribed_in(fields: Fields) -> str | None:
    """The plain name of the group that a frame subscribes to, if it is one that can be."""
    name = fields.get("group")
    group = name.partition(":")[0] if fields.get("type") == "subscribe" and isinstance(name, str) else ""
    return group if is_group_name(group) else None


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


decoder = json.JSONDecoder(parse_constant=refuse_constant)


def command_of(fields: Fields) -> Command:
    kind = fields.get("type", "message")
    if kind == "message":
        return publish_of(fields)
    if kind == "subscribe":
        return Subscribe(
            checked_name(fields.get("group")),
            optional(checked_offset, fields.get("after")),
            checked_epoch(fields.get("epoch")),
        )
    if kind == "unsubscribe":
        return Unsubscribe(checked_name(fields.get("group")).partition(":")[0])
    if kind == "ping":
        return Ping()
    raise InvalidMessage(f"The type must be message, subscribe, unsubscribe or ping; it came as {shown(kind)}.")


def publish_of(fields: Fields) -> Publish:
    return Publish(
        body=checked_body(fields.get("body")),
        author=optional(checked_author, fields.get("author")),
        group=optional(checked_group, fields.get("group")),
        ref=optional(checked_ref, fields.get("ref")),
        data=optional(checked_data, fields.get("data")),
    )


def optional(check: Any, value: object) -> Any:
    return None if value is None else check(value)


def checked_name(name: object) -> str:
    """A group's name, or a signed one; whether the signature holds is another question."""
    if isinstance(name, str) and ":" in name and len(name) <= MAX_SIGNED_NAME:
        checked_group(name.partition(":")[0])
        return name
    return checked_group(name)


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
