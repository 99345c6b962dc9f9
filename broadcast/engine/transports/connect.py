"""Connecting: the transport that suits a new connection, by the server that it comes through."""

from __future__ import annotations

import logging
from typing import Any

from ...conf import conf
from ..frames import Dialect
from ..node import Node
from ..process import Process
from ..throttle import Pool
from . import uvicorn
from .asgi import AsgiTransport
from .daphne.behind import daphne_behind
from .daphne.drain import drain_for
from .daphne.internals import allow_time_to_close, backpressure_of, socket_of
from .daphne.receive import limit_input, throttle_handshakes
from .direct import DirectTransport, Socket
from .transport import Send, Transport

logger = logging.getLogger("broadcast")

DIRECTLY = "Connections are written to directly ({})"
BY_ASGI = "Connections are written to by the server (ASGI send)"


def transport_for(node: Node, send: Send, dialect: Dialect) -> Transport:
    """A direct transport where the server is a daphne or a uvicorn that lets itself be written to; else by ASGI.

    The log of the process says once which way is used.
    """
    if node.process.captured_sends is not None:
        node.process.captured_sends.append(send)
    daphne = daphne_behind(send)
    if daphne is None:
        return transport_to(node, send, dialect, uvicorn.socket_behind(send) if conf.DIRECT_WRITES else None, "uvicorn")
    note_claims(node.process, daphne.server)
    throttle_handshakes(daphne.server)
    allow_time_to_close(daphne.protocol)
    is_metered = limit_input(daphne.protocol, node.part(Pool))
    socket = socket_of(daphne) if conf.DIRECT_WRITES else None
    transport = transport_to(node, send, dialect, socket, "daphne")
    if isinstance(transport, AsgiTransport):
        transport.backpressure = backpressure_of(daphne)
    transport.is_metered = is_metered
    transport.drain = drain_for(node.process, daphne.server)
    return transport


def transport_to(node: Node, send: Send, dialect: Dialect, socket: Socket | None, server: str) -> Transport:
    if socket is None:
        say_once(node, BY_ASGI)
        return AsgiTransport(send, dialect, node.scheduler)
    say_once(node, DIRECTLY.format(server))
    return DirectTransport(send, dialect, socket, node.scheduler)


def note_claims(process: Process, server: Any) -> None:
    """Notes that a daphne takes what its clients claim of their address for it (``--proxy-headers``)."""
    if getattr(server, "proxy_forwarded_address_header", None):
        process.believes_claims = True


def say_once(node: Node, way: str) -> None:
    if node.process.is_first_time(way):
        logger.info("%s", way)
