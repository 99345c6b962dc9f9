"""What the address of a WebSocket asks for: a group, a dialect, a position to go on from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from .conf import conf
from .engine.commands import BadFrame
from .engine.frames import SUBPROTOCOL, Dialect, checked_epoch, checked_offset
from .exceptions import InvalidMessage

Query = Mapping[str, list[str]]


def query_in(scope: Mapping[str, Any]) -> Query:
    return parse_qs(scope.get("query_string", b"").decode("latin-1"))


def name_in(scope: Mapping[str, Any], default: str) -> str:
    """The group's name, plain or signed: by the route, or as what follows the socket's path."""
    if "url_route" in scope:
        return str(scope["url_route"]["kwargs"].get("group", default))
    prefix, path = conf.SOCKET_PATH.rstrip("/") + "/", scope.get("path", "").rstrip("/")
    return path.removeprefix(prefix) if path.startswith(prefix) else default


def dialect_in(scope: Mapping[str, Any], query: Query) -> Dialect:
    offered = SUBPROTOCOL in scope.get("subprotocols", ())
    return Dialect.V1 if offered or query.get("v") == ["1"] else Dialect.PLAIN


def joins_nothing(query: Query) -> bool:
    """Whether the client joins by ``subscribe`` frames alone: ``?join=none``."""
    return query.get("join") == ["none"]


def position_in(query: Query) -> tuple[int | None, str]:
    """Where to go on from: ``?after=<offset>&epoch=<epoch>``. Raises BadFrame."""
    after = query.get("after", [""])[-1]
    if not after:
        return None, ""
    try:
        offset = int(after) if after.isascii() and after.isdecimal() and len(after) < 20 else -1
        return checked_offset(offset), checked_epoch(query.get("epoch", [""])[-1])
    except InvalidMessage as error:
        raise BadFrame(f"In the address: {error}") from None
