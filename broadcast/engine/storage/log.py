"""The log: append, sequence, read, heads. It alone gives a message its offset, and so the order of a group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from typing import TypeVar

from django.db import DatabaseError, IntegrityError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.db.transaction import Atomic

from ...exceptions import LogUnavailable
from ...models import Group, Message
from ..system import System
from .changes import Changes, Mark, can_tell, changes_since, next_change
from .database import (
    IMPATIENCE,
    PATIENCE,
    EpochEnded,
    RefLocked,
    TablesMissing,
    alias,
    groups,
    in_own_transaction,
    is_lock_timeout,
    lock,
    log_access,
    log_errors,
    messages,
    open_log,
    patience_for_locks,
    reading,
)
from .heads import heads_in_log, heads_of
from .records import MAX_OFFSET, AppendResult, Draft, Head, NewMessages
from .refs import Key, find, key_of, key_of_draft, with_refs

T = TypeVar("T")


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

    @contextmanager
    def access(self) -> Iterator[BaseDatabaseWrapper]:
        """The log's connection, with the log's errors."""
        with self._known(), log_access() as connection:
            yield connection

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
        names = sorted(by_group)  # in one order for everybody, so that no two senders wait for each other

        def work(again: bool) -> list[tuple[list[Message], NewMessages]]:
            return [self._append_to_group(connection, name, by_group[name], again) for name in names]

        def work_after_waiting(again: bool) -> list[tuple[list[Message], NewMessages]]:
            inserted = [insert_all(connection, name, by_group[name]) for name in names]
            done = [self._append_to_group(connection, name, [], again)[1] for name in names]
            return [(sequenced(messages, news), news) for messages, news in zip(inserted, done, strict=True)]

        begun = self._system.monotonic()
        with self._known(), log_errors(connection):
            try:
                done = in_own_transaction(connection, self._system, work, patience)
            except RefLocked:
                left = patience - (self._system.monotonic() - begun)
                done = in_own_transaction(connection, self._system, work_after_waiting, left)
        in_group = {news.group: iter(messages) for messages, news in done}
        each = list(told_apart(next(in_group[draft.group]) for draft in drafts))
        return AppendResult(each, [news for _, news in done])

    def sequence(self, name: str, patience: float = IMPATIENCE) -> NewMessages:
        """Gives offsets to the committed messages that wait in a group. Raises LockTimeout after ``patience`` seconds.

        Who has the group's lock meanwhile and lets it go leaves no message waiting that was committed before.
        """
        with self.access() as connection:

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

    def insert_waiting(self, drafts: Sequence[Draft]) -> list[Message]:
        """Inserts the drafts into the caller's transaction, without offsets and without any group's row.

        All or none, under a savepoint, so that what fails here poisons nothing.
        """
        with self.access() as connection, savepoint(connection):
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
        with self.access() as connection:

            def work(again: bool) -> bool:
                change = RawSQL(next_change(connection), ())  # noqa: S611 (nobody else's words)
                anew = {"epoch": self._system.token(), "begin": F("head"), "changed": change}
                return bool(groups().filter(which).update(**anew))

            return in_own_transaction(connection, self._system, work, patience)

    # Reading

    def heads(self, names: Iterable[str]) -> dict[str, Head]:
        """The heads of these groups, by one query, and one more for those that are not in the log: they are void."""
        names = list(names)
        return self._reading(lambda: heads_of(connections[alias()], names)) if names else {}

    def heads_in_log(self, names: Sequence[str]) -> dict[str, Head]:
        """The heads of those of these groups that are in the log."""
        return self._reading(lambda: heads_in_log(connections[alias()], names)) if names else {}

    def changes(self, mark: Mark | None) -> Changes | None:
        """The groups that have changed since a mark; None where this database cannot tell."""
        connection = connections[alias()]
        return self._reading(lambda: changes_since(connection, mark)) if can_tell(connection) else None

    def groups(self) -> list[str]:
        """The names of all groups that are in the log."""
        return self._reading(lambda: list(groups().order_by("name").values_list("name", flat=True)))

    def head(self, group: str) -> Head:
        return self.heads([group])[group]

    def read(self, group: str, after: int, limit: int, epoch: str) -> list[Message]:
        """Up to ``limit`` messages with offsets above ``after``, in order. Raises EpochEnded if that is over."""
        return self._read_in(epoch, messages().filter(group_id=group, offset__gt=after).order_by("offset"), limit)

    def newest(self, group: str, limit: int, epoch: str, before: int = MAX_OFFSET) -> list[Message]:
        """The last ``limit`` messages ``before`` an offset, in order. Raises EpochEnded if that epoch is over."""
        rows = messages().filter(group_id=group, offset__lt=before).order_by("-offset")
        return self._read_in(epoch, rows, limit)[::-1]

    def _read_in(self, epoch: str, rows: QuerySet[Message], limit: int) -> list[Message]:
        found = self._reading(lambda: list(rows.annotate(epoch=F("group__epoch"))[:limit]))
        if any(row.epoch != epoch for row in found):
            raise EpochEnded("The message log starts anew.")
        return [*found]


# Rows


def savepoint(connection: BaseDatabaseWrapper) -> Atomic:
    """Undoes what fails inside it, so that the transaction around it stays sound.

    With autocommit off, the first savepoint on SQLite would be the transaction, and its end the commit.
    """
    usable = connection.vendor != "sqlite" or connection.connection.in_transaction
    return transaction.atomic(using=connection.alias, savepoint=usable)


def drafted(drafts: Sequence[Draft], known: dict[Key, Message]) -> tuple[list[Message], list[Message]]:
    """The message of each draft, a known one where it repeats that; and those of them that are new."""
    messages, new, told = list[Message](), list[Message](), dict(known)
    for draft in drafts:
        key = key_of_draft(draft) if known or draft.has_client_ref else None  # else its ref is a new one
        message = None if key is None else told.get(key)
        if message is None:
            message = message_of(draft)
            new.append(message)
        elif key in known:
            message.is_repeated = True
        if key is not None:
            told[key] = message
        messages.append(message)
    return messages, new


def told_apart(messages: Iterable[Message]) -> Iterator[Message]:
    """The messages; where one of them stands for a second draft, a copy that is marked as repeated."""
    told: set[int] = set()
    for message in messages:
        if id(message) in told and not message.is_repeated:
            message = copy(message)
            message.is_repeated = True
        told.add(id(message))
        yield message


def message_of(draft: Draft) -> Message:
    return Message(
        group_id=draft.group,
        source=draft.source,
        author=draft.author,
        user_id=draft.user_id,
        body=draft.body,
        data=draft.data,
        ref=draft.ref,
        by=draft.by,
    )


def insert_all(connection: BaseDatabaseWrapper, name: str, drafts: list[Draft]) -> list[Message]:
    """Inserts drafts without offsets, waiting for whoever holds a ref of theirs; the message of each."""
    messages, new = drafted(drafts, find(name, drafts))
    Message.objects.using(connection.alias).bulk_create(new)
    return messages


def sequenced(messages: list[Message], news: NewMessages) -> list[Message]:
    """The messages, those that have just got their offsets with them."""
    rows = {key_of(message): message for message in news.messages}
    for message in messages:
        if row := rows.get(key_of(message)):
            message.offset, message.sent_at = row.offset, row.sent_at
    return messages


def insert_once(connection: BaseDatabaseWrapper, draft: Draft) -> Message:
    """Inserts a draft into the caller's transaction, unless there is a message with its ref."""
    [message], new = drafted([draft], find(draft.group, [draft]))
    if not new:
        return message
    try:
        with savepoint(connection):
            return messages().bulk_create(new)[0]
    except IntegrityError:
        # Sent by a transaction that this one may not see yet; the message stands for the other.
        return next(iter(find(draft.group, [draft]).values()), message)
