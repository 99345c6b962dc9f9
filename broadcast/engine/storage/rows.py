"""Rows of messages: made from drafts, and inserted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from typing import Any

from django.db import IntegrityError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import Atomic

from ...models import Message
from ..slices import slices
from .records import Draft, NewMessages
from .refs import Key, find, key_of, key_of_draft

BY_HAND = ("sqlite", "postgresql")
COLUMNS = '"group_name", "offset", "source", "author", "by", "body", "user_id", "data", "ref", "sent_at"'
MAX_ROWS = 99  # in one statement: databases limit its parameters
ROW = f"({', '.join(['%s'] * len(COLUMNS.split()))})"


class RefUsed(IntegrityError):
    """There is a message with a ref that was not looked up: whoever tries again finds it."""


def is_by_hand(connection: BaseDatabaseWrapper) -> bool:
    """True where the database is known: the ORM takes longer to write a statement than the database to do it."""
    return connection.vendor in BY_HAND and connection.features.can_return_rows_from_bulk_insert


def to_look_up(connection: BaseDatabaseWrapper, drafts: Sequence[Draft]) -> list[Draft]:
    """The drafts whose refs have to be looked up, for inserting them by hand would not show that they are used.

    A user may have another name by now, by which the database knows them, or be somebody whom it does not know.
    """
    of_users = is_by_hand(connection)
    return [each for each in drafts if each.has_client_ref and (not of_users or each.source == Message.Source.USER)]


def insert(connection: BaseDatabaseWrapper, messages: Sequence[Message], refs_are_known: bool = True) -> None:
    """Inserts messages and gives them their keys.

    Unless ``refs_are_known`` to be new, it raises RefUsed where one is not; others may have been inserted before.
    """
    if not is_by_hand(connection):
        Message.objects.using(connection.alias).bulk_create(messages)
        return
    end = 'RETURNING "id"' if refs_are_known else 'ON CONFLICT DO NOTHING RETURNING "id"'
    with connection.cursor() as cursor:
        for part in slices(messages, MAX_ROWS):
            rows = ", ".join([ROW] * len(part))
            statement = f'INSERT INTO "broadcast_message" ({COLUMNS}) VALUES {rows} {end}'  # noqa: S608
            cursor.execute(statement, values_of(connection, part))
            keys = cursor.fetchall()
            if len(keys) < len(part):
                raise RefUsed("A message with the ref of one of these is there.")
            for message, (key,) in zip(part, keys, strict=True):
                message.pk = key
                message._state.adding, message._state.db = False, connection.alias


def values_of(connection: BaseDatabaseWrapper, messages: Sequence[Message]) -> list[Any]:
    """The values of all messages in one list, each message's in the order of the columns."""
    user, data, ref, sent_at = adapters("user", "data", "ref", "sent_at")
    values: list[Any] = []
    sent, moment = None, None  # the same for all of an append
    for each in messages:
        if each.sent_at is not sent:
            sent, moment = each.sent_at, sent_at(each.sent_at, connection)
        values += (each.group_id, each.offset, each.source, each.author, each.by, each.body)
        values += (user(each.user_id, connection), data(each.data, connection), ref(each.ref, connection), moment)
    return values


def adapters(*names: str) -> list[Callable[[Any, BaseDatabaseWrapper], Any]]:
    """What makes of fields' values what the database takes."""
    fields: list[Any] = [Message._meta.get_field(name) for name in names]
    return [field.get_db_prep_save for field in fields]


def savepoint(connection: BaseDatabaseWrapper) -> Atomic:
    """Undoes what fails inside it, so that the transaction around it stays sound.

    With autocommit off, the first savepoint on SQLite would be the transaction, and its end the commit.
    """
    usable = connection.vendor != "sqlite" or connection.connection.in_transaction
    return transaction.atomic(using=connection.alias, savepoint=usable)


def drafted(drafts: Sequence[Draft], known: dict[Key, Message]) -> tuple[list[Message], list[Message]]:
    """The message of each draft, a known one where it repeats that; and those of them that are new."""
    messages, new, told = list[Message](), list[Message](), dict(known)
    for draft in drafts:
        key = key_of_draft(draft) if known or draft.has_client_ref else None  # else its ref is a new one
        message = None if key is None else told.get(key)
        if message is None:
            message = message_of(draft)
            new.append(message)
        elif key in known:
            message.is_repeated = True
        if key is not None:
            told[key] = message
        messages.append(message)
    return messages, new


def told_apart(messages: Iterable[Message]) -> Iterator[Message]:
    """The messages; where one of them stands for a second draft, a copy that is marked as repeated."""
    told: set[int] = set()
    for message in messages:
        if id(message) in told and not message.is_repeated:
            message = copy(message)
            message.is_repeated = True
        told.add(id(message))
        yield message


def message_of(draft: Draft) -> Message:
    """A draft as a message. Its values come in the order of the fields: so Django is done in half the time."""
    said: Any = (draft.source, draft.author, draft.user_id, draft.by, draft.body, draft.data, draft.ref)
    return Message(None, draft.group, None, *said, None)  # type: ignore[misc]


def insert_all(connection: BaseDatabaseWrapper, name: str, drafts: list[Draft]) -> list[Message]:
    """Inserts drafts without offsets, waiting for whoever holds a ref of theirs; the message of each."""
    messages, new = drafted(drafts, find(name, drafts))
    insert(connection, new)
    return messages


def sequenced(messages: list[Message], news: NewMessages) -> list[Message]:
    """The messages, those that have just got their offsets with them."""
    rows = {key_of(message): message for message in news.messages}
    for message in messages:
        if row := rows.get(key_of(message)):
            message.offset, message.sent_at = row.offset, row.sent_at
    return messages


def insert_once(connection: BaseDatabaseWrapper, draft: Draft) -> Message:
    """Inserts a draft into the caller's transaction, unless there is a message with its ref."""
    [message], new = drafted([draft], find(draft.group, [draft]))
    if not new:
        return message
    try:
        with savepoint(connection):
            insert(connection, new)
            return message
    except IntegrityError:
        # Sent by a transaction that this one may not see yet; the message stands for the other.
        return next(iter(find(draft.group, [draft]).values()), message)
