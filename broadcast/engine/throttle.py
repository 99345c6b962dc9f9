"""Throttles: how fast one client may speak, and how much it may send at all."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from ..conf import limits
from .commands import max_frame

if TYPE_CHECKING:
    from .node import Node

FRAMES_PER_MESSAGE = 2  # with what is refused, and the ends of messages that come in pieces
OTHER_FRAMES_PER_SECOND, OTHER_FRAMES_AT_ONCE = 10, 100  # pings and pongs
SPARE = 1.25  # times the bytes of messages of the greatest size: what was held up on the way comes together
OTHER_BYTES = 64 * 1024

POOL_RATE = 2 * 1024 * 1024  # bytes a second of all clients' large frames,
POOL_SHARE = 1.25  # or so many times those of one client
POOL_SECONDS = 0.1  # for which the pool fills up while nobody draws from it

HOLD_SECONDS = 0.1  # that the next look at an empty budget is away at least
PATIENCE = 5.0  # seconds for which a client may be held up again and again
CALM = 1.0  # seconds without that, after which it is forgotten


class TokenBucket:
    """A rate limit: ``rate`` tokens a second on average, ``burst`` at once, by the clock ``monotonic`` (seconds)."""

    __slots__ = ("burst", "filled_at", "monotonic", "rate", "tokens")

    def __init__(self, rate: float, burst: int, monotonic: Callable[[], float]) -> None:
        self.rate = rate
        self.burst = burst
        self.monotonic = monotonic
        self.tokens = float(burst)
        self.filled_at = monotonic()

    @property
    def is_full(self) -> bool:
        """True if it is as if nothing had ever been taken."""
        return self.tokens + (self.monotonic() - self.filled_at) * self.rate >= self.burst

    def take(self) -> float:
        """Takes a token and returns 0.0; or, if there is none, returns the seconds until there is."""
        now = self.monotonic()
        self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.tokens < 1:
            return (1 - self.tokens) / self.rate
        self.tokens -= 1
        return 0.0


class Allowance(NamedTuple):
    """What budgets hold, and what comes in each second."""

    frames: float
    bytes: float
    frame_rate: float
    byte_rate: float


def allowance() -> Allowance:
    """More than a client can need that keeps to ``MESSAGE_RATE`` with frames of the greatest size, and pings."""
    rate, burst, size = limits.MESSAGE_RATE, limits.MESSAGE_BURST, max_frame() * SPARE
    return Allowance(
        frames=FRAMES_PER_MESSAGE * burst + OTHER_FRAMES_AT_ONCE,
        bytes=size * burst + OTHER_BYTES,
        frame_rate=FRAMES_PER_MESSAGE * rate + OTHER_FRAMES_PER_SECOND,
        byte_rate=size * rate + OTHER_BYTES,
    )


class Budget:
    """What one client may send, whatever it is: frames of any kind and bytes, refilled by time.

    It is refilled when it is spent, so that counting costs next to nothing. ``is_poured_over`` says that the client
    floods: it has been held up for PATIENCE, with no CALM in between.
    """

    __slots__ = ("_bytes", "_filled_at", "_frames", "_held_since", "_held_until", "is_poured_over")

    def __init__(self) -> None:
        self._frames = self._bytes = 0.0
        self._filled_at = -inf
        self._held_since = self._held_until = -inf
        self.is_poured_over = False

    def spend(self, frames: int, size: int) -> None:
        self._frames -= frames
        self._bytes -= size

    @property
    def is_spent(self) -> bool:
        return self._frames <= 0 or self._bytes <= 0

    def refill(self, now: float) -> float:
        """Adds what has come in; returns the seconds for which the client is to be held up, 0.0 if there is enough."""
        full = allowance()
        passed = now - self._filled_at
        self._filled_at = now
        self._frames = min(full.frames, self._frames + passed * full.frame_rate)
        self._bytes = min(full.bytes, self._bytes + passed * full.byte_rate)
        if not self.is_spent:
            self.is_poured_over = False
            return 0.0
        wait = max(HOLD_SECONDS, -self._frames / full.frame_rate, -self._bytes / full.byte_rate)
        if now - self._held_until > CALM:
            self._held_since = now
        self._held_until = now + wait
        self.is_poured_over = now - self._held_since > PATIENCE
        return wait


class Pool:
    """What all clients of a node together may send in large frames, so that many who send much do not hold up the rest.

    One client alone never empties it within its own budget.
    """

    def __init__(self, node: Node) -> None:
        self._loop = node.loop
        self._full_at = -inf  # when it will be full if nobody draws from it

    def draw(self, size: int) -> float:
        """Returns the seconds after which who has drawn so many bytes may draw again: each client has its turn."""
        now = self._loop.time()
        self._full_at = max(self._full_at, now) + size / max(POOL_RATE, POOL_SHARE * allowance().byte_rate)
        return max(0.0, self._full_at - now - POOL_SECONDS)
