"""The log: append, sequence, read, heads. It alone gives a message its offset, and so the order of a group."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from django.db import DatabaseError, IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from ...exceptions import LogUnavailable
from ...models import Group, Message
from ..system import System
from .database import (
    IMPATIENCE,
    PATIENCE,
    TablesMissing,
    alias,
    in_own_transaction,
    is_lock_timeout,
    log_access,
    log_errors,
    open_log,
    patience_for_locks,
    reading,
    savepoint,
)
from .records import VOID, AppendResult, Draft, Head, NewMessages

T = TypeVar("T")

Key = tuple[str, str, str, uuid.UUID]
"""Group, source, author and ref: of messages with the same, the log keeps one."""

MAX_REFS = 500  # in one query: databases limit its parameters
HOLDING_MS = 50  # milliseconds that whoever holds a group's row waits for another lock


class Log:
    """The messages of all groups in their order.

    Every method raises NoLog where there are no tables or no database may be used, and LogUnavailable where it
    fails; see ``log_errors``. Any thread may call them, each with Django's connection of its own.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._exists = False  # as far as this process has seen

    @contextmanager
    def _known(self) -> Iterator[None]:
        """Notes that the log exists. One whose tables were there and are gone is unavailable, which is not NoLog."""
        try:
            yield
        except TablesMissing as error:
            if self._exists:
                raise LogUnavailable("The tables of the message log were there and are gone.") from error
            raise
        self._exists = True

    def _reading(self, work: Callable[[], T]) -> T:
        with self._known():
            return reading(work)

    # Writing

    def append(
        self, drafts: Sequence[Draft], connection: BaseDatabaseWrapper | None = None, patience: float = PATIENCE
    ) -> AppendResult:
        """Writes the drafts in one transaction and gives each its offset, after whatever waited before.

        A draft whose ref its author has used before in that group is not written again: its message is
        the one that is there. Must be called outside a transaction of the caller. ``connection`` is the
        log's, if the caller has opened it already. Raises LockTimeout after ``patience`` seconds.
        """
        connection = connection or open_log()
        by_group: dict[str, list[Draft]] = {}
        for draft in drafts:
            by_group.setdefault(draft.group, []).append(draft)

        def work(again: bool) -> list[tuple[list[Message], NewMessages]]:
            # In one order for everybody, so that no two senders wait for each other.
            return [self._append_to_group(connection, name, by_group[name], again) for name in sorted(by_group)]

        def work_after_waiting(again: bool) -> list[tuple[list[Message], NewMessages]]:
            return [self._insert_and_sequence(connection, name, by_group[name], again) for name in sorted(by_group)]

        with self._known(), log_errors(connection):
            try:
                done = in_own_transaction(connection, self._system, work, patience)
            except RefLocked:
                done = in_own_transaction(connection, self._system, work_after_waiting, patience)
        in_group = {news.group: iter(messages) for messages, news in done}
        return AppendResult([next(in_group[draft.group]) for draft in drafts], [news for _, news in done])

    def sequence(self, name: str, patience: float = IMPATIENCE) -> NewMessages:
        """Gives offsets to the committed messages that wait in a group. Raises LockTimeout after ``patience`` seconds.

        Who has the group's lock meanwhile and lets it go leaves no message waiting that was committed before.
        """
        with self._known(), log_access() as connection:

            def work(again: bool) -> NewMessages:
                return self._append_to_group(connection, name, [], again)[1]

            return in_own_transaction(connection, self._system, work, patience)

    def _append_to_group(
        self, connection: BaseDatabaseWrapper, name: str, drafts: list[Draft], again: bool
    ) -> tuple[list[Message], NewMessages]:
        """Appends waiting messages, then drafts. Returns the message of each draft, and what is new."""
        head = lock(connection, name, len(drafts), self._system.token)
        rows = Message.objects.using(connection.alias)
        waiting = list(rows.filter(group_id=name, offset=None).order_by("id")) if head.has_waiting else []
        repeatable = [draft for draft in drafts if draft.has_client_ref or again]
        known = find(name, repeatable) if repeatable else {}
        known.update((key_of(message), message) for message in waiting)
        messages, new = drafted(drafts, known)
        offset = head.offset - len(drafts)
        now = self._system.now()
        for message in (*waiting, *new):
            offset += 1
            message.offset, message.sent_at = offset, now
        if waiting:
            rows.bulk_update(waiting, ["offset", "sent_at"], batch_size=100)
        if new:
            try:
                rows.bulk_create(new)
            except DatabaseError as error:
                if is_lock_timeout(error):
                    raise RefLocked from error
                raise
        if offset != head.offset:
            Group.objects.using(connection.alias).filter(name=name).update(head=offset)
        return messages, NewMessages(name, head.epoch, [*waiting, *new])

    def _insert_and_sequence(
        self, connection: BaseDatabaseWrapper, name: str, drafts: list[Draft], again: bool
    ) -> tuple[list[Message], NewMessages]:
        """Inserts the drafts before it locks the group, for somebody holds a ref of theirs, then sequences them."""
        messages, new = drafted(drafts, find(name, drafts))
        Message.objects.using(connection.alias).bulk_create(new)
        _, news = self._append_to_group(connection, name, [], again)
        sequenced = {key_of(message): message for message in news.messages}
        for message in messages:
            if row := sequenced.get(key_of(message)):
                message.offset, message.sent_at = row.offset, row.sent_at
        return messages, news

    def insert_waiting(self, drafts: Sequence[Draft]) -> list[Message]:
        """Inserts the drafts into the caller's transaction, without offsets and without any group's row.

        All or none, under a savepoint, so that what fails here poisons nothing.
        """
        with self._known(), log_access() as connection, savepoint(connection):
            if any(draft.has_client_ref for draft in drafts):
                with patience_for_locks(connection):
                    return [insert_once(connection, draft) for draft in drafts]
            return messages().bulk_create(drafted(drafts, {})[1])

    def fill_in_offsets(self, inserted: Sequence[Message]) -> bool:
        """Completes messages that were inserted without offsets. Returns True if all of them are sequenced."""
        for name in {message.group_id for message in inserted}:
            members = [message for message in inserted if message.group_id == name]
            refs = [message.ref for message in members]
            rows = {key_of(row): row for row in self._reading(partial(with_refs, name, refs))}
            for message in members:
                if row := rows.get(key_of(message)):
                    message.pk, message.offset, message.sent_at = row.pk, row.offset, row.sent_at
        return all(message.offset is not None for message in inserted)

    def renew_epoch(self, group: str, epoch: str, delivered: int) -> bool:
        """Starts a new epoch if the log still ends below an offset that was delivered under ``epoch``."""
        return self._renew(Q(name=group, epoch=epoch, head__lt=delivered), IMPATIENCE)

    def renew(self, group: str) -> bool:
        """Starts a new epoch whatever the log holds. Returns False if the group is not in the log."""
        return self._renew(Q(name=group), PATIENCE)

    def _renew(self, which: Q, patience: float) -> bool:
        with self._known(), log_access() as connection:

            def work(again: bool) -> bool:
                return bool(groups().filter(which).update(epoch=self._system.token(), begin=F("head")))

            return in_own_transaction(connection, self._system, work, patience)

    # Reading

    def heads(self, names: Iterable[str]) -> dict[str, Head]:
        """The heads of these groups, by one query, and one more for those that are not in the log: they are void."""
        names = list(names)
        waiting = Message.objects.filter(group_id=OuterRef("name"), offset=None)
        rows = groups().filter(name__in=names).annotate(waiting=Exists(waiting))
        found = self._reading(lambda: list(rows))
        heads = {row.name: Head(row.epoch, row.head, row.begin, row.floor, row.waiting) for row in found}
        if void := [name for name in names if name not in heads]:
            first = messages().filter(group_id__in=void, offset=None).order_by()
            having = self._reading(lambda: {str(name) for name in first.values_list("group_id", flat=True)})
            heads.update((name, Head(VOID, 0, 0, 0, name in having)) for name in void)
        return heads

    def groups(self) -> list[str]:
        """The names of all groups that are in the log."""
        return self._reading(lambda: list(groups().order_by("name").values_list("name", flat=True)))

    def head(self, group: str) -> Head:
        return self.heads([group])[group]

    def read(self, group: str, after: int, limit: int) -> list[Message]:
        """Up to ``limit`` messages with offsets above ``after``, in order, each with the ``epoch`` it is of."""
        rows = messages().filter(group_id=group, offset__gt=after).order_by("offset")
        return self._reading(lambda: list(rows.annotate(read_epoch=F("group__epoch"))[:limit]))

    def newest(self, group: str, limit: int) -> list[Message]:
        """The last ``limit`` messages, in order, each with the ``epoch`` it is of."""
        rows = messages().filter(group_id=group, offset__isnull=False).order_by("-offset")
        return self._reading(lambda: list(reversed(rows.annotate(read_epoch=F("group__epoch"))[:limit])))


