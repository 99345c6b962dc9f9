"""Announcements as a page shows them: which are still current, how they look, and where they lead."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.contrib.messages import get_messages
from django.http import HttpRequest
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
# Where one may lead, as in card.js: nothing that runs, and no control character, of which browsers leave some out.
LINK = re.compile(r"(?:https?://|mailto:|tel:|[/?#.]|[^:/?#\s]+(?:[/?#]|$))[^\x00-\x1f\x7f-\x9f]*\Z", re.IGNORECASE)

DAY = 24 * 3600  # seconds for which one that stays until it is dismissed is current
MAX_AGE = 7 * DAY  # seconds after which none is current

COOKIE = "broadcast_dismissed"  # written by dismissed.js

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
    name: str = ""  # that by which the page has its group; a signed one perhaps

    @property
    def key(self) -> MessageKey:
        return self.epoch, str(self.message.offset)

    @property
    def level_text(self) -> str:
        return gettext(TEXTS[self.level])

    @property
    def dismiss_text(self) -> str:
        return gettext(TEXTS["dismiss_one"]).replace("{n}", self.title or self.message.body)

    @property
    def rank(self) -> int:
        """The one with the higher is shown where there is room for one; card.js has the same."""
        if self.level == "error":
            return 3
        if not self.timeout:
            return 2
        return 1 if self.level == "warning" else 0

    @property
    def is_current(self) -> bool:
        return self.age < min(self.timeout or DAY, MAX_AGE)

    @property
    def left_ms(self) -> int:
        """For how long it is still to be shown, in milliseconds; 0: until it is dismissed."""
        return max(1, round((self.timeout - self.age) * 1000)) if self.timeout else 0


@dataclass(slots=True, frozen=True)
class CurrentAnnouncements:
    """The announcements that a page has, oldest first, and the position after them in each group.

    Without a log there are neither. Those that ``waiting`` has are there and not shown, for want of room.
    """

    announcements: Sequence[Announcement] = ()
    positions: Sequence[Head] = ()
    limit: int = 0

    @property
    def waiting(self) -> list[Announcement]:
        newest_first = list(reversed(self.announcements))
        return sorted(newest_first, key=lambda one: one.rank, reverse=True)[self.limit :]


def current_announcements(
    groups: Sequence[str], timeout: float, limit: int, without: Set[MessageKey], user: Any = None
) -> CurrentAnnouncements:
    """All that are current, ``without`` those that the visitor has dismissed or sees already.

    Nor those that the user with this key has dismissed, wherever that was.

    Raises LogUnavailable if the log cannot be read.
    """
    now = timezone.now()
    try:
        since = now - timedelta(seconds=MAX_AGE)
        positions, newest = current_process().log.newest_of_site(groups, since, len(without), user)
    except NoLog:
        return CurrentAnnouncements()
    found = [announcement(message, epoch, timeout, now) for message, epoch in newest]
    shown = [one for one in found if one.is_current and one.key not in without]
    shown.sort(key=lambda one: (one.message.sent_at, one.message.offset))
    return CurrentAnnouncements(shown, positions, limit)


def announcement(message: Message, epoch: str, timeout: float, now: datetime) -> Announcement:
    """A message as an announcement; a value in its ``data`` that is not acceptable counts as left out."""
    data: dict[str, Any] = message.data if isinstance(message.data, dict) else {}
    level, title, url, own = (data.get(key) for key in ("level", "title", "url", "timeout"))
    message.sent_at = sent_at = utc(message.sent_at or now)
    level = level if isinstance(level, str) and level in LEVELS else "info"
    timeout = 0.0 if level == "error" else timeout
    return Announcement(
        message,
        epoch,
        level=level,
        title=title if isinstance(title, str) else "",
        url=url if isinstance(url, str) and LINK.match(url) else "",
        timeout=min(float(own), MAX_AGE) if own is not None and is_number(own) and own >= 0 else timeout,
        age=(utc(now) - sent_at).total_seconds(),
    )


def messages_of_django(request: HttpRequest, timeout: float) -> list[Announcement]:
    """Django's own messages for this visitor, as announcements of this page alone; they count as shown then."""
    now = timezone.now()
    return [
        announcement(Message(body=str(one), sent_at=now, data={"level": level_of(one)}), "", timeout, now)
        for one in get_messages(request)
    ]


def level_of(message: Any) -> str:
    """The level of one of Django's messages, which may have a number of the site's own."""
    steps = ((messages.ERROR, "error"), (messages.WARNING, "warning"), (messages.SUCCESS, "success"))
    return next((level for least, level in steps if message.level >= least), "info")


def dismissed(cookie: str) -> set[MessageKey]:
    """The dismissed announcements, from ``<epoch>:<offset>.<offset>~<epoch>:…``."""
    entries = [entry.partition(":") for entry in cookie.split("~")]
    return {(epoch, offset) for epoch, _, offsets in entries for offset in offsets.split(".") if offset}
