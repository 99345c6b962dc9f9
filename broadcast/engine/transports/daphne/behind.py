"""daphne's ASGI ``send``: which connection of which server it ends in, through what middleware wrapped it."""

from __future__ import annotations

import functools
import sys
from contextlib import suppress
from typing import Any, NamedTuple, TypeGuard

MAX_DEPTH = 16  # of middleware around ``send``
MAX_WRAPPERS = 64  # looked into for a ``send`` that middleware of another kind has wrapped

Reply = functools.partial[Any]


def has_all(thing: Any, names: tuple[str, ...]) -> bool:
    return all(hasattr(thing, name) for name in names)


class DaphneConnection(NamedTuple):
    """The daphne connection that an ASGI ``send`` belongs to."""

    server: Any
    protocol: Any  # of the WebSocket; None for a request, and if it is not daphne's own
    is_wrapped: bool  # by middleware that may change what it passes on, so that nothing may be written past it


def daphne_behind(send: Any) -> DaphneConnection | None:
    """The connection of daphne that an ASGI ``send`` replies to, through any middleware; None on another server."""
    below = below_channels(send)
    reply = below if is_reply(below) else reply_within(send)
    if reply is None:
        return None
    return DaphneConnection(reply.func.__self__, protocol_of(reply), reply is not below)  # type: ignore[attr-defined]


def protocol_of(reply: Reply) -> Any:
    protocol = reply.args[0] if reply.args else None
    kind = getattr(sys.modules.get("daphne.ws_protocol"), "WebSocketProtocol", None)
    return protocol if kind is not None and isinstance(protocol, kind) and hasattr(protocol, "transport") else None


def below_channels(send: Any) -> Any:
    """The ``send`` below the middleware of Channels; None if there is no end of it."""
    for _ in range(MAX_DEPTH):
        inner = getattr(getattr(send, "__self__", None), "real_send", None)
        if inner is None:
            return send
        send = inner
    return None


def reply_within(send: Any) -> Reply | None:
    """daphne's ``partial(server.handle_reply, protocol)``, wherever it is within what wraps ``send``."""
    wrappers = [send] if "daphne.server" in sys.modules else []
    for wrapper in wrappers:
        if is_reply(wrapper):
            return wrapper
        if len(wrappers) < MAX_WRAPPERS:
            wrappers += wrapped_in(wrapper)
    return None


def wrapped_in(wrapper: Any) -> list[Any]:
    """The callables that a wrapper of ``send`` may pass on to: in a closure, or in an attribute."""
    held = [*getattr(getattr(wrapper, "__self__", wrapper), "__dict__", {}).values()]
    for cell in getattr(wrapper, "__closure__", None) or ():
        with suppress(ValueError):  # it is empty
            held.append(cell.cell_contents)
    if isinstance(wrapper, functools.partial):
        held += [wrapper.func, *wrapper.args, *wrapper.keywords.values()]
    return [each for each in held if callable(each) and not isinstance(each, type)]


def is_closed(error: Exception) -> bool:
    """True if daphne's ``send`` failed because the connection is closed. ASGI has an OSError for it."""
    kind = getattr(sys.modules.get("autobahn.exception"), "Disconnected", None)
    return kind is not None and isinstance(error, kind)


def is_reply(send: Any) -> TypeGuard[Reply]:
    kind = getattr(sys.modules.get("daphne.server"), "Server", None)
    owner = getattr(send.func, "__self__", None) if isinstance(send, functools.partial) else None
    return kind is not None and isinstance(owner, kind)
