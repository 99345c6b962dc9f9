"""Commands: each frame that a client may send, and the address it connects to, read and checked.

docs/protocol.md has them all.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from ..conf import conf
from ..exceptions import InvalidMessage, Refused
from ..groups import is_group_name
from .frames import Dialect, Fields, checked_epoch, checked_offset
from .validation import checked_author, checked_body, checked_group, checked_ref, checked_text, shown


@dataclass(slots=True)  # made for each message, and four times as fast as a frozen one
class Publish:
    """``{"body": …}``: say something to a group; None means the address's own group, or no name given.

    ``data`` is as it came: it is looked into for those who may write at all, for that may take long.
    """

    body: str
    author: str | None
    group: str | None
    ref: uuid.UUID | None
    data: Any


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
Query = Mapping[str, list[str]]


# Frames


def max_frame() -> int:
    """The characters that a frame may have: every character of body and data escaped, and then some."""
    return 12 * conf.MAX_BODY + 6 * conf.MAX_DATA + 4096


def command(text: str | None) -> Command:
    """Reads one frame of a client; ``text`` is None for a binary one. Raises Refused."""
    if text is None:
        raise InvalidMessage("A frame must be text; it came as binary.")
    if len(text) > max_frame():
        raise InvalidMessage(f"A frame may have {max_frame()} characters; it came with {len(text)}.", "too_large")
    fields = decoded(text)
    try:
        return command_of(fields)
    except InvalidMessage as error:
        error.ref, error.group = fields.get("ref"), subscribed_in(fields)
        raise


def decoded(text: str, what: str = "A frame") -> Fields:
    try:
        fields = decoder.decode(text)
    except json.JSONDecodeError as error:
        text = f"{what} must be a JSON object; this is not JSON from character {error.pos + 1} on."
        raise InvalidMessage(text) from None
    except (ValueError, RecursionError):  # NaN, a number of thousands of digits, or too deep
        raise InvalidMessage(f"{what} must be a JSON object; this is not JSON that can be read.") from None
    if not isinstance(fields, dict):
        raise InvalidMessage(f"{what} must be a JSON object; it came as {shown(fields)}.")
    return fields


def unread(text: str | None, error: Refused) -> Refused:
    """The refusal of a frame that is not done, with its ref, and the group it subscribes to."""
    try:
        fields = decoded(text) if text and len(text) <= max_frame() else {}
    except InvalidMessage:
        fields = {}
    error.ref, error.group = fields.get("ref"), subscribed_in(fields)
    return error


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
        data=fields.get("data"),
    )


def optional(check: Any, value: object) -> Any:
    return None if value is None else check(value)


def checked_name(name: object) -> str:
    """A group's name, or a signed one; whether the signature holds is another question."""
    if isinstance(name, str) and ":" in name:
        checked_group(name.partition(":")[0])
        return checked_text(name, "group")
    return checked_group(name)


# The address


def query_in(scope: Mapping[str, Any]) -> Query:
    return parse_qs(scope.get("query_string", b"").decode("latin-1"))


def name_in(scope: Mapping[str, Any], default: str) -> str:
    """The group's name, plain or signed: by the route, or as what follows the socket's path."""
    if "url_route" in scope:
        return str(scope["url_route"]["kwargs"].get("group", default))
    prefix, path = conf.SOCKET_PATH.rstrip("/") + "/", scope.get("path", "").rstrip("/")
    return path.removeprefix(prefix) if path.startswith(prefix) else default


def dialect_in(scope: Mapping[str, Any], query: Query) -> Dialect:
    subprotocol = subprotocol_in(scope)
    if subprotocol is not None:
        return Dialect(subprotocol)
    return Dialect.V1 if query.get("v") == ["1"] else Dialect.PLAIN


def subprotocol_in(scope: Mapping[str, Any]) -> str | None:
    """The subprotocol to agree on: the best of those offered that is known here, if there is one."""
    offered = scope.get("subprotocols", ())
    return next((each.value for each in (Dialect.BATCH, Dialect.V1) if each in offered), None)


def joins_nothing(query: Query) -> bool:
    """True if the client joins by ``subscribe`` frames alone: ``?join=none``."""
    return query.get("join") == ["none"]


def position_in(query: Query) -> tuple[int | None, str]:
    """The position to go on from: ``?after=<offset>&epoch=<epoch>``. Raises InvalidMessage."""
    after = query.get("after", [""])[-1]
    if not after:
        return None, ""
    try:
        offset = int(after) if after.isascii() and after.isdecimal() and len(after) < 20 else -1
        return checked_offset(offset), checked_epoch(query.get("epoch", [""])[-1])
    except InvalidMessage as error:
        raise InvalidMessage(f"In the address: {error}") from None
