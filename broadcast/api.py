"""Sending, as sites use it: ``send`` and ``send_many``, each also for async code.

``import broadcast`` imports this before Django is configured, so the functions import what they need when called.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from .exceptions import InvalidMessage

if TYPE_CHECKING:
    from .engine.process import Process
    from .engine.storage.records import Draft
    from .engine.validation import Identity
    from .models import Message

__all__ = ["asend", "asend_many", "send", "send_many"]

UNSET: Any = object()
"""The default of ``to``. None is no audience: it is what a relation that leads nowhere gives."""

Item = str | Mapping[str, Any]
"""One of many messages: its body, or a dict of ``send``'s arguments (body, group, to, author, data, ref, by)."""

ITEM_KEYS = {"body", "group", "to", "author", "data", "ref", "by"}


def send(
    body: str,
    *,
    group: str = "broadcast",
    to: Any = UNSET,
    author: Any = "Server",
    data: Mapping[str, Any] | None = None,
    ref: uuid.UUID | str | None = None,
    by: Any = None,
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
    returned. ``by`` says who had it sent, where that is not the author: a user or a name, kept with the
    message and shown in the admin, never to visitors. With ``persist=False`` the message is not logged
    but only shown to whoever is live right now, transaction or not: for typing notices and progress.

    Where there is no log (before ``migrate``, in a test without database access) messages are
    delivered live only, with ``offset`` None; the log of the process says so once.

    Raises InvalidMessage for arguments that will not do, LogUnavailable if the log cannot be
    written (then nothing was sent), and its subclass OutcomeUnknown if the connection was lost
    during COMMIT and nobody can say.
    """
    from .engine.process import current_process
    from .engine.publish import publish
    from .engine.validation import checked_draft

    process = current_process()
    draft = checked_draft(
        process, body, audience(group, to), identity(author), data, ref, "" if by is None else name_of(by)
    )
    return publish(process, [draft], persist)[0]


async def asend(
    body: str,
    *,
    group: str = "broadcast",
    to: Any = UNSET,
    author: Any = "Server",
    data: Mapping[str, Any] | None = None,
    ref: uuid.UUID | str | None = None,
    by: Any = None,
    persist: bool = True,
) -> Message:
    """``send`` for async code. Like the async ORM, it works in the thread of thread-sensitive calls.

    With ``persist=False`` there may be nothing to wait for; then it does not give way to other tasks.
    """
    if persist is False and isinstance(author, str):
        from .engine.process import current_process

        if asyncio.get_running_loop() in current_process().nodes:
            return send(body, group=group, to=to, author=author, data=data, ref=ref, by=by, persist=False)
    work = sync_to_async(send)
    return await work(body, group=group, to=to, author=author, data=data, ref=ref, by=by, persist=persist)


def send_many(
    messages: Iterable[Item],
    *,
    group: str = "broadcast",
    to: Any = UNSET,
    author: Any = "Server",
    data: Mapping[str, Any] | None = None,
    by: Any = None,
    persist: bool = True,
) -> list[Message]:
    """Sends many messages in one transaction: all of them or none, in the order given.

    Each item is a body, or a dict of ``send``'s arguments, for which the keyword arguments here are
    the defaults. Everything is checked before anything is sent. Otherwise as ``send``.
    """
    from .engine.process import current_process
    from .engine.publish import publish

    process = current_process()
    return publish(process, drafts_of(process, messages, audience(group, to), author, data, by), persist)


async def asend_many(
    messages: Iterable[Item],
    *,
    group: str = "broadcast",
    to: Any = UNSET,
    author: Any = "Server",
    data: Mapping[str, Any] | None = None,
    by: Any = None,
    persist: bool = True,
) -> list[Message]:
    """``send_many`` for async code."""
    work = sync_to_async(send_many)
    return await work(messages, group=group, to=to, author=author, data=data, by=by, persist=persist)


def drafts_of(process: Process, messages: Iterable[Item], group: str, author: Any, data: Any, by: Any) -> list[Draft]:
    from .engine.validation import checked_draft, shown

    if isinstance(messages, str | Mapping) or not isinstance(messages, Iterable):
        raise InvalidMessage(f"send_many expects a list of messages; it came as {shown(messages)}.")
    return [checked_draft(process, **arguments_of(item, group, author, data, by)) for item in messages]


def arguments_of(item: Item, group: str, author: Any, data: Any, by: Any) -> dict[str, Any]:
    from .engine.validation import shown

    given = {"body": item} if isinstance(item, str) else item
    if not isinstance(given, Mapping):
        raise InvalidMessage(f"A message must be text or a dict; it came as {shown(given)}.")
    if unknown := given.keys() - ITEM_KEYS:
        expected = ", ".join(sorted(ITEM_KEYS))
        came = ", ".join(sorted(map(shown, unknown)))
        raise InvalidMessage(f"A message may have {expected}; it came with {came}.")
    if "to" in given:
        given = {**given, "group": audience(given.get("group", "broadcast"), given["to"])}
    wanted = {key: value for key, value in given.items() if key != "to"}
    asked = {"body": None, "group": group, "author": author, "data": data, "ref": None, "by": by, **wanted}
    asked["identity"] = identity(asked.pop("author"))
    asked["by"] = "" if asked["by"] is None else name_of(asked["by"])
    return asked


def audience(group: str, to: object) -> str:
    """The group that a message goes to, by its name or by whom it is for."""
    if to is UNSET:
        return group
    from .access.audiences import group_for
    from .engine.validation import shown

    if group != "broadcast":
        raise InvalidMessage(f"Give to or group, not both; they came as {shown(to)} and {shown(group)}.")
    return group_for(to)


def identity(author: Any) -> Identity:
    """The name, the source and the user's key that stand for an author: a name, or a saved user."""
    if author == "Server":
        return "Server", "server", None
    from .access.identity import identity_of

    return identity_of(author)


def name_of(by: Any) -> str:
    """The name that is kept of whoever had a message sent."""
    from .access.identity import sender_name

    return sender_name(by)
