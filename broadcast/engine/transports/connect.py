"""Connecting: the transport that suits a new connection, by the server that it comes through."""

from __future__ import annotations

import logging
from contextvars import ContextVar

from ...conf import conf
from ..frames import Dialect
from ..node import Node
from .asgi import AsgiTransport, Send, Transport
from .daphne.internals import backpressure_behind, socket_behind
from .daphne.receive import limit_unread, throttle_handshakes
from .direct import DirectTransport

logger = logging.getLogger("broadcast")

# Collects each ``send`` as it arrives, wrapped by the site's middleware; set by a probe.
captured_sends: ContextVar[list[Send] | None] = ContextVar("captured_sends", default=None)


def transport_for(node: Node, send: Send, dialect: Dialect) -> Transport:
    """A direct transport where the server is a daphne that lets itself be written to; else by ASGI.

    The log of the process says once which way is used.
    """
    if (sends := captured_sends.get()) is not None:
        sends.append(send)
    throttle_handshakes(send)
    limit_unread(send)
    socket = socket_behind(send) if conf.DIRECT_WRITES else None
    if socket is None:
        say(node, "Connections are written to by the server (ASGI send)")
        return AsgiTransport(send, dialect, backpressure_behind(send))
    say(node, "Connections are written to directly (daphne)")
    return DirectTransport(send, dialect, socket, node.scheduler)


def say(node: Node, way: str) -> None:
    if node.process.is_first_time(way):
        logger.info("%s", way)
