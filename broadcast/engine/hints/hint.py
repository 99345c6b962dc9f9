"""The channel layer: how hints are named and packed for it, and this process's place in it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeVar

from channels.layers import get_channel_layer

from ...conf import conf
from ...exceptions import InvalidMessage
from ...groups import DEFAULT_GROUP
from ..forks import after_fork
from ..frames import Fields, Frame, checked_epoch, checked_offset
from ..validation import MAX_DEPTH, SERVER, checked_author, checked_group, checked_json, checked_text, shown

T = TypeVar("T")

CONTROL_GROUP = ""  # no group has this name: the Channels group that is made of it, "broadcast.", has every hub in it
EVENT = "broadcast.message"
MAX_EVENT_MESSAGES = 100
MAX_EVENT_CHARACTERS = 200_000
TRIES = 3


@dataclass(slots=True, frozen=True)
class Hint:
    """Group g has messages up to ``head``, and here are some of them.

    ``head`` is None for ephemeral frames, which are in no log. ``epoch`` is that of the group's log.
    """

    group: str
    frames: list[Frame]
    epoch: str = ""
    head: int | None = None


class Origin:
    """The tag of this process, by which its hubs know their own process's hints. A fork has its own."""

    def __init__(self) -> None:
        self.renew()
        after_fork(self.renew)

    def renew(self) -> None:
        self.tag = uuid.uuid4().hex


origin = Origin()

own_channels: set[str] = set()
"""The channels of this process's hubs."""


def current_layer() -> Any:
    """The channel layer, or None where the site configured none."""
    return get_channel_layer(conf.CHANNEL_LAYER)


async def asked(seconds: float, function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """What the layer answers within ``seconds``; what fails is tried again at once.

    A client of Redis keeps several connections, and when Redis was away each of them fails once more later.
    """
    async with asyncio.timeout(seconds):
        for _ in range(TRIES - 1):
            with suppress(Exception):
                return await function(*args)
        return await function(*args)


def channels_group(group: str) -> str:
    """The Channels group of a group; never one that the site uses for something else."""
    return DEFAULT_GROUP if group == DEFAULT_GROUP else f"{DEFAULT_GROUP}.{group}"


def ephemeral_hints(group: str, frames: list[Frame]) -> Iterator[Hint]:
    """Ephemeral frames as hints that an event holds whole: what it left out nobody could read anywhere."""
    while frames:
        count = 1 + len(frames_that_fit(frames))
        yield Hint(group, frames[:count])
        frames = frames[count:]


def event_of(hint: Hint) -> Fields:
    """The hint as an event: the first message at the top, as many more as is reasonable behind it.

    What is left out is noticed by ``head`` and read from the log.
    """
    event: Fields = {**hint.frames[0].fields, "type": EVENT}
    event.update(epoch=hint.epoch, head=hint.head, origin=origin.tag)
    if more := frames_that_fit(hint.frames):
        event["more"] = [frame.fields for frame in more]
    return event


def frames_that_fit(frames: list[Frame]) -> list[Frame]:
    """The frames after the first that go into one event with it."""
    sizes = accumulate(frame.size for frame in frames[1:MAX_EVENT_MESSAGES])
    return frames[1 : 1 + sum(size <= MAX_EVENT_CHARACTERS for size in sizes)]


def hint_of(event: Mapping[str, Any]) -> Hint | None:
    """What an event says; None if it is not meant for hubs, or came from this very process.

    ``author`` and ``body`` alone make an ephemeral frame: code that knows nothing of this app may
    send to the Channels group. Raises InvalidMessage if such an event is not sound.
    """
    if event.get("type") != EVENT or event.get("origin") == origin.tag:
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


LAYER_KEYS = {"type", "epoch", "head", "origin", "more"}


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
