"""The log: append, sequence, read, heads. It alone decides the order of a group's messages."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.db import IntegrityError
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from ...models import Group, Message
from .database import alias, in_own_transaction, log_access, reading, savepoint
from .locking import lock, new_epoch, open_group

Key = tuple[str, str, str, uuid.UUID]

MAX_REFS = 500  # in one query: databases limit its parameters


@dataclass(slots=True, frozen=True)
class Draft:
    """A message that was checked and not yet written."""

    group: str
    source: str
    author: str
    body: str
    data: dict[str, Any] | None = None
    user_id: Any = None
    ref: uuid.UUID = field(default_factory=uuid.uuid4)
    has_client_ref: bool = False

    def key(self) -> Key:
        """What makes sending idempotent: one message per group, author and ref."""
        return (self.group, self.source, self.author, self.ref)

    def message(self) -> Message:
        return Message(
            group_id=self.group,
            source=self.source,
            author=self.author,
            user_id=self.user_id,
            body=self.body,
            data=self.data,
            ref=self.ref,
        )


@dataclass(slots=True, frozen=True)
class Head:
    """How far a group's log has got."""

    epoch: str
    offset: int
    begin: int
    floor: int
    waiting: bool = False


@dataclass(slots=True, frozen=True)
class NewMessages:
    """Messages that a group's log has just got, in the order of their offsets without a gap."""

    group: str
    epoch: str
    messages: list[Message]


@dataclass(slots=True)
class AppendResult:
    """What became of some drafts: the message of each, and what the logs were extended by."""

    messages: list[Message]
    news: list[NewMessages]


def messages() -> QuerySet[Message]:
    return Message.objects.using(alias())


def groups() -> QuerySet[Group]:
    return Group.objects.using(alias())


def append(drafts: Sequence[Draft]) -> AppendResult:
    """Writes the drafts in one transaction and gives each its offset, after whatever waited before.

    A draft whose ref its author has used before in that group is not written again: its message is
    the one that is there. Must be called outside a transaction of the caller.
    """
    by_group: dict[str, list[Draft]] = defaultdict(list)
    for draft in drafts:
        by_group[draft.group].append(draft)

    def work(again: bool) -> AppendResult:
        found: dict[Key, Message] = {}
        # In one order for everybody, so that no two senders wait for each other.
        news = [append_to_group(name, by_group[name], found, again) for name in sorted(by_group)]
        return AppendResult([found[draft.key()] for draft in drafts], news)

    with log_access():
        return in_own_transaction(work)


def sequence(names: Iterable[str]) -> list[NewMessages]:
    """Gives offsets to the committed messages that wait in these groups."""

    def work(again: bool) -> list[NewMessages]:
        return [append_to_group(name, [], {}, again) for name in sorted(names)]

    with log_access():
        return in_own_transaction(work)


def append_to_group(name: str, drafts: list[Draft], found: dict[Key, Message], again: bool) -> NewMessages:
    """Extends one group by what waits in it, then by the drafts; ``found`` takes each draft's message."""
    group = lock(name, len(drafts))
    waiting = list(messages().filter(group_id=name, offset=None).order_by("id")) if group.has_waiting else []
    in_reader = [draft for draft in drafts if draft.has_client_ref or again]
    found.update(find(name, in_reader))
    found.update((key_of(message), message) for message in waiting)
    new: list[Message] = []
    for draft in drafts:
        if draft.key() in found:
            found[draft.key()].is_repeated = True
        else:
            found[draft.key()] = draft.message()
            new.append(found[draft.key()])
    offset = group.head - len(drafts)
    now = timezone.now()
    for message in (*waiting, *new):
        offset += 1
        message.offset, message.sent_at = offset, now
    if waiting:
        messages().bulk_update(waiting, ["offset", "sent_at"], batch_size=100)
    if new:
        messages().bulk_create(new)
    if offset != group.head:
        groups().filter(name=name).update(head=offset)
    return NewMessages(name, group.epoch, [*waiting, *new])


def find(name: str, drafts: Sequence[Draft]) -> dict[Key, Message]:
    """The messages that these drafts' refs already stand for."""
    wanted = {draft.key() for draft in drafts}
    found = with_refs(name, [draft.ref for draft in drafts])
    return {key_of(message): message for message in found if key_of(message) in wanted}


def with_refs(name: str, refs: Sequence[uuid.UUID]) -> list[Message]:
    found: list[Message] = []
    for start in range(0, len(refs), MAX_REFS):
        found += messages().filter(group_id=name, ref__in=refs[start : start + MAX_REFS])
    return found


def key_of(message: Message) -> Key:
    return (message.group_id, message.source, message.author, message.ref)


