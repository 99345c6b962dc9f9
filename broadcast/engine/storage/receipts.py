"""Receipts: what readers have read and dismissed; those of users are rows beside the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Q

from ...models import Receipt
from ..system import System
from .database import PATIENCE, alias, in_own_transaction
from .log import Log
from .newest import SCAN_LIMIT


@dataclass(slots=True)
class Seen:
    """How far somebody has read in each epoch, and the offsets that they have dismissed there."""

    read: dict[str, int] = field(default_factory=dict)
    dismissed: dict[str, set[int]] = field(default_factory=dict)

    def is_unread(self, epoch: str, offset: int) -> bool:
        return offset > self.read.get(epoch, 0) and not self.is_dismissed(epoch, offset)

    def is_dismissed(self, epoch: str, offset: int) -> bool:
        return offset in self.dismissed.get(epoch, ())


@dataclass(slots=True, frozen=True)
class Place:
    """One message's place in a group's log."""

    group: str
    epoch: str
    offset: int


class Receipts:
    """The receipts of users. Raises as the log does."""

    def __init__(self, log: Log, system: System) -> None:
        self._log = log
        self._system = system

    def of(self, user: Any, groups: Sequence[str]) -> Seen:
        """What the user with this key has read and dismissed in these groups, by one query."""
        seen = Seen()
        with self._log.access():
            rows = receipts(user).filter(group__in=groups).values_list("kind", "epoch", "offset")
            for kind, epoch, offset in rows:
                if kind == Receipt.Kind.READ:
                    seen.read[epoch] = max(offset, seen.read.get(epoch, 0))
                else:
                    seen.dismissed.setdefault(epoch, set()).add(offset)
        return seen

    def keep(self, user: Any, kind: str, found: Sequence[Place], since: datetime) -> None:
        """Keeps that a user has read up to each of these places, or dismissed it, if that is in the log.

        What it makes needless goes, what no page looks at any more, and what is from before ``since``: so a user has no
        more than ``SCAN_LIMIT`` of a group. Servers and tabs may do so at once.
        """
        heads = self._log.heads_in_log([place.group for place in found])
        rows: list[Receipt] = []
        needless = Q(at__lt=since)
        for place in found:
            head = heads.get(place.group)
            if head is None or head.epoch != place.epoch:
                continue
            offset = min(place.offset, head.offset) if kind == Receipt.Kind.READ else place.offset
            out_of_sight = max(head.floor, head.offset - SCAN_LIMIT)
            if not out_of_sight < offset <= head.offset:
                continue
            where = {"group": place.group, "epoch": place.epoch, "kind": kind}
            rows.append(Receipt(user_id=user, offset=offset, at=self._system.now(), **where))
            needless |= Q(offset__lte=offset - 1 if kind == Receipt.Kind.READ else out_of_sight, **where)
        if rows:
            self._write(user, rows, needless)

    def _write(self, user: Any, rows: list[Receipt], needless: Q) -> None:
        with self._log.access() as connection:

            def work(again: bool) -> None:
                Receipt.objects.using(connection.alias).bulk_create(rows, ignore_conflicts=True)
                receipts(user).filter(needless).delete()

            in_own_transaction(connection, self._system, work, PATIENCE)


def receipts(user: Any) -> Any:
    return Receipt.objects.using(alias()).filter(user_id=user)
