"""Refs: by them the log keeps one of what its sender sent more than once."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from ...models import Message
from .database import messages
from .records import Draft

Key = tuple[str, str, str, uuid.UUID]
"""Group, source, sender and ref: of messages with the same, the log keeps one."""

MAX_REFS = 500  # in one query: databases limit its parameters


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


def with_refs(name: str, refs: Sequence[uuid.UUID]) -> list[Message]:
    found: list[Message] = []
    for start in range(0, len(refs), MAX_REFS):
        found += messages().filter(group_id=name, ref__in=refs[start : start + MAX_REFS])
    return found
