"""Drafts: the arguments of ``send``, checked all the way down, with users and objects turned into names and groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.functional import Promise

from .access.audiences import group_for
from .access.identity import identity_of
from .api import UNSET, Item
from .engine.process import current_process
from .engine.storage.records import Draft
from .engine.validation import checked_body, checked_data, checked_group, checked_ref, shown
from .exceptions import InvalidMessage
from .groups import DEFAULT_GROUP

ITEM_KEYS = {"body", "group", "to", "author", "data", "ref"}


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
