"""Parts of a group's log as pages and programs read them, each with the position to go on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..exceptions import NoLog
from ..models import Message
from .frames import utc
from .hub.stream import resume_point
from .process import current_process
from .storage.database import in_callers_transaction, open_log
from .storage.records import Head


@dataclass(slots=True, frozen=True)
class History:
    """Messages in order, and the position behind them; without an epoch there is no log.

    ``recovered`` says that they are all that followed the position that was asked for.
    """

    epoch: str = ""
    offset: int | None = None
    messages: list[Message] = field(default_factory=list)
    recovered: bool = False


def latest(group: str, limit: int) -> History:
    """The last ``limit`` messages. Raises LogUnavailable if the log cannot be read."""
    try:
        # The head comes first: a message that arrives in between is in the list, or comes live.
        head = joined(group)
        messages = current_process().log.newest(group, limit)
    except NoLog:
        return History()
    for message in messages:
        message.sent_at = utc(message.sent_at) if message.sent_at else None
    return History(head.epoch, end_of(messages, head), messages)


def since(group: str, after: int, epoch: str | None, limit: int) -> History:
    """Up to ``limit`` messages after an offset of an epoch; None stands for the current one.

    What is no longer kept is left out, and then it is not ``recovered``. Raises LogUnavailable if the
    log cannot be read.
    """
    try:
        head = joined(group)
        start, recovered = resume_point(after, epoch in (None, head.epoch), head.offset, head.floor)
        messages = current_process().log.read(group, start, limit)
    except NoLog:
        return History()
    # Messages may have been pruned since the head was read.
    follows = messages[0].offset == start + 1 if messages else start == head.offset
    return History(head.epoch, end_of(messages, head), messages, recovered and follows)


def heads(groups: Sequence[str]) -> list[Head]:
    """The heads of these groups: one that is not there yet is opened, and what waits in one is sequenced."""
    found = current_process().log.heads(groups)
    return [found[group] if group in found and not found[group].has_waiting else joined(group) for group in groups]


def joined(group: str) -> Head:
    """The head of a group; what waits in it is sequenced, unless a rollback of the caller's could take that back."""
    process = current_process()
    if in_callers_transaction(open_log()):
        return process.log.open(group)  # whoever listens gets what waits without this, a moment later
    head, news = process.log.join(group)
    process.hints.publish_news(news)
    return head


def end_of(messages: list[Message], head: Head) -> int | None:
    return messages[-1].offset if messages else head.offset
