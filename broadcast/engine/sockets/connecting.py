"""Which way a new connection is written to."""

from __future__ import annotations

import logging
from contextvars import ContextVar

from ...conf import conf
from ..delivery.hub import current_hub
from ..wire import Dialect
from .arrivals import pace_arrivals
from .daphne_socket import flow_behind, socket_behind
from .direct import DirectTransport
from .inbox import bound_input
from .transports import AsgiTransport, Send, Transport

logger = logging.getLogger("broadcast")

said: set[str] = set()

# Gathers what ``send`` has become on its way through the site's middleware, for whoever knocks to see that.
arrived: ContextVar[list[Send] | None] = ContextVar("arrived", default=None)


def transport_for(send: Send, dialect: Dialect) -> Transport:
    """A direct transport where the server is a daphne that lets itself be written to; else by ASGI.

    The log of the process says once which way is used.
    """
    if (sends := arrived.get()) is not None:
        sends.append(send)
    pace_arrivals(send)
    bound_input(send)
    socket = socket_behind(send) if conf.DIRECT_WRITES else None
    if socket is None:
        say("Connections are written to by the server (ASGI send)")
        return AsgiTransport(send, dialect, flow_behind(send))
    say("Connections are written to directly (daphne)")
    return DirectTransport(send, dialect, socket, current_hub().rounds)


def say(way: str) -> None:
    if way not in said:
        said.add(way)
        logger.info("%s", way)
