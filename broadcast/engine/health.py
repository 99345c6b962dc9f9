"""One line in the log when something breaks, and one when it is well again: per process and cause."""

from __future__ import annotations

import logging
import threading

logger = logging.getLogger("broadcast")


SENDING = "sending"  # a place where an outage is noticed


class Health:
    """Something this process depends on, and where it is known to be away.

    Several places may notice the same outage: it begins with the first and ends with the last of them.
    """

    def __init__(self, broken: str, healed: str) -> None:
        self.broken_text = broken
        self.healed_text = healed
        self._places: set[str] = set()
        self._lock = threading.Lock()

    @property
    def is_failing(self) -> bool:
        return bool(self._places)

    def is_failing_in(self, place: str) -> bool:
        return place in self._places

    def fail(self, error: object, place: str = "") -> None:
        with self._lock:
            was_on = self.is_failing
            self._places.add(place)
        if not was_on:
            logger.error("%s: %s", self.broken_text, error)

    def recover(self, place: str = "") -> None:
        if place not in self._places:
            return
        with self._lock:
            if place not in self._places:
                return
            self._places.remove(place)
            is_over = not self._places
        if is_over:
            logger.warning("%s", self.healed_text)


no_log = Health(
    "There is no message log, so messages are delivered live only and cannot be caught up on",
    "The message log is there now: messages are kept and can be caught up on",
)
log_failing = Health(
    "The message log cannot be used, so nothing can be sent until it is back",
    "The message log can be used again",
)
layer_failing = Health(
    "The channel layer cannot be reached, so other processes hear of messages up to a second later",
    "The channel layer can be reached again",
)
