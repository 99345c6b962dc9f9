"""Publishing: append drafts to the log, and hint. The only way in for views, admin, commands and consumers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction

from ..exceptions import InvalidMessage, LogUnavailable, NoLog
from ..models import Message
from .commit import after_append, append_alone, append_together
from .frames import Frame, message_frame
from .health import SENDING, log_failing, no_log
from .hints.hint import ephemeral_hints
from .hints.publisher import tell
from .hub.hub import current_hub
from .hub.write_scheduler import sends
from .storage import log
from .storage.database import alias, in_callers_transaction, log_access
from .storage.log import Draft
from .validation import shown

listeners: list[Callable[[Sequence[Message]], None]] = []
"""Told of whatever this process sends, in the sender's thread; how tests capture messages."""


def publish(drafts: Sequence[Draft], persist: bool = True) -> list[Message]:
    """Writes drafts to the log, or into the caller's transaction, and hints; or shows them live only."""
    if not isinstance(persist, bool):
        raise InvalidMessage(f"persist must be True or False; it came as {shown(persist)}.")
    if not drafts:
        return []
    with sends:
        messages = written(drafts) if persist else publish_ephemeral(drafts)
    notice(messages)
    return messages


def written(drafts: Sequence[Draft]) -> list[Message]:
    try:
        with log_access() as connection:
            if in_callers_transaction(connection):
                messages = insert(drafts, hooked=connection.in_atomic_block)
            elif connection.in_atomic_block:  # a TestCase's own transaction: nobody else's business
                messages = append_alone(drafts)
            else:
                messages = append_together(drafts)
    except SynchronousOnlyOperation:
        raise SynchronousOnlyOperation(
            "send() and send_many() write to the database; in async code use: await asend(…)"
        ) from None
    except NoLog as error:
        no_log.fail(error)
        return publish_ephemeral(drafts)
    except LogUnavailable as error:
        log_failing.fail(error, SENDING)
        raise
    tell_it_is_well()
    return messages


def tell_it_is_well() -> None:
    """Whoever has written to the log can also read it."""
    no_log.recover()
    log_failing.recover(SENDING)
    log_failing.recover()


def publish_ephemeral(drafts: Sequence[Draft]) -> list[Message]:
    """Hints and nothing else: whoever is live sees the messages, nobody else ever will."""
    messages = [draft.message() for draft in drafts]
    by_group: dict[str, list[Frame]] = {}
    for message in messages:
        by_group.setdefault(message.group_id, []).append(message_frame(message))
    for group, frames in by_group.items():
        for hint in ephemeral_hints(group, frames):
            tell(hint)
    return messages


def notice(messages: Sequence[Message]) -> None:
    new = [message for message in messages if not message.is_repeated]
    for listener in list(listeners) if new else []:
        listener(new)


# Inside the caller's transaction


def insert(drafts: Sequence[Draft], hooked: bool) -> list[Message]:
    """Inserts the drafts; their offsets come with the commit, or else with the next look of any hub."""
    messages = log.insert_waiting(drafts)
    if hooked:
        transaction.on_commit(partial(sequence, messages), using=alias(), robust=True)
    return messages


def sequence(messages: Sequence[Message]) -> None:
    """Gives committed messages their offsets, and hints. If this fails, a hub's next look does it."""
    try:
        if not log.settle(messages):
            after_append(log.sequence({message.group_id for message in messages}))
            log.settle(messages)
    except LogUnavailable as error:
        log_failing.fail(error, SENDING)


# From a connection


async def relay(draft: Draft) -> Message:
    """Sends what a client said, in the threads of this loop's hub. Raises LogUnavailable."""
    hub = current_hub()
    threads = await hub.threads()
    if threads.are_callers:
        return (await threads.write(publish, [draft]))[0]
    try:
        messages = [await hub.relays.send(draft)]
    except NoLog as error:
        no_log.fail(error)
        messages = publish_ephemeral([draft])
    except LogUnavailable as error:
        log_failing.fail(error, SENDING)
        raise
    else:
        tell_it_is_well()
    notice(messages)
    return messages[0]
