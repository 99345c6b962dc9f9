"""Lines of the process's log: each on one line, short, without bodies, and only some of a kind a minute."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger("broadcast")

MAX_VALUE = 500  # characters of a value in a line
MAX_STRANGERS_VALUE = 200  # characters of one that a stranger has chosen
MAX_LINES = 20  # of one cause in a minute
MINUTE = 60.0  # seconds
MAX_CAUSES = 100  # in a minute; what comes then counts as one
MAX_CHAIN = 5  # errors that led to one another
OTHER_CAUSES = "other causes"


@dataclass(slots=True)
class Minute:
    """The lines of one cause in the minute that began with the first of them."""

    level: int
    ends: float
    count: int = 0


class LogThrottle:
    """Counts the lines of a process by cause, and lets ``MAX_LINES`` of each into the log a minute."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._minutes: dict[str, Minute] = {}

    def admits(self, level: int, cause: str) -> bool:
        """Counts a line. Returns False if there were too many."""
        with self._lock:
            if cause not in self._minutes and len(self._minutes) >= MAX_CAUSES:
                cause = OTHER_CAUSES
            minute = self._minutes.setdefault(cause, Minute(level, self._monotonic() + MINUTE))
            minute.count += 1
            return minute.count <= MAX_LINES

    def log_left_out(self) -> None:
        """Logs how many lines were left out of each minute that is over, and forgets it."""
        with self._lock:
            now = self._monotonic()
            over = [cause for cause, minute in self._minutes.items() if minute.ends <= now]
            minutes = [(cause, self._minutes.pop(cause)) for cause in over]
        for cause, minute in minutes:
            if minute.count > MAX_LINES:
                logger.log(minute.level, "… and %d more within a minute: %s", minute.count - MAX_LINES, plain(cause))


def say(level: int, text: str, *values: object, cause: str = "", error: BaseException | None = None) -> None:
    """Logs ``text`` with its values, and the traceback of an error; unless ``cause``, or this text, was said too often.

    Neither the text nor the cause may be of a stranger's choice.
    """
    from .process import current_process  # which imports whatever has something to say

    if not logger.isEnabledFor(level):
        return
    throttle = current_process().log_throttle
    throttle.log_left_out()
    if throttle.admits(level, cause or text):
        logger.log(level, text, *map(plain, values), exc_info=error and as_logged(error), stacklevel=2)


def plain(value: object) -> object:
    """A value as a line shows it: on one line, and cut. A number stays what it is."""
    if isinstance(value, int | float):
        return value
    return cut(first_line(value) if isinstance(value, BaseException) else str(value), MAX_VALUE)


def cut(text: str, size: int = MAX_STRANGERS_VALUE) -> str:
    """The beginning of a text, in which whatever would break a line or steer a terminal is escaped."""
    escaped = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[: size + 1])
    return escaped if len(escaped) <= size else escaped[:size] + "…"


def first_line(error: BaseException) -> str:
    """What an error says of itself. PostgreSQL puts the statement and the row, bodies and all, into the lines below."""
    return str(error).partition("\n")[0]


# Tracebacks


class LoggedError(Exception):
    """An error as the log shows it: of which kind, where, and after which others, but without any row's values."""


def as_logged(error: BaseException, chain: int = MAX_CHAIN) -> LoggedError:
    shown = LoggedError(described(error)).with_traceback(error.__traceback__)
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and chain > 1:
        shown.__cause__ = as_logged(before, chain - 1)
    return shown


def described(error: BaseException) -> str:
    """The kind of an error, and what it says; of a DataError (PEP 249), which quotes what was written, the kind."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    return kinds[0] if "DataError" in kinds else f"{kinds[0]}: {plain(error)}"
