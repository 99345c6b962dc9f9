"""The sends of this process that are under way, in whatever thread: those who write to sockets may wait for them."""

from __future__ import annotations

import threading
import time

from .forks import after_fork

MOMENT = 0.002  # seconds: who sends in a loop has begun the next one by then


class Sends:
    """Counts what is being sent; entered by each sender."""

    def __init__(self) -> None:
        self.reset()
        after_fork(self.reset)

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._ended = 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._count -= 1
            self._ended = time.monotonic()

    def are_under_way(self) -> bool:
        """Whether something is being sent, or was a moment ago."""
        return self._count > 0 or time.monotonic() < self._ended + MOMENT


sends = Sends()
