"""Errors of the app: one family, from ``BroadcastError`` down.

The text of each is for the code that catches it. What else an answer needs stands beside it, so that HTTP and
WebSocket answer every error by one function, ``access.sentences.told``.
"""

from __future__ import annotations


def _(text: str) -> str:
    """Marks a text to be translated later, by ``access.sentences``: this module does without Django."""
    return text


class BroadcastError(Exception):
    """The root of every error this app raises."""

    code = ""
    """The word that a client is told, for a program to act upon."""
    sentence: str = ""
    """What visitors are told, in English; empty where the text itself is fit for anybody."""
    detail: str = ""
    """What only staff and the log are told, such as the setting that would allow it."""
    ref: object = None
    """The ref of the message or frame that is meant, as it came."""
    group: str | None = None
    """The group of the subscription that is meant."""
    retry_after: float | None = None
    """Seconds, where the same may be accepted later."""


class Refused(BroadcastError):
    """A request or a frame that is not granted; nothing was done.

    ``code`` is ``"invalid"``, ``"too_large"``, ``"forbidden"``, ``"not_found"``, ``"rate_limited"`` or
    ``"unavailable"``.
    """

    def __init__(
        self,
        text: str,
        code: str = "invalid",
        *,
        ref: object = None,
        group: str | None = None,
        retry_after: float | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(text)
        self.code = code
        self.ref = ref
        self.group = group
        self.retry_after = retry_after
        self.detail = detail


class InvalidMessage(Refused, ValueError):
    """An argument is not acceptable; nothing was sent. The text says what was expected and what came.

    ``code`` is ``"invalid"``, ``"too_large"``, or ``"forbidden"`` for a name that is not the author's
    to take.
    """


class LogUnavailable(BroadcastError):
    """The log exists but could not be read or written; nothing was sent. Try again later."""

    code = "unavailable"
    sentence = _("Messages can neither be read nor sent right now. Try again in a moment.")
    retry_after = 1.0


class NoLog(LogUnavailable):
    """There is no log: its tables do not exist, or the database may not be used. Messages are delivered live only."""


class LockTimeout(LogUnavailable):
    """Somebody else held a lock for too long, such as that of the group's row; nothing was sent. Other groups go on."""


class OutcomeUnknown(LogUnavailable):
    """The database went away during COMMIT: the message may or may not be in the log.

    Sending again with the same ``ref`` is safe: the log keeps one message per author and ``ref``.
    """

    sentence = _("The message may or may not have been sent. Send it again with the same ref to be sure.")


def refused_for(error: LogUnavailable, sentence: str) -> Refused:
    """The refusal of what a client asked for while the database is away; it is told ``sentence``, in English here."""
    refused = Refused(str(error), error.code, retry_after=error.retry_after)
    refused.sentence = sentence
    return refused
