"""What clients may say: each frame of theirs, read and checked. docs/protocol.md has them all."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from ..conf import conf
from ..exceptions import InvalidMessage
from ..groups import is_group_name
from .frames import Fields, checked_epoch, checked_offset
from .validation import checked_author, checked_body, checked_data, checked_group, checked_ref, checked_text, shown


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
    if isinstance(name, str) and ":" in name:
        checked_group(name.partition(":")[0])
        return checked_text(name, "group")
    return checked_group(name)
