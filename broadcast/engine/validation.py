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


def checked_json(value: object, path: str, depth: int) -> None:
    """Raises if anything in ``value`` cannot go through JSON, the database and a channel layer unchanged."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        checked_text(value, path)
    elif isinstance(value, int):
        if not INT64[0] <= value <= INT64[-1]:
            raise InvalidMessage(f"A whole number must fit into 64 bits; {path} does not.")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidMessage(f"A number must be finite; {path} came as {value}.")
    elif depth == 0:
        raise InvalidMessage(f"The data may be nested {MAX_DEPTH} deep; {path} goes deeper.")
    elif isinstance(value, dict):
        for key, item in value.items():
            checked_text(key, f"key of {path}")
            checked_json(item, f"{path}.{key}", depth - 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            checked_json(item, f"{path}[{index}]", depth - 1)
    else:
        raise InvalidMessage(f"The data must be made of JSON values; {path} came as {shown(value)}.")


def checked_text(text: object, what: str) -> str:
    """Text that UTF-8 and PostgreSQL can hold: no NUL, no lone surrogate."""
    if not isinstance(text, str):
        raise InvalidMessage(f"The {what} must be text; it came as {shown(text)}.")
    if "\x00" in text:
        raise InvalidMessage(f"The {what} must not contain the NUL character.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidMessage(f"The {what} must be valid Unicode; it came with a lone surrogate.") from None
    return str(text)


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
