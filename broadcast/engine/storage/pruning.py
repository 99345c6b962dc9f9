"""Pruning: what the log no longer keeps, by count and by age, and groups that are erased."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import connections, transaction
from django.db.models import F, OuterRef, Subquery

from ...exceptions import LogUnavailable
from ...groups import retention
from ..health import SENDING, Health
from ..log_lines import say
from ..system import System
from .database import IMPATIENCE, alias, groups, in_own_transaction, lock, messages
from .log import Log
from .records import NewMessages

EVERY = 250  # messages between two steps while a group grows
STEP = 500  # messages deleted at once


class Pruning:
    """Deletes what need not be kept, in small steps. Raises as the log does where nothing else is said."""

    def __init__(self, log: Log, system: System, health: Health) -> None:
        self._log = log
        self._system = system
        self._health = health

    def due(self, names: Sequence[str]) -> list[str]:
        """Those of these groups that keep more than they have to, by one query."""
        first = messages().filter(group_id=OuterRef("name"), offset=OuterRef("floor") + 1).values("sent_at")
        with self._log.access():
            found = list(
                groups()
                .filter(name__in=names, head__gt=F("floor"))
                .values_list("name", "head", "floor", Subquery(first))
            )
        return [name for name, head, floor, sent_at in found if self._is_due(name, head - floor, sent_at)]

    def _is_due(self, group: str, count: int, oldest: datetime | None) -> bool:
        keep, seconds = retention(group)
        since = None if seconds is None else self._ago(seconds)
        is_old = since is not None and (oldest is None or oldest < since)
        return is_old or (keep is not None and count > keep)

    def step(self, group: str) -> bool:
        """Deletes some of what need not be kept. Returns True if there may be more.

        It writes, however little there is to delete, so it also shows that messages can be sent.
        """
        keep, seconds = retention(group)
        may_be_more = self.prune(group, keep, None if seconds is None else self._ago(seconds))
        self._health.log.recover(SENDING)
        return may_be_more

    def _ago(self, seconds: float) -> datetime | None:
        """That long before now; None if that is before the calendar begins."""
        try:
            return self._system.now() - timedelta(seconds=seconds)
        except OverflowError:
            return None

    def follow(self, news: NewMessages) -> None:
        """Takes a step whenever a group has grown by ``EVERY``. Never raises: a failure can wait for the next."""
        offsets = [message.offset or 0 for message in news.messages]
        if not offsets:
            return
        due = offsets[-1] // EVERY - (offsets[0] - 1) // EVERY
        try:
            while due > 0 and self.step(news.group):
                due -= 1
        except LogUnavailable:
            return
        except Exception as error:
            # What was sent was sent: its sender must not hear of this.
            say(logging.ERROR, "Old messages of %s cannot be deleted", news.group, error=error)

    def prune(self, group: str, keep: int | None, since: datetime | None, step: int = STEP) -> bool:
        """Deletes up to ``step`` of the oldest messages. Returns True if there may be more to delete.

        What goes is a prefix of the log: messages beyond the newest ``keep``, and those sent before
        ``since``. The floor moves in the same transaction, so a reader knows what it can no longer get.
        """
        with self._log.access() as connection:

            def work(again: bool) -> bool:
                head = lock(connection, group, 0)
                limit = min(head.offset, head.floor + step)
                too_many = 0 if keep is None else head.offset - keep
                too_old = 0 if since is None else last_before(since, group, head.floor, limit)
                floor = min(limit, max(head.floor, too_many, too_old))
                if floor > head.floor:
                    groups().filter(name=group).update(floor=floor)
                    messages().filter(group_id=group, offset__lte=floor).delete()
                return floor == limit < head.offset

            return in_own_transaction(connection, self._system, work, IMPATIENCE)

    def erase(self, group: str) -> None:
        """Deletes all messages of a group, in the caller's transaction if there is one, and begins a new epoch.

        Whoever listens is told to go on in it. Its offsets follow the old ones, so that none ever means two messages.
        What waits for the commit of a transaction elsewhere is not deleted and comes first in the new epoch. Raises
        Django's database errors.
        """
        with transaction.atomic(using=alias()):
            # Nobody may append meanwhile: the message would be one of the old epoch in the new one.
            lock(connections[alias()], group, 0)
            messages().filter(group_id=group).delete()
            groups().filter(name=group).update(epoch=self._system.token(), begin=F("head"), floor=F("head"))


def last_before(since: datetime, group: str, floor: int, limit: int) -> int:
    """The offset up to which all messages are older than ``since``; looks no further than ``limit``."""
    recent = messages().filter(group_id=group, offset__gt=floor, offset__lte=limit, sent_at__gte=since)
    first = recent.order_by("offset").values_list("offset", flat=True).first()
    return limit if first is None else first - 1
