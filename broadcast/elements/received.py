"""What has come for a reader: announcements and messages to them, and which of these are new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from ..access.audiences import group_for
from ..access.identity import visitor
from ..access.signed_names import plain_name
from ..engine.frames import Fields, message_fields
from ..engine.process import current_process
from ..engine.storage.newest import MAX_COUNTED
from ..engine.storage.receipts import Place, Seen
from ..engine.storage.records import VOID, Head, Look
from ..exceptions import NoLog
from ..models import Message
from . import receipt_cookies
from .announcements import DAY, Announcement, announcement

LISTED = 20
MAX_LISTED = 100
AGE = 30 * DAY  # seconds that the list goes back
KEPT = AGE + DAY  # seconds for which receipts are kept


@dataclass(slots=True, frozen=True)
class Item:
    """One message of the list."""

    announcement: Announcement
    is_unread: bool
    is_dismissed: bool

    @property
    def message(self) -> Message:
        return self.announcement.message

    @property
    def is_from_somebody(self) -> bool:
        """True if a visitor wrote it, rather than the site."""
        return self.message.source != Message.Source.SERVER

    @property
    def fields(self) -> Fields:
        """The item as JSON has it."""
        more = {"epoch": self.announcement.epoch, "unread": self.is_unread, "dismissed": self.is_dismissed}
        return message_fields(self.message) | more


@dataclass(slots=True, frozen=True)
class Received:
    """The list, newest first; how many are new, listed or not; and where each group stands. Without a log, neither."""

    items: Sequence[Item] = ()
    unread: int = 0
    positions: Sequence[Head] = ()
    seen: Seen = field(default_factory=Seen)

    @property
    def count(self) -> str:
        """How many are new, as it is shown."""
        return f"{MAX_COUNTED - 1}+" if self.unread >= MAX_COUNTED else str(self.unread)

    def read(self, head: Head) -> int:
        return self.seen.read.get(head.epoch, 0)


def received(request: HttpRequest, names: Sequence[str], limit: int, by_account: bool = True) -> Received:
    """The newest ``limit`` in the groups of these names, for whoever makes the request.

    By two queries for a guest, whose browser keeps what they have read, and three for a user, whose account does; or
    their browser too, where it is not kept ``by_account``. Raises LogUnavailable.
    """
    process, user, now = current_process(), visitor(request), timezone.now()
    groups = [plain_name(name) for name in names]
    try:
        positions = process.log.positions(groups)
    except NoLog:
        return Received()
    is_kept = by_account and user is not None
    seen = process.receipts.of(user.pk, groups) if is_kept else receipt_cookies.seen_by(request.COOKIES)
    own = "" if user is None else group_for(user)
    looks = [
        Look(group, head, seen.read.get(head.epoch, 0), seen.dismissed.get(head.epoch, frozenset()), group == own)
        for group, head in zip(groups, positions, strict=True)
    ]
    found, unread = process.log.newest_for_reader(looks, now - timedelta(seconds=AGE), limit)
    listed = [announcement(message, epoch, 0, now) for message, epoch in found]
    listed.sort(key=lambda one: (one.message.sent_at, one.message.offset), reverse=True)
    return Received([item(one, seen) for one in listed[:limit]], unread, positions, seen)


def item(one: Announcement, seen: Seen) -> Item:
    place = one.epoch, one.message.offset or 0
    return Item(one, seen.is_unread(*place), seen.is_dismissed(*place))


def keep(request: HttpRequest, response: HttpResponse, user: Any, kind: str, places: Sequence[Place]) -> None:
    """Keeps that a user (None: a guest) has read up to each of these places, or dismissed it. Raises LogUnavailable."""
    places = [place for place in places if place.epoch != VOID]
    if user is None:
        receipt_cookies.keep(request, response, kind, places)
    elif places:
        current_process().receipts.keep(user.pk, kind, places, timezone.now() - timedelta(seconds=KEPT))
