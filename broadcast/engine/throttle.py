"""Throttles: how fast one client may speak."""

from __future__ import annotations

from collections.abc import Callable


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
