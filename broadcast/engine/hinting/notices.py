"""What hubs are told besides messages: events of other kinds, for whoever registered for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from channels.layers import InMemoryChannelLayer

from .hints import pass_on
from .layer import ALL_HUBS, current_layer, origin

handlers: dict[str, Callable[[Mapping[str, Any]], None]] = {}
"""By an event's type; called in whatever thread the event comes up in."""


def tell_hubs(event: Mapping[str, Any]) -> None:
    """Tells this process and, over the channel layer, every other that listens. Like a hint it may be lost."""
    if handler := handlers.get(event["type"]):
        handler(event)
    with suppress(Exception):  # what is wrong with the layer is said below
        if isinstance(current_layer(), InMemoryChannelLayer):
            return  # it ends at this process
    pass_on(ALL_HUBS, lambda: {**event, "origin": origin.tag})


def take(event: Mapping[str, Any]) -> None:
    """Hands over an event of another process; one that nobody registered for is ignored."""
    handler = handlers.get(event.get("type", ""))
    if handler is not None and event.get("origin") != origin.tag:
        handler(event)
