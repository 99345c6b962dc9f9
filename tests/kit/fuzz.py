"""What strangers may write: text of any kind, JSON of any kind, and what looks nearly right."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from broadcast.exceptions import Refused

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)  # lone surrogates too
TEXT = st.text(max_size=60)
HEADER = st.binary(max_size=60).map(lambda value: value.translate(None, b"\0\r\n").decode("latin-1"))
"""What servers let through, as they and Django decode it."""


def nested(depth: int, bracket: str = "[") -> str:
    return bracket * depth + ("]" if bracket == "[" else "1" + "}") * depth


NUMBERS = st.integers() | st.sampled_from([2**53, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**400])
LEAVES = st.none() | st.booleans() | NUMBERS | st.floats() | ANY_TEXT
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner), max_leaves=8)
RAW = st.sampled_from(
    ["1e400", "-0", "9" * 5000, nested(33), nested(100_000), '"\\ud800"', '"\\u0000"', "NaN", "{", ""]
)


def as_json(value: Any) -> str:
    return json.dumps(value, allow_nan=True)


def mostly(*likely: Any) -> st.SearchStrategy[str]:
    """JSON of one of these values, or of any."""
    return st.one_of(st.sampled_from(likely).map(as_json), VALUES.map(as_json), RAW)


REF = "12345678-1234-5678-1234-567812345678"
PARTS: dict[str, st.SearchStrategy[str]] = {
    "type": mostly("message", "subscribe", "unsubscribe", "ping"),
    "body": mostly("hi", " ", "x" * 4000, "x" * 4001),
    "author": mostly("Ann", "x" * 255, "x" * 256),
    "group": mostly("broadcast", "news:1abc:x", "a b", "g" * 81),
    "ref": mostly(REF, REF.replace("-", ""), "x"),
    "data": mostly({}, {"a": [1, {"b": None}]}, {"a": "x" * 20_000}) | st.dictionaries(ANY_TEXT, VALUES).map(as_json),
    "after": mostly(0, 5, -1, True, 2**63),
    "epoch": mostly("", "e", "e" * 65),
    "announce": mostly(False, "0", "maybe"),
}
"""The keys of frames and of messages over HTTP."""


def object_of(parts: dict[str, str]) -> str:
    return "{" + ",".join(f"{as_json(key)}:{value}" for key, value in parts.items()) + "}"


SOUND = st.fixed_dictionaries(
    {"body": TEXT.map("x".__add__), "type": st.sampled_from(["message", "subscribe", "unsubscribe"])},
    optional={
        "author": TEXT.map("Ann ".__add__),
        "group": st.text("azAZ09_.-", min_size=1, max_size=80),
        "ref": st.uuids().map(str),
        "data": st.dictionaries(TEXT, st.integers(-(2**63), 2**63 - 1) | TEXT | st.lists(st.floats(allow_nan=False))),
        "after": st.integers(0, 2**63 - 1),
        "epoch": TEXT,
    },
).map(lambda fields: {key: as_json(value) for key, value in fields.items()})
OBJECTS = st.fixed_dictionaries({}, optional=PARTS)
SPOILT = st.tuples(SOUND, OBJECTS.map(lambda parts: dict(list(parts.items())[:1]))).map(lambda two: two[0] | two[1])
FRAMES = st.one_of((SOUND | SPOILT | OBJECTS).map(object_of), VALUES.map(as_json), ANY_TEXT, RAW)
"""Texts of frames, and of bodies that say that they are JSON: sound, spoilt in one place, and of any kind."""


def tried(function: Callable[..., Any], *args: Any) -> tuple[Any, Refused | None]:
    """What a function returns, or with what it refuses; any other error fails the test."""
    try:
        return function(*args), None
    except Refused as error:
        return None, error
