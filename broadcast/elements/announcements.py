"""Announcements as a page shows them: which are still current, how they look, and where they lead."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext

from ..conf import is_number
from ..engine.frames import utc
from ..engine.process import current_process
from ..engine.storage.records import Head
from ..exceptions import NoLog
from ..models import Message
from .texts import TEXTS

LEVELS = ("info", "success", "warning", "error")
URGENT = ("warning", "error")
LINK = re.compile(r"(?:https?://|[/?#.])", re.IGNORECASE)

DAY = 24 * 3600  # seconds for which one that stays until it is dismissed is current
MAX_AGE = 7 * DAY  # seconds after which none is current

COOKIE = "broadcast_dismissed"  # written by announcements.js

MessageKey = tuple[str, str]
"""Epoch and offset of one, as text: in all groups there is no other with them."""


@dataclass(slots=True, frozen=True)
class Announcement:
    """One message of the site, and what its ``data`` says of how to show it."""

    message: Message
    epoch: str
    level: str
    title: str
    url: str
    timeout: float  # seconds; 0: until it is dismissed
    age: float  # seconds

    @property
    def key(self) -> MessageKey:
        return self.epoch, str(self.message.offset)

    @property
    def level_text(self) -> str:
        return gettext(TEXTS[self.level])

    @property
    def is_urgent(self) -> bool:
        return self.level in URGENT

    @property
    def is_current(self) -> bool:
        return self.age < min(self.timeout or DAY, MAX_AGE)

    @property
    def left_ms(self) -> int:
        """For how long it is still to be shown, in milliseconds; 0: until it is dismissed."""
        return max(1, round((self.timeout - self.age) * 1000)) if self.timeout else 0


@dataclass(slots=True, frozen=True)
class CurrentAnnouncements:
    """The announcements that a page shows, oldest first, and the position after them in each group.

    Without a log there are neither.
    """

    announcements: Sequence[Announcement] = ()
    positions: Sequence[Head] = ()

    @property
    def urgent(self) -> list[Announcement]:
        return [one for one in self.announcements if one.is_urgent]

    @property
    def others(self) -> list[Announcement]:
        return [one for one in self.announcements if not one.is_urgent]


def current_announcements(
    groups: Sequence[str], timeout: float, limit: int, without: Set[MessageKey], user: Any = None
) -> CurrentAnnouncements:
    """The newest ``limit`` that are current, ``without`` those that the visitor has dismissed or sees already.

    Nor those that the user with this key has dismissed, wherever that was.

    Raises LogUnavailable if the log cannot be read.
    """
    now = timezone.now()
    try:
        positions, newest = current_process().log.newest_of_site(groups, now - timedelta(seconds=MAX_AGE), user)
    except NoLog:
        return CurrentAnnouncements()
    found = [announcement(message, epoch, timeout, now) for message, epoch in newest]
    shown = [one for one in found if one.is_current and one.key not in without]
    shown.sort(key=lambda one: (one.message.sent_at, one.message.offset))
    return CurrentAnnouncements(shown[-limit:], positions)


def announcement(message: Message, epoch: str, timeout: float, now: datetime) -> Announcement:
    """A message as an announcement; a value in its ``data`` that is not acceptable counts as left out."""
    data: dict[str, Any] = message.data if isinstance(message.data, dict) else {}
    level, title, url, own = (data.get(key) for key in ("level", "title", "url", "timeout"))
    message.sent_at = sent_at = utc(message.sent_at or now)
    return Announcement(
        message,
        epoch,
        level=level if isinstance(level, str) and level in LEVELS else "info",
        title=title if isinstance(title, str) else "",
        url=url if isinstance(url, str) and LINK.match(url) else "",
        timeout=min(float(own), MAX_AGE) if own is not None and is_number(own) and own >= 0 else timeout,
        age=(utc(now) - sent_at).total_seconds(),
    )


def dismissed(cookie: str) -> set[MessageKey]:
    """The dismissed announcements, from ``<epoch>:<offset>.<offset>~<epoch>:…``."""
    entries = [entry.partition(":") for entry in cookie.split("~")]
    return {(epoch, offset) for epoch, _, offsets in entries for offset in offsets.split(".")}
