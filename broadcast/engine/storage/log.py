"""The log: append, sequence, read, heads. It alone gives a message its offset, and so the order of a group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Q, QuerySet
from django.db.models.expressions import RawSQL

from ...exceptions import LogUnavailable
from ...models import Group, Message
from ..system import System
from .changes import Changes, Mark, can_tell, changes_since
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
from .newest import Found, newest_for_reader, newest_of_site, positions_of
from .records import MAX_OFFSET, AppendResult, Draft, Head, Look, NewMessages
from .refs import are_used, find, key_of, with_refs
from .rows import drafted, insert, insert_all, insert_once, message_of, savepoint, sequenced, to_look_up, told_apart
from .statements import next_change

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
        rows = Message.objects.using(connection.alias) if head.has_waiting else Message.objects.none()
        waiting = list(rows.filter(group_id=name, offset=None).order_by("id")) if head.has_waiting else []
        repeatable = drafts if again else to_look_up(connection, drafts)
        known = find(name, repeatable) if repeatable and are_used(connection, name, repeatable) else {}
        if waiting:
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
                insert(connection, new, again or not any(draft.has_client_ref for draft in drafts))
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
            inserted = [message_of(draft) for draft in drafts]
            insert(connection, inserted)
            return inserted

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

    def newest_of_site(
        self, names: Sequence[str], since: datetime, more: int = 0, user: Any = None
    ) -> tuple[list[Head], list[Found]]:
        """Where these groups stand, and what the site itself said there last; by two queries at most.

        Without what the user with this key has dismissed; ``more`` makes up for what others are left out for.
        """

        def look() -> tuple[list[Head], list[Found]]:
            connection = connections[alias()]
            positions = positions_of(connection, names)
            return positions, newest_of_site(connection, names, positions, since, more, user)

        return self._reading(look)

    def positions(self, names: Sequence[str]) -> list[Head]:
        """Where these groups stand, in the order of their names; what waits there comes later."""
        return self._reading(lambda: positions_of(connections[alias()], names))

    def newest_for_reader(self, looks: Sequence[Look], since: datetime, limit: int) -> tuple[list[Found], int]:
        """What was said last in these groups, for one reader, and how much of it is unread; by one query at most."""
        return self._reading(lambda: newest_for_reader(connections[alias()], looks, since, limit))

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
