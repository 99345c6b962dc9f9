"""Letting a crowd in: when a server dies, its clients arrive at another all at once, which has others to serve too.

daphne would shake hands with all of them in one turn of its event loop, for seconds if they are thousands. To accept a
connection and to read what it asks for is a small part of that. So here handshakes wait in a line, of which few are
under way at a time, while requests are answered and messages go out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from .daphne_send import has_all, server_behind

AT_ONCE = 8  # handshakes under way
OVERDUE = 0.1  # seconds after which one no longer counts: what holds it up may be another app's
LOOK_EVERY = 0.002  # seconds


class Arrivals:
    """The line in which handshakes wait at one daphne server."""

    def __init__(self, factory: Any) -> None:
        self._build = factory.buildProtocol
        self._request_factory: Any = None
        self._line: deque[Callable[[], Any]] = deque()
        self._under_way: list[tuple[Any, float]] = []
        self._look: asyncio.TimerHandle | None = None

    def build_protocol(self, address: Any) -> Any:
        """What daphne's factory builds for a connection; its requests for an upgrade wait here."""
        protocol = self._build(address)
        if has_all(protocol, ("requestFactory",)):
            if self._request_factory is None:
                self._request_factory = waiting(protocol.requestFactory, self)
            protocol.requestFactory = self._request_factory
        return protocol

    def arrive(self, request: Any, process: Callable[[], Any]) -> None:
        """Begins a handshake, at once if few are under way, else in its turn. Meanwhile the client is not read."""
        if not self._line and self._has_room():
            self._begin(request, process)
            return
        request.transport.pauseProducing()
        self._line.append(lambda: self._begin(request, process))
        if self._look is None:
            self._look_later()

    def _begin(self, request: Any, process: Callable[[], Any]) -> None:
        if getattr(request, "channel", None) is None:
            return  # the client has gone, or was told that it took too long
        transport = request.transport
        process()  # reads the client again
        self._under_way.append((protocol_on(transport), asyncio.get_running_loop().time()))

    def _has_room(self) -> bool:
        since = asyncio.get_running_loop().time() - OVERDUE
        self._under_way = [each for each in self._under_way if each[1] > since and is_shaking_hands(each[0])]
        return len(self._under_way) < AT_ONCE

    def _look_later(self) -> None:
        self._look = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        try:
            while self._line and self._has_room():
                self._line.popleft()()
        finally:
            if self._line:
                self._look_later()


def waiting(kind: Any, arrivals: Arrivals) -> Any:
    """The same kind of request, but one that asks to become a WebSocket has to wait for its turn."""

    class WaitingRequest(kind):  # type: ignore[misc]
        def process(self) -> Any:
            asked = self.requestHeaders.getRawHeaders(b"upgrade", [b""])[0]
            if asked.lower() != b"websocket":
                return super().process()
            return arrivals.arrive(self, super().process)

    return WaitingRequest


def protocol_on(transport: Any) -> Any:
    """What a transport's bytes go to now; with TLS it is wrapped. A transport whose client is gone has none."""
    return getattr(transport, "wrappedProtocol", None) or getattr(transport, "protocol", None)


def is_shaking_hands(protocol: Any) -> bool:
    """Whether it is a WebSocket that has been neither accepted nor refused."""
    return getattr(protocol, "state", None) == getattr(protocol, "STATE_CONNECTING", ...)


def pace_arrivals(send: Any) -> None:
    """Has those wait in line who come in a crowd to the daphne behind an ASGI ``send``; nothing on another server."""
    factory = getattr(server_behind(send), "http_factory", None)
    if factory is None or not has_all(factory, ("buildProtocol",)):
        return
    if not isinstance(getattr(factory.buildProtocol, "__self__", None), Arrivals):
        factory.buildProtocol = Arrivals(factory).build_protocol
