"""What sending does: check, append to the log, hint. The only way in for views, admin, commands and consumers."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.functional import Promise

from ..access.audiences import UNSET, group_for
from ..exceptions import InvalidMessage, LogUnavailable, NoLog
from ..groups import DEFAULT_GROUP
from ..models import Message
from .frames import Frame, message_frame
from .health import SENDING
from .hints.hint import ephemeral_hints
from .storage.database import in_callers_transaction, open_log
from .storage.log import message_of
from .storage.records import Draft
from .storage.threads import OwnThreads
from .validation import (
    MAX_AUTHOR,
    SERVER,
    checked_author,
    checked_body,
    checked_data,
    checked_group,
    checked_ref,
    is_servers_name,
    shown,
)

if TYPE_CHECKING:
    from .node import Node
    from .process import Process
    from .system import System

Item = str | Mapping[str, Any]
"""One of many messages: its body, or a dict of ``send``'s arguments (body, group, to, author, data, ref)."""

SEND_GAP = 0.002  # seconds: who sends in a loop has begun the next one by then

ITEM_KEYS = {"body", "group", "to", "author", "data", "ref"}


def send(
    body: str,
    *,
    group: str = DEFAULT_GROUP,
    to: Any = UNSET,
    author: Any = SERVER,
    data: Mapping[str, Any] | None = None,
    ref: uuid.UUID | str | None = None,
    persist: bool = True,
) -> Message:
    """Sends one message to everyone who listens to ``group``, now or when they come back.

    Outside a transaction the message is in the log when this returns. Inside one (``atomic()``,
    ``ATOMIC_REQUESTS``) it becomes part of it: a rollback takes it along, and until the commit its
    ``offset`` and ``sent_at`` are None. It never waits for listeners, however many or slow.

    ``to`` says whom it is for instead of ``group``: a user (all their tabs and nobody else), a saved
    instance of any model (whoever may see that object) or a group's name. None is refused, so that
    what was meant for one never goes to all.

    ``body`` is text, at most ``MAX_BODY`` characters. ``author`` is a name, or a user, whose name
    then is the author. ``data`` is a JSON object of at most ``MAX_DATA`` bytes. ``ref`` is a UUID:
    the same author's second message with it in the same group is not sent again, and the first is
    returned. With ``persist=False`` the message is not logged but only shown to whoever is live
    right now, transaction or not: for typing notices and progress.

    Where there is no log (before ``migrate``, in a test without database access) messages are
    delivered live only, with ``offset`` None; the log of the process says so once.

    Raises InvalidMessage for arguments that will not do, LogUnavailable if the log cannot be
    written (then nothing was sent), and its subclass OutcomeUnknown if the connection was lost
    during COMMIT and nobody can say.
    """
    return publish(current_process(), [draft_of(body, audience(group, to), author, data, ref)], persist)[0]


async def asend(
    body: str,
    *,
    group: str = DEFAULT_GROUP,
    to: Any = UNSET,
    author: Any = SERVER,
    data: Mapping[str, Any] | None = None,
    ref: uuid.UUID | str | None = None,
    persist: bool = True,
) -> Message:
    """``send`` for async code. Like the async ORM, it works in the thread of thread-sensitive calls.

    With ``persist=False`` there may be nothing to wait for; then it does not give way to other tasks.
    """
    if persist is False and isinstance(author, str) and asyncio.get_running_loop() in current_process().nodes:
        return send(body, group=group, to=to, author=author, data=data, ref=ref, persist=False)
    return await sync_to_async(send)(body, group=group, to=to, author=author, data=data, ref=ref, persist=persist)


def send_many(
    messages: Iterable[Item],
    *,
    group: str = DEFAULT_GROUP,
    to: Any = UNSET,
    author: Any = SERVER,
    data: Mapping[str, Any] | None = None,
    persist: bool = True,
) -> list[Message]:
    """Sends many messages in one transaction: all of them or none, in the order given.

    Each item is a body, or a dict of ``send``'s arguments, for which the keyword arguments here are
    the defaults. Everything is checked before anything is sent. Otherwise as ``send``.
    """
    return publish(current_process(), drafts_of(messages, audience(group, to), author, data), persist)


