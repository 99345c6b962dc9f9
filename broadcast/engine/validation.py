"""Validation of a message's parts, all the way down, before anything is written."""

from __future__ import annotations

import json
import math
import unicodedata
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.utils.functional import Promise

from ..conf import conf
from ..exceptions import InvalidMessage
from ..groups import GROUP_NAME, is_group_name
from .storage.records import Draft

if TYPE_CHECKING:
    from .process import Process

MAX_AUTHOR = 255  # characters, the column's width
MAX_DEPTH = 32
INT64 = (-(2**63), 2**63 - 1)  # what every channel layer's serializer can carry
SERVER = "Server"


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
    if is_blank(text):
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


LOOKALIKES = {
    ord(char): letter
    for letter, chars in {
        "s": "5$\u01bd\u0282\u0455\u057f\u0575\u13d5\u13da\u2d1d\ua4e2\ua731",
        "e": "3\u01dd\u0258\u0259\u025b\u025c\u0435\u0437\u0454\u04bd\u03b5\u13ac\u1d07\u20ac\u212e\u2208\u2d39\ua4f0",
        "r": "\u00ae\u024d\u027c\u027d\u027e\u0280\u0433\u044f\u13a1\u13b1\u13d2\u1587\u1d26\u2c85\ua4e3\uab47\uab48",
        "v": "\u028b\u03bd\u03c5\u0475\u04af\u0667\u06f7\u13d9\u142f\u1d20\u221a\u2228\u22c1\u2d38\ua4e6",
    }.items()
    for char in chars
} | {first + ord(letter) - ord("a"): letter for first in (0x1F150, 0x1F170, 0x1F1E6) for letter in "serv"}
"""Characters that look like the letters of the server's name after ``casefold``: of other scripts, digits, badges."""

INVISIBLE = set("\u115f\u1160\u2800\u3164\uffa0")
"""Fillers that show nothing, though Unicode counts them among letters and symbols."""


def is_servers_name(name: str) -> bool:
    """True if people would read ``name`` as the name under which the site itself speaks: alike, or nearly so."""
    letters = unicodedata.normalize("NFKD", name).casefold().translate(LOOKALIKES)
    seen = "".join(char for char in letters if char.isalnum() and char not in INVISIBLE)
    return SERVER.casefold() in (seen, seen[::-1])


def is_blank(text: str) -> bool:
    """True if a reader would see nothing: white space, controls, and what joins or fills."""
    return all(unicodedata.category(char)[0] in "CZ" or char in INVISIBLE for char in text)


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
