"""Publishing: append drafts to the log, and hint. The only way in for views, admin, commands and consumers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from ..exceptions import InvalidMessage, LockTimeout, LogUnavailable, NoLog, OutcomeUnknown
from ..models import Message
from .frames import Frame, message_frame
from .health import SENDING
from .hints.hint import ephemeral_hints
from .log_lines import say
from .storage.database import PATIENCE, in_callers_transaction, open_log
from .storage.records import VOID, Draft
from .storage.rows import message_of
from .storage.threads import OwnThreads
from .validation import shown

if TYPE_CHECKING:
    from .node import Node
    from .process import Process
    from .system import System

SEND_GAP = 0.002  # seconds: who sends in a loop has begun the next one by then


class InFlightSends:
    """Counts what is being sent, in whatever thread; entered by each sender. Writers may wait a little for more."""

    def __init__(self, system: System) -> None:
        self._monotonic = system.monotonic
        self._lock = threading.Lock()
        self._count = 0
        self._ended_at = 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._count -= 1
            self._ended_at = self._monotonic()

    def are_under_way(self) -> bool:
        """True while something is being sent, and for a moment after."""
        return self._count > 0 or self._monotonic() < self._ended_at + SEND_GAP


def publish(process: Process, drafts: Sequence[Draft], persist: bool = True) -> list[Message]:
    """Writes drafts to the log, or into the caller's transaction, and hints; or publishes them live only.

    Raises as ``send`` does.
    """
    if not isinstance(persist, bool):
        raise InvalidMessage(f"persist must be True or False; it came as {shown(persist)}.")
    if not drafts:
        return []
    with process.in_flight:
        messages = logged(process, drafts) if persist else publish_ephemeral(process, drafts)
    if process.listeners:
        notify_listeners(process, messages)
    return messages


def logged(process: Process, drafts: Sequence[Draft]) -> list[Message]:
    """Writes to the log; where there is none, publishes live only."""
    health = process.health
    try:
        connection = open_log()
        if not connection.in_atomic_block and connection.get_autocommit():
            messages = process.commit.append(drafts, connection)
        elif in_callers_transaction(connection):
            messages = insert(process, drafts, connection)
        else:  # a TestCase's own transaction: nobody else's business
            messages = process.commit.append_alone(drafts, connection)
    except SynchronousOnlyOperation:
        raise SynchronousOnlyOperation(
            "send() and send_many() write to the database; in async code use: await asend(…)"
        ) from None
    except NoLog as error:
        health.no_log.fail(error)
        return publish_ephemeral(process, drafts)
    except LogUnavailable as error:
        note_failure(process, error)
        raise
    if health.failing:
        health.log_works()
    return messages


def note_failure(process: Process, error: LogUnavailable) -> None:
    """Notes that the log fails for whoever sends; a lock that one group's senders wait for is no failure."""
    if not isinstance(error, LockTimeout):
        process.health.log.fail(error, SENDING)


def publish_ephemeral(process: Process, drafts: Sequence[Draft]) -> list[Message]:
    """Hints and nothing else: whoever is live sees the messages, nobody else ever will."""
    messages = [message_of(draft) for draft in drafts]
    by_group: dict[str, list[Frame]] = {}
    for message in messages:
        by_group.setdefault(message.group_id, []).append(message_frame(message))
    for group, frames in by_group.items():
        for hint in ephemeral_hints(group, frames):
            process.hints.publish(hint)
    return messages


def notify_listeners(process: Process, messages: Sequence[Message]) -> None:
    new = [message for message in messages if not message.is_repeated]
    for listener in list(process.listeners) if new else []:
        listener(new)


# Inside the caller's transaction


def insert(process: Process, drafts: Sequence[Draft], connection: BaseDatabaseWrapper) -> list[Message]:
    """Inserts the drafts; their offsets come with the commit, or else with the next poll of any hub."""
    messages = process.log.insert_waiting(drafts)
    if connection.in_atomic_block:
        transaction.on_commit(partial(sequence, process, messages), using=connection.alias, robust=True)
    return messages


def sequence(process: Process, messages: Sequence[Message]) -> None:
    """Gives committed messages their offsets, and hints. If this fails, the next poll of any hub does it."""
    try:
        if not process.log.fill_in_offsets(messages):
            for group in sorted({message.group_id for message in messages}):
                process.commit.follow_up([process.log.sequence(group, PATIENCE)])
            process.log.fill_in_offsets(messages)
    except LogUnavailable as error:  # or somebody holds the group: whoever lets it go, or the next poll, sees to it
        note_failure(process, error)
    except InvalidMessage as error:  # Django would log it as it is, with what is in the row
        say(logging.ERROR, "Messages wait: the database does not let them be sequenced", error=error)


# From a connection


async def relay(node: Node, drafts: Sequence[Draft]) -> list[Message]:
    """Sends what a client said, all or none, in the threads of its node. Raises LogUnavailable."""
    messages = await relayed(node, drafts)
    for group in {message.group_id for message in messages if message.offset is not None}:
        await see_begin(node, group)
    return messages


async def relayed(node: Node, drafts: Sequence[Draft]) -> list[Message]:
    process = node.process
    threads = await node.database.threads()
    if not isinstance(threads, OwnThreads):
        return await threads.write(publish, process, drafts)
    try:
        messages = await process.commit.relay(drafts, threads)
    except NoLog as error:
        process.health.no_log.fail(error)
        messages = publish_ephemeral(process, drafts)
    except LogUnavailable as error:
        note_failure(process, error)
        raise
    else:
        if process.health.failing:
            process.health.log_works()
    if process.listeners:
        notify_listeners(process, messages)
    return messages


async def see_begin(node: Node, group: str) -> None:
    """Has a hub that knows of no message in a group look for what was just committed there.

    What begins and is taken back between two looks, by an older backup, leaves no trace: nobody else would tell the
    sender. Raises OutcomeUnknown where nothing is found.
    """
    stream = node.hub.streams.get(group)
    if stream is None or stream.epoch != VOID:
        return
    try:
        await node.hub.catch_up(stream)
    except Exception as error:
        raise OutcomeUnknown("The first message of a group was committed, and could not be read.") from error
    if stream.epoch == VOID and node.hub.streams.get(group) is stream:  # else nobody here follows the group any more
        raise OutcomeUnknown("The first message of a group was committed, and is gone.")