def insert_waiting(drafts: Sequence[Draft]) -> list[Message]:
    """Inserts the drafts into the caller's transaction, without offsets and without any group's row.

    All or none, under a savepoint, so that what fails here poisons nothing.
    """
    with log_access(), savepoint():
        if any(draft.has_client_ref for draft in drafts):
            return [insert_once(draft) for draft in drafts]
        return messages().bulk_create([draft.message() for draft in drafts])


def insert_once(draft: Draft) -> Message:
    known = find(draft.group, [draft])
    if draft.key() in known:
        known[draft.key()].is_repeated = True
        return known[draft.key()]
    try:
        with savepoint():
            return messages().bulk_create([draft.message()])[0]
    except IntegrityError:
        # Sent by a transaction that this one may not see yet; the message stands for the other.
        return find(draft.group, [draft]).get(draft.key(), draft.message())


def settle(inserted: Sequence[Message]) -> bool:
    """Completes messages that were inserted without offsets; whether all of them are sequenced."""
    for name in {message.group_id for message in inserted}:
        members = [message for message in inserted if message.group_id == name]
        refs = [message.ref for message in members]
        rows = {key_of(row): row for row in reading(partial(with_refs, name, refs))}
        for message in members:
            if row := rows.get(key_of(message)):
                message.pk, message.offset, message.sent_at = row.pk, row.offset, row.sent_at
    return all(message.offset is not None for message in inserted)


def heads(names: Iterable[str]) -> dict[str, Head]:
    """Where each of these groups stands, by one query; a group that is not in the log is left out."""
    waiting = Message.objects.filter(group_id=OuterRef("name"), offset=None)
    rows = groups().filter(name__in=list(names)).annotate(waiting=Exists(waiting))
    return {
        row.name: Head(row.epoch, row.head, row.begin, row.floor, row.waiting) for row in reading(lambda: list(rows))
    }


def read(group: str, after: int, limit: int) -> list[Message]:
    """Up to ``limit`` messages with offsets above ``after``, in order."""
    rows = messages().filter(group_id=group, offset__gt=after).order_by("offset")[:limit]
    return reading(lambda: list(rows))


def newest(group: str, limit: int) -> list[Message]:
    """The last ``limit`` messages, in order."""
    rows = messages().filter(group_id=group, offset__isnull=False).order_by("-offset")[:limit]
    return reading(lambda: list(reversed(rows)))


def join(group: str) -> tuple[Head, list[NewMessages]]:
    """Where a group stands now that somebody listens; what waited in it is sequenced first."""
    news: list[NewMessages] = []
    head = reading(lambda: opened(group))
    if head.waiting:
        news = sequence([group])
        head = reading(lambda: opened(group))
    return head, news


def opened(name: str) -> Head:
    row = open_group(name)
    waiting = messages().filter(group_id=name, offset=None).exists()
    return Head(row.epoch, row.head, row.begin, row.floor, waiting)


def renew_epoch(group: str, epoch: str, delivered: int) -> bool:
    """Starts a new epoch if the log still ends below an offset that was delivered under ``epoch``."""
    behind = Q(name=group, epoch=epoch, head__lt=delivered)

    def work(again: bool) -> bool:
        return bool(groups().filter(behind).update(epoch=new_epoch(), begin=F("head")))

    with log_access():
        return in_own_transaction(work)


def prune(group: str, keep: int | None, since: datetime | None, step: int = 500) -> bool:
    """Deletes up to ``step`` of the oldest messages; whether there may be more to delete.

    What goes is a prefix of the log: messages beyond the newest ``keep``, and those sent before
    ``since``. The floor moves in the same transaction, so a reader knows what it can no longer get.
    """

    def work(again: bool) -> bool:
        row = lock(group, 0)
        limit = min(row.head, row.floor + step)
        too_many = 0 if keep is None else row.head - keep
        too_old = 0 if since is None else last_before(since, group, row.floor, limit)
        floor = min(limit, max(row.floor, too_many, too_old))
        if floor > row.floor:
            groups().filter(name=group).update(floor=floor)
            messages().filter(group_id=group, offset__lte=floor).delete()
        return floor == limit < row.head

    with log_access():
        return in_own_transaction(work)


def last_before(since: datetime, group: str, floor: int, limit: int) -> int:
    """The offset up to which all messages are older than ``since``; looks no further than ``limit``."""
    recent = messages().filter(group_id=group, offset__gt=floor, offset__lte=limit, sent_at__gte=since)
    first = recent.order_by("offset").values_list("offset", flat=True).first()
    return limit if first is None else first - 1
