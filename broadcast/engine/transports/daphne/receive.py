"""Limits of what daphne's clients may send: unread bytes, fragments, handshakes under way."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from types import MethodType
from typing import Any

from ....conf import conf
from ...throttle import Pool
from .behind import has_all
from .gate import OF_PARSER, FrameGate
from .internals import OF_ANY_TRANSPORT, UNREAD, below_tls, pause_reading, resume_reading
from .shared_settings import SharedSettings

UNREAD_BYTES = 256 * 1024  # what may wait of a client that is not listened to
MAX_FRAGMENTS = 16 * 1024  # pieces of one message
FRAME_COST = 512  # bytes of memory that a frame takes beside its text
UNREAD_CHECK_SECONDS = 0.05
READ_BYTES = 8 * 1024  # of a client at a time; Twisted also holds a producer up when so much is unsent

OF_INPUT = ("application_queue", "dropConnection", "muted", "onMessageFrame")
OF_READING = ("bufferSize", "doRead")


class ReceiveLimit:
    """The way into daphne's queue of what a client said; without it the queue has no limit.

    While much of it waits, because the client floods or the database is slow, the client is not read.
    A message in very many pieces ends the connection: autobahn limits its bytes, and the pieces may have none.
    """

    __slots__ = ("_look", "_protocol", "_queue", "_size")

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._queue = protocol.application_queue
        self._size = 0  # bytes since nothing waited
        self._look: asyncio.TimerHandle | None = None

    def put_nowait(self, event: dict[str, Any]) -> None:
        if self._queue.empty():
            self._size = 0
        self._size += FRAME_COST + len(event.get("text") or event.get("bytes") or b"")
        self._queue.put_nowait(event)
        if self._size > UNREAD_BYTES:
            pause_reading(self._protocol.transport, UNREAD)
            if self._look is None:
                self._look_later()

    def add_fragment(self, payload: Any) -> None:
        """Takes the place of the protocol's ``onMessageFrame``."""
        protocol = self._protocol
        type(protocol).onMessageFrame(protocol, payload)
        if len(getattr(protocol, "message_data", ())) > MAX_FRAGMENTS:
            protocol.dropConnection(abort=True)

    def _look_later(self) -> None:
        self._look = asyncio.get_running_loop().call_later(UNREAD_CHECK_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        if self._queue.empty() or self._protocol.muted:
            resume_reading(self._protocol.transport, UNREAD)
        elif self._protocol.transport.connected:
            self._look_later()


def limit_input(protocol: Any, pool: Pool) -> bool:
    """Bounds what the client of a WebSocket protocol sends and what waits of it; False for one of another make."""
    if not (has_all(protocol, (*OF_INPUT, *OF_PARSER)) and has_all(protocol.transport, OF_ANY_TRANSPORT)):
        return False
    if isinstance(protocol.application_queue, asyncio.Queue):
        protocol.application_queue = inbox = ReceiveLimit(protocol)
        protocol.onMessageFrame = inbox.add_fragment
        FrameGate(protocol, pool).install()
        read_little_of(below_tls(protocol.transport))
    return True


def read_little_of(transport: Any) -> None:
    """Limits the bytes that are read of a client at a time, because parsing blocks the event loop for everybody."""
    if has_all(transport, OF_READING):
        transport.bufferSize = READ_BYTES


MANY_WAITING = 64  # handshakes, after which it is seen who has left
AT_ONCE = 64  # handshakes under way: those with a session wait for a look-up together
IN_A_TURN = 8  # handshakes begun at a time, so that others have their turn in between
TURN = 0.02  # seconds
OVERDUE = 0.1  # seconds after which one no longer counts: what holds it up may be another app's
QUEUE_CHECK_SECONDS = 0.002
UNTAKEN_CHECK_SECONDS = 0.02
EARLY_BYTES = 64 * 1024  # that a client may say before it is answered
OF_EARLY = ("data", "processHandshake")


class HandshakeThrottle:
    """The line in which handshakes wait at one daphne server."""

    def __init__(self, factory: Any, settings: SharedSettings | None = None) -> None:
        self._build = factory.buildProtocol
        self._settings = settings
        self._request_factory: Any = None
        self._line: deque[tuple[Any, Callable[[], Any]]] = deque()
        self._sweep_at = MANY_WAITING
        self._under_way: list[tuple[Any, float]] = []
        self._look: asyncio.TimerHandle | None = None

    def build_protocol(self, address: Any) -> Any:
        """Builds daphne's protocol for a connection; its requests for an upgrade wait here."""
        protocol = self._build(address)
        if has_all(protocol, ("requestFactory",)):
            if self._request_factory is None:
                self._request_factory = waiting(protocol.requestFactory, self)
            protocol.requestFactory = self._request_factory
        return protocol

    def arrive(self, request: Any, process: Callable[[], Any]) -> None:
        """Begins a handshake, at once if few are under way, else in its turn. Meanwhile the client is not read."""
        if not self._line and self._room() > 0:
            self._begin(request, process)
            return
        request.transport.pauseProducing()
        self._line.append((request, process))
        if len(self._line) > self._sweep_at:
            self._sweep()
        if self._look is None:
            self._look_later()

    def _sweep(self) -> None:
        """Lets go of those who have left the line, for each costs a file descriptor."""
        self._line = deque(each for each in self._line if not let_go(each[0]))
        self._sweep_at = max(MANY_WAITING, 2 * len(self._line))

    def _begin(self, request: Any, process: Callable[[], Any]) -> None:
        if let_go(request):
            return
        transport = request.transport
        if self._settings is not None:
            self._settings.apply()
        process()  # reads the client again
        protocol = protocol_on(transport)
        if is_shaking_hands(protocol) and has_all(protocol, OF_EARLY):
            protocol.processHandshake = MethodType(bound_early, protocol)
        self._under_way.append((protocol, asyncio.get_running_loop().time()))

    def _room(self, is_late: bool = True) -> int:
        """How many may begin now. While the loop is late, those count that were begun a moment ago and are not done."""
        now = asyncio.get_running_loop().time()
        since = now - OVERDUE
        self._under_way = [each for each in self._under_way if each[1] > since and is_shaking_hands(each[0])]
        begun = sum(each[1] > now - TURN for each in self._under_way) if is_late else 0
        return min(AT_ONCE - len(self._under_way), IN_A_TURN - begun)

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._look = loop.call_later(QUEUE_CHECK_SECONDS, self._look_again, loop.time() + 2 * QUEUE_CHECK_SECONDS)

    def _look_again(self, late_from: float) -> None:
        self._look = None
        try:
            for _ in range(min(len(self._line), self._room(asyncio.get_running_loop().time() > late_from))):
                self._begin(*self._line.popleft())
        finally:
            if self._line:
                self._look_later()


def let_go(request: Any) -> bool:
    """Lets go of the connection if its client has left, or was told that it took too long; True if so."""
    if getattr(request, "channel", None) is None:
        return True
    if has_left(request.transport):
        request.transport.abortConnection()
        return True
    return False


def has_left(transport: Any) -> bool:
    """True if a client that is not read has closed its connection meanwhile, which Twisted does not see."""
    transport = below_tls(transport)
    if not has_all(transport, ("abortConnection", "getHandle")):
        return False
    try:
        return not transport.getHandle().recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def bound_early(protocol: Any) -> None:
    """Ends a connection whose client says much before its handshake is answered, which no client may."""
    if len(protocol.data) > EARLY_BYTES:
        protocol.transport.abortConnection()


class Turn:
    """The wait of a request until its client has taken the answers before it; Twisted keeps them all in memory.

    Meanwhile it reads nothing more of the client. Who takes nothing for STALLED_TIMEOUT is cut off.
    """

    __slots__ = ("_gives_up_at", "_process", "_request")

    def __init__(self, request: Any, process: Callable[[], Any]) -> None:
        self._request = request
        self._process = process
        self._gives_up_at = asyncio.get_running_loop().time() + conf.STALLED_TIMEOUT

    def begin(self) -> None:
        """Begins the request, or looks again later."""
        channel = getattr(self._request, "channel", None)
        if channel is None:
            return  # the client has gone
        if not getattr(channel, "_waitingForTransport", False):
            self._process()
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._gives_up_at:
            loop.call_later(UNTAKEN_CHECK_SECONDS, self.begin)
        else:
            self._request.transport.abortConnection()


def waiting(kind: Any, arrivals: HandshakeThrottle) -> Any:
    """The same kind of request, but each waits for its turn: among handshakes, or behind its client's others."""

    class WaitingRequest(kind):  # type: ignore[misc]
        def process(self) -> Any:
            asked = self.requestHeaders.getRawHeaders(b"upgrade", [b""])[0]
            if asked.lower() != b"websocket":
                return Turn(self, super().process).begin()
            return arrivals.arrive(self, super().process)

    return WaitingRequest


def protocol_on(transport: Any) -> Any:
    """The protocol that gets a transport's bytes; with TLS it is wrapped. None when the client is gone."""
    return getattr(transport, "wrappedProtocol", None) or getattr(transport, "protocol", None)


def is_shaking_hands(protocol: Any) -> bool:
    """True for a WebSocket that has been neither accepted nor refused."""
    return getattr(protocol, "state", None) == getattr(protocol, "STATE_CONNECTING", ...)


def throttle_handshakes(server: Any) -> None:
    """Throttles the handshakes of a daphne server; does nothing on another server."""
    factory = getattr(server, "http_factory", None)
    if factory is None or not has_all(factory, ("buildProtocol",)):
        return
    if not isinstance(getattr(factory.buildProtocol, "__self__", None), HandshakeThrottle):
        sockets = getattr(server, "ws_factory", None)
        settings = SharedSettings(sockets) if has_all(sockets, ("protocol",)) else None
        factory.buildProtocol = HandshakeThrottle(factory, settings).build_protocol