class RefLocked(Exception):
    """A transaction that is still open holds a ref: what waits for it must not hold the group's row."""


# Rows


def messages() -> QuerySet[Message]:
    return Message.objects.using(alias())


def groups() -> QuerySet[Group]:
    return Group.objects.using(alias())


def lock(connection: BaseDatabaseWrapper, name: str, count: int, new_epoch: Callable[[], str] | None = None) -> Head:
    """Reserves ``count`` offsets and holds the group's row until the end of the transaction.

    A group that is not in the log comes into being with a ``new_epoch``; without that it stays void and is not held.

    A write comes first: SQLite refuses at once a transaction that read before it wrote, and
    PostgreSQL locks the row without waiting for foreign keys. From then on nothing waits for anybody else for long.
    """
    quoted = connection.ops.quote_name
    group, message, offset, begin = map(quoted, (Group._meta.db_table, Message._meta.db_table, "offset", "begin"))
    # By hand: this is part of every commit, and the ORM takes longer to write it than the database to do it.
    reserve = f"UPDATE {group} SET head = head + %s WHERE name = %s"  # noqa: S608 (its own names)
    waiting = f"SELECT 1 FROM {message} WHERE group_name = {group}.name AND {offset} IS NULL"  # noqa: S608
    is_timed = connection.vendor == "postgresql" and not connection.savepoint_ids
    hurry = f", set_config('lock_timeout', '{HOLDING_MS}', true)" if is_timed else ""
    look = f"SELECT epoch, head, {begin}, floor, EXISTS ({waiting}){hurry} FROM {group} WHERE name = %s"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(reserve, [count, name])
        if not cursor.rowcount:
            if new_epoch is None:
                return Head(VOID, 0, 0, 0)
            Group.objects.using(connection.alias).get_or_create(name=name, defaults={"epoch": new_epoch()})
            cursor.execute(reserve, [count, name])
        cursor.execute(look, [name])
        epoch, head, begins, floor, has_waiting = cursor.fetchone()[:5]
    return Head(epoch, head, begins, floor, bool(has_waiting))


