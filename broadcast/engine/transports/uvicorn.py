"""uvicorn's WebSockets, as far as they can be written to directly: bytes of whole frames go to asyncio's transport.

All that knows uvicorn's insides is here.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .daphne.behind import below_channels, has_all
from .daphne.internals import limit_kernel_buffer
from .direct import unheard

PROTOCOL = ("uvicorn.protocols.websockets.websockets_sansio_impl", "WebSocketsSansIOProtocol")
STATES = ("websockets.protocol", "State")
TRANSPORTS = (("asyncio.selector_events", "_SelectorSocketTransport"), ("uvloop.loop", "TCPTransport"))
WRITE_BYTES = 16 * 1024  # handed over at a time, because what was cannot be taken back
OF_PROTOCOL = ("close_sent", "conn", "pause_writing", "resume_writing", "writable")
OF_CONNECTION = ("data_to_send", "state")
OF_TRANSPORT = ("abort", "get_extra_info", "get_write_buffer_size", "is_closing", "set_write_buffer_limits", "write")


class UvicornSocket:
    """One connection of uvicorn, seen below its protocol: what the kernel does not take waits in asyncio's transport.

    With a high-water mark of 0 the transport says when something begins to wait, and when nothing does any more.
    Frames given here are not compressed, which ``permessage-deflate`` leaves to the sender (RFC 7692, section 6).
    """

    __slots__ = ("_given", "_is_giving", "_on_drained", "_open", "on_news", "protocol", "transport")

    def __init__(self, protocol: Any, is_open: Any) -> None:
        self.protocol = protocol
        self.transport = protocol.transport
        self.on_news: Callable[[], None] = unheard
        self._open = is_open
        self._given = 0  # bytes of the last data that was not taken at once
        self._is_giving = False
        self._on_drained: Callable[[], None] | None = None
        protocol.pause_writing = self._pause
        protocol.resume_writing = self._resume
        self.transport.set_write_buffer_limits(high=0)
        with suppress(OSError), socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno())) as copy:
            limit_kernel_buffer(copy)  # by a copy, for uvloop's own lets nobody do that

    @property
    def is_open(self) -> bool:
        """True if frames may be written: no close was sent or received, and the transport is not closing."""
        protocol = self.protocol
        is_open: bool = protocol.conn.state is self._open and not protocol.close_sent
        return is_open and not self.transport.is_closing()

    def is_ready(self) -> bool:
        return self.is_open and not self.transport.get_write_buffer_size()

    def send_now(self, data: bytes) -> int:
        """Writes whole frames, and returns how many bytes the kernel took at once. The rest may wait."""
        self._given = 0
        if not self.is_ready():
            return 0
        self._is_giving = True
        try:
            for start in range(0, len(data), WRITE_BYTES):
                self.transport.write(data[start : start + WRITE_BYTES])
                self._given = min(start + WRITE_BYTES, len(data))
                waiting: int = self.transport.get_write_buffer_size()
                if waiting:
                    return max(0, self._given - waiting)
        finally:
            self._is_giving = False
        return len(data)

    def hand_over(self, data: bytes, taken: int, ends: list[int]) -> int:
        """What the transport was given beyond what was taken waits there already; nothing may follow a close."""
        self.on_news()
        if not self._given or not self.is_open:
            return 0
        whole = bisect_left(ends, self._given)
        if rest := data[self._given : ends[whole]]:
            self.transport.write(rest)
        return whole + 1

    def when_drained(self, callback: Callable[[], None]) -> None:
        self._on_drained = callback
        if self.is_ready():
            asyncio.get_running_loop().call_soon(self._drained)

    def abort_if_closing(self) -> None:
        """Ends a connection whose closing waits behind what the client does not take, or would: uvicorn has it wait."""
        if self.transport.is_closing() or self.transport.get_write_buffer_size():
            self.transport.abort()

    def mute(self) -> None:
        """Lets go of the connection, which would keep this; the server reads no more than is asked for anyway."""
        self._on_drained = None
        for hook in ("pause_writing", "resume_writing"):
            vars(self.protocol).pop(hook, None)

    def _pause(self) -> None:
        type(self.protocol).pause_writing(self.protocol)
        if not self._is_giving:  # something of the server's own waits
            self.on_news()

    def _resume(self) -> None:
        type(self.protocol).resume_writing(self.protocol)
        self._drained()

    def _drained(self) -> None:
        callback, self._on_drained = self._on_drained, None
        if callback is not None:
            callback()


def socket_behind(send: Any) -> UvicornSocket | None:
    """The socket of an ASGI ``send`` of uvicorn's; None if anything about it is not exactly as it is known here."""
    below = below_channels(send)
    protocol: Any = getattr(below, "__self__", None)
    kind = known(PROTOCOL)
    if kind is None or type(protocol) is not kind or getattr(below, "__func__", None) is not kind.send:
        return None
    if {"pause_writing", "resume_writing", "send"} & vars(protocol).keys() or not has_all(protocol, OF_PROTOCOL):
        return None
    transport, states = protocol.transport, known(STATES)
    if type(transport) not in map(known, TRANSPORTS) or not has_all(transport, OF_TRANSPORT):
        return None
    is_tcp = getattr(transport.get_extra_info("socket"), "family", None) in (socket.AF_INET, socket.AF_INET6)
    if not is_tcp or not has_all(protocol.conn, OF_CONNECTION) or not has_all(states, ("OPEN",)):
        return None
    return UvicornSocket(protocol, states.OPEN)


def known(name: tuple[str, str]) -> Any:
    """A class of a module that somebody else has imported; None if nobody has."""
    module, kind = name
    return getattr(sys.modules.get(module), kind, None)
