"""Health of what a process depends on: one line in the log when something fails, and one when it has recovered."""

from __future__ import annotations

import logging
import threading

from .log_lines import say

SENDING = "sending"  # a source of reports
LISTENING = "listening"


class Dependency:
    """Something that this process depends on, and by which sources it is known to fail.

    Several sources may report the same failure: it begins with the first and ends with the last of them.
    """

    def __init__(self, failed: str, recovered: str, failing: set[Dependency] | None = None) -> None:
        self._failing = set() if failing is None else failing
        self._failed_text = failed
        self._recovered_text = recovered
        self._sources: set[str] = set()
        self._lock = threading.Lock()

    @property
    def is_failing(self) -> bool:
        return bool(self._sources)

    def is_failing_for(self, source: str) -> bool:
        return source in self._sources

    def fail(self, error: object, source: str = "") -> None:
        with self._lock:
            was_failing = self.is_failing
            self._sources.add(source)
            self._failing.add(self)
        if not was_failing:
            say(logging.ERROR, "%s: %s", self._failed_text, error, cause=self._failed_text)

    def recover(self, source: str = "") -> None:
        if source not in self._sources:
            return
        with self._lock:
            if source not in self._sources:
                return
            self._sources.remove(source)
            is_over = not self._sources
            if is_over:
                self._failing.discard(self)
        if is_over:
            say(logging.WARNING, "%s", self._recovered_text, cause=self._recovered_text)


class Health:
    """The dependencies of one process: its log, which may be missing or fail, its channel layer, and access."""

    def __init__(self) -> None:
        self.failing: set[Dependency] = set()
        self.no_log = Dependency(
            "There is no message log, so messages are delivered live only and cannot be caught up on",
            "The message log is there now: messages are kept and can be caught up on",
            self.failing,
        )
        self.log = Dependency(
            "The message log cannot be used, so nothing can be sent until it is back",
            "The message log can be used again",
            self.failing,
        )
        self.layer = Dependency(
            "The channel layer cannot be reached, so other processes hear of messages up to a second later",
            "The channel layer can be reached again",
            self.failing,
        )
        self.access = Dependency(
            "Who is connected and what they may do cannot be looked up, so nothing is ended at first",
            "Who is connected and what they may do can be looked up again",
        )

    def log_works(self) -> None:
        """Notes that the log was written to; whoever can write to it can also read it."""
        self.no_log.recover()
        self.log.recover(SENDING)
        self.log.recover()
