"""Validation of a message's parts, all the way down, before anything is written."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.utils.functional import Promise

from ..conf import conf
from ..exceptions import InvalidMessage
from ..groups import GROUP_NAME, is_group_name
from .names import SERVER as SERVER
from .names import hiding_in, is_blank, is_servers_name
from .storage.records import Draft

if TYPE_CHECKING:
    from .process import Process

MAX_AUTHOR = 255  # characters, the column's width
MAX_DEPTH = 32
VISIBLE = re.compile("[!-~]")  # what nearly every text begins with
INT64 = (-(2**63), 2**63 - 1)  # what every channel layer's serializer can carry


Identity = tuple[str, str, Any]
"""Under which name a message goes out: the name, the source, and the key of a user or None."""


def checked_draft(
    process: Process, body: object, group: object, identity: Identity, data: object, ref: object, by: str = ""
) -> Draft:
    """A message to be sent by code, made of the arguments of ``send``. Raises InvalidMessage."""
    name, source, user_id = identity
    if isinstance(body, Promise):  # a lazy translation
        body = str(body)
    return Draft(
        group=checked_group(group),
        source=source,
        author=name,
        user_id=user_id,
        body=checked_body(body),
        data=None if data is None else checked_data(data),
        ref=process.system.uuid() if ref is None else checked_ref(ref),
        has_client_ref=ref is not None,
        by=by,
    )


def checked_body(body: object) -> str:
    text = checked_text(body, "body")
    if not VISIBLE.match(text) and is_blank(text):
        raise InvalidMessage("The body must be text that is not empty; it came empty.")
    if len(text) > conf.MAX_BODY:
        said = f"The body may have {conf.MAX_BODY} characters; it came with {len(text)}."
        raise InvalidMessage(said, "too_large", detail=f'BROADCAST["MAX_BODY"] is {conf.MAX_BODY}.')
    return text


def checked_author(author: object) -> str:
    text = checked_text(author, "author")
    if is_blank(text):
        raise InvalidMessage("The author must be text that is not empty; it came empty.")
    if len(text) > MAX_AUTHOR:
        raise InvalidMessage(f"The author may have {MAX_AUTHOR} characters; it came with {len(text)}.", "too_large")
    return text


def checked_own_author(author: str) -> str:
    """A name under which a client may write: nothing in it hides or steers text, and it is not like the site's own."""
    if is_servers_name(author):
        raise InvalidMessage(f"{author!r} is the name under which this site speaks. Take another.", "forbidden")
    if char := hiding_in(author):
        came = f"it came with U+{ord(char):04X}"
        raise InvalidMessage(f"The author must not have characters that hide or steer text; {came}.", "forbidden")
    return checked_author(author)


def checked_group(group: object) -> str:
    if not is_group_name(group):
        raise InvalidMessage(f"The group must be text that matches {GROUP_NAME.pattern}; it came as {shown(group)}.")
    return str(group)


def checked_ref(ref: object) -> uuid.UUID:
    if isinstance(ref, uuid.UUID):
        return ref
    try:
        if isinstance(ref, str):
            return uuid.UUID(ref)
    except ValueError:
        pass
    raise InvalidMessage(f"The ref must be a UUID; it came as {shown(ref)}.")


def checked_data(data: object) -> dict[str, Any]:
    """The data as it will be read back: a copy, made of JSON's own types all the way down."""
    if not isinstance(data, Mapping):
        raise InvalidMessage(f"The data must be a JSON object; it came as {shown(data)}.")
    checked_json(dict(data), "data", MAX_DEPTH)
    text = json.dumps(dict(data), ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode())
    if size > conf.MAX_DATA:
        said = f"The data may have {conf.MAX_DATA} bytes as JSON; it came with {size}."
        raise InvalidMessage(said, "too_large", detail=f'BROADCAST["MAX_DATA"] is {conf.MAX_DATA}.')
    copy: dict[str, Any] = json.loads(text)
    return copy


class Unsound(Exception):
    """A value that cannot go through JSON, and the steps that lead to it, the last one first."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.steps: list[str] = []


def checked_json(value: object, path: str, depth: int) -> None:
    """Raises if anything in ``value`` cannot go through JSON, the database and a channel layer unchanged."""
    try:
        look_into(value, depth)
    except Unsound as error:  # only now is it asked where, which takes longer than all the rest
        place = path + "".join(reversed(error.steps))
        raise InvalidMessage(error.text.replace("{path}", place)) from None


def look_into(value: object, depth: int) -> None:
    if isinstance(value, str):
        if problem := problem_with_text(value):
            raise Unsound(f"The {{path}} {problem}")
    elif value is None or isinstance(value, bool):
        return
    elif isinstance(value, int):
        if not INT64[0] <= value <= INT64[-1]:
            raise Unsound("A whole number must fit into 64 bits; {path} does not.")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Unsound(f"A number must be finite; {{path}} came as {value}.")
    elif depth == 0:
        raise Unsound(f"The data may be nested {MAX_DEPTH} deep; {{path}} goes deeper.")
    elif isinstance(value, dict | list | tuple):
        look_at_items(value, depth - 1)
    else:
        raise Unsound(f"The data must be made of JSON values; {{path}} came as {shown(value)}.")


def look_at_items(value: dict[Any, Any] | list[Any] | tuple[Any, ...], depth: int) -> None:
    has_keys = isinstance(value, dict)
    for step, item in value.items() if isinstance(value, dict) else enumerate(value):
        if has_keys and (problem := problem_with_text(step)):
            raise Unsound(f"The key of {{path}} {problem}")
        if type(item) is int and INT64[0] <= item <= INT64[-1]:
            continue  # at once, for there may be thousands
        try:
            look_into(item, depth)
        except Unsound as error:
            error.steps.append(f".{step}" if has_keys else f"[{step}]")
            raise


def checked_text(text: object, what: str) -> str:
    """Text that UTF-8 and PostgreSQL can hold: no NUL, no lone surrogate."""
    if problem := problem_with_text(text):
        raise InvalidMessage(f"The {what} {problem}")
    return str(text)


def problem_with_text(text: object) -> str:
    """What is wrong with a text; empty if it will do."""
    if not isinstance(text, str):
        return f"must be text; it came as {shown(text)}."
    if "\x00" in text:
        return "must not contain the NUL character."
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "must be valid Unicode; it came with a lone surrogate."
    return ""


def shown(value: object) -> str:
    """A value in an error's sentence: short, and in words that mean something outside Python too."""
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:40] + "…")
    kinds: dict[type, str] = {
        type(None): "nothing",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return kinds.get(type(value), type(value).__name__)