def drafted(drafts: Sequence[Draft], known: dict[Key, Message]) -> tuple[list[Message], list[Message]]:
    """The message of each draft, a known one where it repeats that; and those of them that are new."""
    messages: list[Message] = []
    new: list[Message] = []
    for draft in drafts:
        key = (draft.group, draft.source, draft.author, draft.ref)
        message = known.get(key)
        if message is None:
            message = known[key] = message_of(draft)
            new.append(message)
        else:
            message.is_repeated = True
        messages.append(message)
    return messages, new


def message_of(draft: Draft) -> Message:
    return Message(
        group_id=draft.group,
        source=draft.source,
        author=draft.author,
        user_id=draft.user_id,
        body=draft.body,
        data=draft.data,
        ref=draft.ref,
    )


def key_of(message: Message) -> Key:
    return (message.group_id, message.source, message.author, message.ref)


def find(name: str, drafts: Sequence[Draft]) -> dict[Key, Message]:
    """The messages of a group that these drafts' refs already stand for."""
    wanted = {(draft.group, draft.source, draft.author, draft.ref) for draft in drafts}
    found = {key_of(message): message for message in with_refs(name, [draft.ref for draft in drafts])}
    return {key: message for key, message in found.items() if key in wanted}


def with_refs(name: str, refs: Sequence[uuid.UUID]) -> list[Message]:
    found: list[Message] = []
    for start in range(0, len(refs), MAX_REFS):
        found += messages().filter(group_id=name, ref__in=refs[start : start + MAX_REFS])
    return found


def insert_once(connection: BaseDatabaseWrapper, draft: Draft) -> Message:
    """Inserts a draft into the caller's transaction, unless there is a message with its ref."""
    known = find(draft.group, [draft])
    [message], new = drafted([draft], known)
    if not new:
        return message
    try:
        with savepoint(connection):
            return messages().bulk_create(new)[0]
    except IntegrityError:
        # Sent by a transaction that this one may not see yet; the message stands for the other.
        return next(iter(find(draft.group, [draft]).values()), message)
