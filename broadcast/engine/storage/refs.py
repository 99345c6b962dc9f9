"""Refs: by them the log keeps one of what its sender sent more than once."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q

from ...models import Message
from ..slices import slices
from .database import messages
from .records import Draft
from .statements import fetch, places

Key = tuple[str, str, str, uuid.UUID]
"""Group, source, sender and ref: of messages with the same, the log keeps one."""

MAX_REFS = 400  # in one query, which names them twice: databases limit its parameters


def key_of(message: Message) -> Key:
    return (message.group_id, message.source, sender(message), message.ref)


def key_of_draft(draft: Draft) -> Key:
    return (draft.group, draft.source, sender(draft), draft.ref)


def sender(of: Message | Draft) -> str:
    """A user by their key, for two may have one name, and one may change it; anybody else by their name."""
    is_user = of.source == Message.Source.USER and of.user_id is not None
    return f"#{of.user_id}" if is_user else f"={of.author}"


def find(name: str, drafts: Sequence[Draft]) -> dict[Key, Message]:
    """The messages of a group that these drafts' refs already stand for."""
    wanted = {key_of_draft(draft) for draft in drafts}
    found = {key_of(message): message for message in with_refs(name, [draft.ref for draft in drafts])}
    return {key: message for key, message in found.items() if key in wanted}


def are_used(connection: BaseDatabaseWrapper, name: str, drafts: Sequence[Draft]) -> bool:
    """True if there are messages in the group with refs of these drafts: likely, but not surely, the same ones.

    By hand, for it is asked before whatever signed-in pages send. Users and others have an index of their own each.
    """
    refs: dict[bool, list[Any]] = {}
    prepared = Message._meta.get_field("ref").get_db_prep_value
    for draft in drafts:
        refs.setdefault(draft.source == Message.Source.USER, []).append(prepared(draft.ref, connection))
    table = connection.ops.quote_name(Message._meta.db_table)
    for is_user, wanted in refs.items():
        kind = "source = 'user'" if is_user else "NOT (source = 'user')"
        select = f"SELECT ref FROM {table} WHERE group_name = %s AND {kind} AND ref IN"  # noqa: S608 (its own names)
        for some in slices(wanted, MAX_REFS):
            if fetch(connection, f"{select} ({places(some)})", [name, *some]):
                return True
    return False


def with_refs(name: str, refs: Sequence[uuid.UUID]) -> list[Message]:
    """The messages of a group with these refs; of users and of others apart, for each have an index of their own."""
    of_users = Q(source=Message.Source.USER)
    found: list[Message] = []
    for some in slices(refs, MAX_REFS):
        rows = messages().filter(group_id=name, ref__in=some).order_by()
        found += rows.filter(of_users).union(rows.filter(~of_users), all=True)
    return found
