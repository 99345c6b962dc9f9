"""The channel layer: how hints are named and packed for it, and this process's place in it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from channels.layers import get_channel_layer

from ..conf import conf
from .validation import checked_author, checked_text
from .wire import Fields, Frame

DEFAULT_GROUP = "broadcast"
EVENT = "broadcast.message"
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


class Origin:
    """The tag of this process, by which its hubs know their own process's hints. A fork has its own."""

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self.tag = uuid.uuid4().hex


origin = Origin()


def current_layer() -> Any:
    """The channel layer, or None where the site configured none."""
    return get_channel_layer(conf.CHANNEL_LAYER)


def channels_group(group: str) -> str:
    """The Channels group of a group; never one that the site uses for something else."""
    return DEFAULT_GROUP if group == DEFAULT_GROUP else f"{DEFAULT_GROUP}.{group}"


def event_of(hint: Hint) -> Fields:
    """The hint as an event: the first message at the top, as many more as is reasonable behind it.

    What is left out is noticed by ``head`` and read from the log.
    """
    first, more = hint.frames[0], []
    room = MAX_EVENT_CHARACTERS
    for frame in hint.frames[1:MAX_EVENT_MESSAGES]:
        room -= len(frame.fields["body"]) + 200
        if room < 0:
            break
        more.append(frame.fields)
    event: Fields = {**first.fields, "type": EVENT}
    event.update(epoch=hint.epoch, head=hint.head, origin=origin.tag)
    if more:
        event["more"] = more
    return event


def hint_of(event: Mapping[str, Any]) -> Hint | None:
    """What an event says; None if it is not meant for hubs, or came from this very process.

    ``author`` and ``body`` alone make an ephemeral frame: code that knows nothing of this app may
    send to the Channels group. Raises InvalidMessage if such an event is not sound.
    """
    if event.get("type") != EVENT or event.get("origin") == origin.tag:
        return None
    group = event.get("group", DEFAULT_GROUP)
    if event.get("offset") is None:
        return Hint(group, [Frame(ephemeral_fields(event, group))])
    frames = [frame_of(event), *(frame_of(fields) for fields in event.get("more", ()))]
    return Hint(group, frames, event["epoch"], event["head"])


LAYER_KEYS = {"type", "epoch", "head", "origin", "more"}


def frame_of(fields: Mapping[str, Any]) -> Frame:
    kept = {key: value for key, value in fields.items() if key not in LAYER_KEYS}
    return Frame({"type": "message", **kept})


def ephemeral_fields(event: Mapping[str, Any], group: str) -> Fields:
    author = checked_author(event.get("author", "Server"))
    body = checked_text(event.get("body"), "body")
    return {**frame_of(event).fields, "author": author, "body": body, "group": group, "offset": None}
