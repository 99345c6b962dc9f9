"""Records that go into the log and come out of it, as plain values."""

from __future__ import annotations

import uuid
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any

from ...models import Message

VOID = "void"
"""The epoch of every group that is not in the log yet. Its only offset is 0; all that is ever sent comes after it."""


MAX_OFFSET = 2**63 - 1
"""What the database can hold; no log gets so far."""


@dataclass(slots=True)  # made for each message, and four times as fast as a frozen one
class Draft:
    """A message that was checked and not yet written.

    ``has_client_ref`` says that the sender chose the ``ref``, so there may be a message with it already. ``by`` says
    who had it sent, where that is not the author.
    """

    group: str
    source: str
    author: str
    body: str
    ref: uuid.UUID
    data: dict[str, Any] | None = None
    user_id: Any = None
    has_client_ref: bool = False
    by: str = ""


@dataclass(slots=True, frozen=True)
class Head:
    """The head of a group's log: its newest offset, the one at which its epoch began, the last that is not kept."""

    epoch: str
    offset: int
    begin: int
    floor: int
    has_waiting: bool = False


@dataclass(slots=True, frozen=True)
class Look:
    """A reader's look into a group: where it stands, how far they have read, and what they have dismissed.

    ``is_own``: what anybody says there is for them; else what the site itself says.
    """

    group: str
    head: Head
    read: int = 0
    dismissed: Set[int] = frozenset()
    is_own: bool = False


NOTHING = Head(VOID, 0, 0, 0)
"""The head of a group that is not in the log."""


@dataclass(slots=True, frozen=True)
class NewMessages:
    """Messages that a group's log has just got, in the order of their offsets without a gap."""

    group: str
    epoch: str
    messages: list[Message] = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class AppendResult:
    """The result of an append: the message of each draft, and what is new in each group."""

    messages: list[Message]
    news: list[NewMessages]
