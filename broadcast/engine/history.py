"""Parts of a group's log as pages and programs read them, each with the position to go on from."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from ..exceptions import LockTimeout, NoLog
from ..models import Message
from .frames import encoded, message_fields, utc
from .hub.stream import resume_point
from .process import current_process
from .storage.database import EpochEnded, in_callers_transaction, open_log, reading
from .storage.log import Log
from .storage.records import MAX_OFFSET, VOID, Head
from .storage.refs import with_refs

TRIES = 3  # of a read, while a log begins anew again and again
MAX_BYTES = 256 * 1024  # of messages as JSON in one answer, unless a single one has more
STEP = 10  # rows that are read at first; then as many as are likely to fit


@dataclass(slots=True, frozen=True)
class History:
    """Messages in order, and the position behind them; without an epoch there is no log.

    ``recovered`` says that they begin right after the position that was asked for.
    """

    epoch: str = ""
    offset: int | None = None
    messages: list[Message] = field(default_factory=list)
    recovered: bool = False


def latest(group: str, limit: int) -> History:
    """The last ``limit`` messages, or those of them that fit. Raises LogUnavailable if the log cannot be read."""

    def read(log: Log, head: Head) -> list[Message]:
        def step(last: Message | None, count: int) -> list[Message]:
            before = MAX_OFFSET if last is None else last.offset or 0
            return log.newest(group, count, head.epoch, before)[::-1]

        return fitting(step, limit)[::-1]

    try:
        # The head comes first: a message that arrives in between is in the list, or comes live.
        head, messages = read_in_one_epoch(group, read)
    except NoLog:
        return History()
    for message in messages:
        message.sent_at = utc(message.sent_at) if message.sent_at else None
    return History(head.epoch, end_of(messages, head), messages)


def since(group: str, after: int, epoch: str | None, limit: int) -> History:
    """Up to ``limit`` messages that follow an offset of an epoch, as far as they fit; None stands for the current one.

    What is no longer kept is left out, and then it is not ``recovered``. Raises LogUnavailable if the
    log cannot be read.
    """

    def resume(head: Head) -> tuple[int, bool]:
        asked = head.epoch if epoch is None else epoch
        return resume_point(after, asked, head.epoch, head.offset, head.floor)

    def read(log: Log, head: Head) -> list[Message]:
        def step(last: Message | None, count: int) -> list[Message]:
            begin = resume(head)[0] if last is None else last.offset or 0
            rows = log.read(group, begin, count, head.epoch)
            was_pruned = last is not None and rows and rows[0].offset != begin + 1
            return [] if was_pruned else rows  # whoever asks for what follows is told

        return fitting(step, limit)

    try:
        head, messages = read_in_one_epoch(group, read)
    except NoLog:
        return History()
    start, recovered = resume(head)
    # Messages may have been pruned since the head was read.
    follows = messages[0].offset == start + 1 if messages else start == head.offset
    return History(head.epoch, end_of(messages, head), messages, recovered and follows)


def announcement(group: str, ref: uuid.UUID) -> Message | None:
    """What the site itself said under a ref, if the log has it. Raises LogUnavailable if the log cannot be read."""
    try:
        found = reading(lambda: with_refs(group, [ref]))
    except NoLog:
        return None
    return next((message for message in found if message.source == Message.Source.SERVER), None)


def joined(group: str) -> Head:
    """The head of a group; what waits in it is sequenced, unless a rollback of the caller's could take that back.

    Nor if somebody holds the group's row: whoever listens gets what waits a moment later.
    """
    process = current_process()
    head = process.log.head(group)
    if not head.has_waiting or in_callers_transaction(open_log()):
        return head
    with suppress(LockTimeout):
        process.hints.publish_news([process.log.sequence(group)])
    return process.log.head(group)


def read_in_one_epoch(group: str, read: Callable[[Log, Head], list[Message]]) -> tuple[Head, list[Message]]:
    """The head of a group and what is read after it; both again, if the log began anew in between."""
    for _ in range(TRIES):
        head = joined(group)
        with suppress(EpochEnded):
            return head, [] if head.epoch == VOID else read(current_process().log, head)
    raise EpochEnded("The message log starts anew again and again.")


def end_of(messages: list[Message], head: Head) -> int | None:
    return messages[-1].offset if messages else head.offset


def fitting(step: Callable[[Message | None, int], list[Message]], limit: int) -> list[Message]:
    """Up to ``limit`` messages that together are no longer than ``MAX_BYTES``; one, however long it is.

    They are read in steps, so that no more of them are in memory than are needed: ``step`` reads so many after
    the last.
    """
    found: list[Message] = []
    size, count = 0, STEP
    while len(found) < limit:
        count = min(count, limit - len(found))
        rows = step(found[-1] if found else None, count)
        for message in rows:
            size += len(encoded(message_fields(message)).encode())
            if size > MAX_BYTES and found:
                return found
            found.append(message)
        if len(rows) < count:
            break
        count = 1 + (MAX_BYTES - size) * len(found) // size if size < MAX_BYTES else 1
    return found
