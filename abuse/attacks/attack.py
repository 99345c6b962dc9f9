"""An attack: what each of its connections says, how often, and how it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from abuse.frames import Burst

FOR_GOOD = 1e9  # seconds

KIB = 1024
CONNECTION = 30 * KIB  # docs/deployment.md
UNREAD = 256 * KIB  # of what a client says and is not listened to: engine/transports/daphne/receive.py
INBOX = 256 * KIB  # of what is on its way into the log: engine/inbox.py
UNSENT = 192 * KIB  # of what a client does not take: docs/performance.md
MESSAGE = 1024 * KIB  # of a message that does not end: daphne's own limit
PIECES = 1536 * KIB  # 16,384 pieces of a message, without their bytes: engine/transports/daphne/receive.py
ANSWER = 3 * 320 * KIB  # of HTTP, as messages, as text and as bytes: engine/history.py, and what JSON adds


@dataclass(frozen=True, slots=True)
class Attack:
    """``says`` makes what a connection repeats after its opening, from chance; the rest is how."""

    name: str
    says: Callable[[Random], Burst]
    opening: str | None = "/ws?v=1"  # where a WebSocket is opened first; None: nothing is
    connections: int = 30
    addresses: int = 30  # that they come from
    reads: bool = True  # takes what it is sent
    waits: bool = True  # until the handshake is answered
    pause: float = 0.0  # seconds between two bursts
    times: int | None = None  # that a burst is said; None: until the end
    stays: float = 0.0  # seconds, silent, after all is said; then the connection is reset
    rest: float = 0.05  # seconds before the next connection in place of one that ended
    holds: int = 0  # bytes that a connection may make the server hold, beside itself
