"""One line in the log when something breaks, and one when it is well again: per process and cause."""

from __future__ import annotations

import logging
import threading

logger = logging.getLogger("broadcast")


class Outage:
    """Something this process depends on, and whether it is known to be away."""

    def __init__(self, broken: str, healed: str) -> None:
        self.broken_text = broken
        self.healed_text = healed
        self.is_on = False
        self._lock = threading.Lock()

    def begins(self, error: object) -> None:
        with self._lock:
            if self.is_on:
                return
            self.is_on = True
        logger.error("%s: %s", self.broken_text, error)

    def ends(self) -> None:
        if not self.is_on:
            return
        with self._lock:
            if not self.is_on:
                return
            self.is_on = False
        logger.warning("%s", self.healed_text)


no_log = Outage(
    "There is no message log, so messages are delivered live only and cannot be caught up on",
    "The message log is there now: messages are kept and can be caught up on",
)
log_failing = Outage(
    "The message log cannot be used, so nothing can be sent until it is back",
    "The message log can be used again",
)
layer_failing = Outage(
    "The channel layer cannot be reached, so other processes hear of messages up to a second later",
    "The channel layer can be reached again",
)
