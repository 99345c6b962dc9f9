"""Hints: what tells hubs of new messages, and how it is packed into an event of the channel layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from ...exceptions import InvalidMessage
from ...groups import DEFAULT_GROUP
from ..frames import Fields, Frame, checked_epoch, checked_offset
from ..validation import MAX_DEPTH, SERVER, checked_author, checked_group, checked_json, checked_text, shown

EVENT = "broadcast.message"
SITE_MARK = "site_mark"  # the key of an event that says which site it is from
MAX_EVENT_MESSAGES = 100
MAX_EVENT_CHARACTERS = 200_000


@dataclass(slots=True, frozen=True)
class Hint:
    """Group g has messages up to ``head``, and here are some of them.

    ``head`` is None for ephemeral frames, which are in no log. ``epoch`` is that of the group's log.
    """

    group: str
    frames: list[Frame]
    epoch: str = ""
    head: int | None = None


def ephemeral_hints(group: str, frames: list[Frame]) -> Iterator[Hint]:
    """Hints of ephemeral frames, each small enough for one event: what an event leaves out could be read nowhere."""
    while frames:
        count = 1 + len(frames_that_fit(frames))
        yield Hint(group, frames[:count])
        frames = frames[count:]


def event_of(hint: Hint) -> Fields:
    """The hint as an event: the first message, and behind it as many more as fit.

    What is left out is noticed by ``head`` and read from the log.
    """
    event: Fields = {**hint.frames[0].fields, "type": EVENT}
    event.update(epoch=hint.epoch, head=hint.head)
    if more := frames_that_fit(hint.frames):
        event["more"] = [frame.fields for frame in more]
    return event


def is_ephemeral(event: Mapping[str, Any]) -> bool:
    """True for an event whose messages are in no log, so that they are lost with it, or doubled if it comes twice."""
    return event.get("type") == EVENT and event.get("head") is None


def frames_that_fit(frames: list[Frame]) -> list[Frame]:
    """The frames after the first that go into one event with it."""
    sizes = accumulate(frame.size for frame in frames[1:MAX_EVENT_MESSAGES])
    return frames[1 : 1 + sum(size <= MAX_EVENT_CHARACTERS for size in sizes)]


def hint_of(event: Mapping[str, Any]) -> Hint | None:
    """The hint in an event; None if it is an event of another type.

    ``author`` and ``body`` alone make an ephemeral frame: code that knows nothing of this app may
    send to the Channels group. Raises InvalidMessage if such an event is not sound.
    """
    if event.get("type") != EVENT:
        return None
    checked_json(dict(event), "event", MAX_DEPTH + 3)
    group = checked_group(event.get("group", DEFAULT_GROUP))
    more = event.get("more", [])
    if not isinstance(more, list):
        raise InvalidMessage(f"More messages of an event must be a list; they came as {shown(more)}.")
    messages = [checked_message(fields) for fields in (event, *more)]
    if event.get("offset") is None:
        return Hint(group, [ephemeral_frame(fields, group) for fields in messages])
    frames = [logged_frame(fields) for fields in messages]
    return Hint(group, frames, checked_epoch(event.get("epoch")), checked_offset(event.get("head")))


def checked_message(fields: object) -> Mapping[str, Any]:
    if not isinstance(fields, Mapping):
        raise InvalidMessage(f"A message of an event must be an object; it came as {shown(fields)}.")
    return fields


LAYER_KEYS = {"type", "epoch", "head", "origin", SITE_MARK, "more"}


def ephemeral_frame(event: Mapping[str, Any], group: str) -> Frame:
    author = checked_author(event.get("author", SERVER))
    body = checked_text(event.get("body"), "body")
    return frame_of({**event, "author": author, "body": body, "group": group, "offset": None})


def logged_frame(fields: Mapping[str, Any]) -> Frame:
    checked_text(fields.get("author"), "author")
    checked_text(fields.get("body"), "body")
    checked_offset(fields.get("offset"))
    return frame_of(fields)


def frame_of(fields: Mapping[str, Any]) -> Frame:
    kept = {key: value for key, value in fields.items() if key not in LAYER_KEYS}
    return Frame({"type": "message", **kept})
