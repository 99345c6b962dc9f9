"""Limits across connections: how much each user, or each address, may ask for, by whatever ways."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

from .shared_counts import Key, SharedCounts
from .system import System
from .throttle import TokenBucket

MANY_BUCKETS = 10_000  # after which those are forgotten that are full


@dataclass(slots=True, frozen=True)
class Rate:
    """So many a second in the long run, and so many at once."""

    per_second: float
    burst: int


class RateLimits:
    """A token bucket for each thing that somebody asks for, in this process; with a Redis, counted with the others'.

    Any thread may ask, and nobody ever waits: what other processes granted is known a moment later.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._lock = threading.Lock()
        self._buckets: dict[Key, TokenBucket] = {}
        self._look_at = MANY_BUCKETS
        self._shared = SharedCounts(system)

    def forget(self) -> None:
        """Forgets what was asked for until now, in this process."""
        with self._lock:
            self._buckets = {}

    def take(self, what: str, whom: str, rate: Rate) -> float:
        """Takes one and returns 0.0; or, if there is none, returns the seconds until there is."""
        key = (what, whom)
        with self._lock:
            wait = self._shared.wait(key) or self._bucket(key, rate).take()
        if not wait:
            self._shared.add(key, rate.per_second, rate.burst)
        return wait

    def _bucket(self, key: Key, rate: Rate) -> TokenBucket:
        bucket = self._buckets.get(key)
        if bucket is None or (bucket.rate, bucket.burst) != (rate.per_second, rate.burst):
            self._forget_full_ones()
            bucket = self._buckets[key] = TokenBucket(rate.per_second, rate.burst, self._system.monotonic)
        return bucket

    def _forget_full_ones(self) -> None:
        if len(self._buckets) >= self._look_at:
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if not bucket.is_full}
            self._look_at = max(MANY_BUCKETS, 2 * len(self._buckets))


class ConnectionCounts:
    """The open connections of each user and each address, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: Counter[str] = Counter()

    def enter(self, whom: str, most: int) -> bool:
        """Counts one more connection, unless ``most`` are open already."""
        with self._lock:
            if self._open[whom] >= most:
                return False
            self._open[whom] += 1
            return True

    def leave(self, whom: str) -> None:
        """Counts one connection less, of those that entered."""
        with self._lock:
            self._open[whom] -= 1
            if not self._open[whom]:
                del self._open[whom]
