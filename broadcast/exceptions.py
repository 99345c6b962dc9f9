"""Errors of the app: one family, from ``BroadcastError`` down."""

from __future__ import annotations

from typing import Literal


class BroadcastError(Exception):
    """The root of every error this app raises."""


class InvalidMessage(BroadcastError, ValueError):
    """An argument is not acceptable; nothing was sent. The text says what was expected and what came.

    ``code`` is the word that a client is told: ``"invalid"``, ``"too_large"``, or ``"forbidden"`` for a
    name that is not the author's to take.
    """

    def __init__(self, text: str, code: Literal["invalid", "too_large", "forbidden"] = "invalid") -> None:
        super().__init__(text)
        self.code = code


class LogUnavailable(BroadcastError):
    """The log exists but could not be read or written; nothing was sent. Try again later."""


class NoLog(LogUnavailable):
    """There is no log: its tables do not exist, or the database may not be used. Messages are delivered live only."""


class OutcomeUnknown(LogUnavailable):
    """The database went away during COMMIT: the message may or may not be in the log.

    Sending again with the same ``ref`` is safe: the log keeps one message per author and ``ref``.
    """