async def asend_many(
    messages: Iterable[Item],
    *,
    group: str = DEFAULT_GROUP,
    to: Any = UNSET,
    author: Any = SERVER,
    data: Mapping[str, Any] | None = None,
    persist: bool = True,
) -> list[Message]:
    """``send_many`` for async code."""
    return await sync_to_async(send_many)(messages, group=group, to=to, author=author, data=data, persist=persist)


def current_process() -> Process:
    from .process import current_process

    return current_process()


# Checking


def drafts_of(messages: Iterable[Item], group: str, author: Any, data: Any) -> list[Draft]:
    if isinstance(messages, str | Mapping) or not isinstance(messages, Iterable):
        raise InvalidMessage(f"send_many expects a list of messages; it came as {shown(messages)}.")
    return [draft_of(**arguments_of(item, group, author, data)) for item in messages]


def arguments_of(item: Item, group: str, author: Any, data: Any) -> dict[str, Any]:
    given = {"body": item} if isinstance(item, str) else item
    if not isinstance(given, Mapping):
        raise InvalidMessage(f"A message must be text or a dict; it came as {shown(given)}.")
    if unknown := given.keys() - ITEM_KEYS:
        expected = ", ".join(sorted(ITEM_KEYS))
        came = ", ".join(sorted(map(shown, unknown)))
        raise InvalidMessage(f"A message may have {expected}; it came with {came}.")
    if "to" in given:
        given = {**given, "group": audience(given.get("group", DEFAULT_GROUP), given["to"])}
    wanted = {key: value for key, value in given.items() if key != "to"}
    return {"body": None, "group": group, "author": author, "data": data, "ref": None, **wanted}


def audience(group: str, to: object) -> str:
    """The group that a message goes to, by its name or by whom it is for."""
    if to is UNSET:
        return group
    if group != DEFAULT_GROUP:
        raise InvalidMessage(f"Give to or group, not both; they came as {shown(to)} and {shown(group)}.")
    return group_for(to)


def draft_of(body: object, group: object, author: Any, data: object, ref: object) -> Draft:
    name, source, user_id = identity_of(author)
    if isinstance(body, Promise):  # a lazy translation
        body = str(body)
    return Draft(
        group=checked_group(group),
        source=source,
        author=name,
        user_id=user_id,
        body=checked_body(body),
        data=None if data is None else checked_data(data),
        ref=current_process().system.uuid() if ref is None else checked_ref(ref),
        has_client_ref=ref is not None,
    )


def identity_of(author: Any) -> tuple[str, str, Any]:
    """The name, the source and the user's key that stand for an author: a name, or a saved user."""
    if isinstance(author, type) or not hasattr(author, "get_username"):
        return checked_author(author), Message.Source.SERVER, None
    if not author.is_authenticated or author.pk is None:
        raise InvalidMessage("The author must be a name or a saved user; it came as an anonymous one.")
    name = checked_author(str(author.get_username())[:MAX_AUTHOR])
    if is_servers_name(name):
        raise InvalidMessage(f"{name!r} is the name under which this site speaks. No user can write under it.")
    return name, Message.Source.USER, author.pk


# Sending


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
        """Whether something is being sent, or was a moment ago."""
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
        health.log.fail(error, SENDING)
        raise
    if health.failing:
        health.log_works()
    return messages


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
            process.commit.follow_up(process.log.sequence({message.group_id for message in messages}))
            process.log.fill_in_offsets(messages)
    except LogUnavailable as error:
        process.health.log.fail(error, SENDING)


# From a connection


async def relay(node: Node, draft: Draft) -> Message:
    """Sends what a client said, in the threads of its node. Raises LogUnavailable."""
    process = node.process
    threads = await node.database.threads()
    if not isinstance(threads, OwnThreads):
        return (await threads.write(publish, process, [draft]))[0]
    try:
        with process.in_flight:
            messages = [await process.commit.relay(draft, threads)]
    except NoLog as error:
        process.health.no_log.fail(error)
        messages = publish_ephemeral(process, [draft])
    except LogUnavailable as error:
        process.health.log.fail(error, SENDING)
        raise
    else:
        process.health.log_works()
    notify_listeners(process, messages)
    return messages[0]
