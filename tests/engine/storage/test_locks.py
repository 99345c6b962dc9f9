"""Locks that others hold: who waits for them, how long, and who does not."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from broadcast import send
from broadcast.engine import publish
from broadcast.engine.process import this_process
from broadcast.exceptions import LockTimeout
from broadcast.models import Group
from tests.kit.log import appended, stored
from tests.kit.processes import elsewhere
from tests.kit.streams import draft
from tests.kit.waiting import wait_until

pytestmark = [pytest.mark.log_contract, pytest.mark.django_db(transaction=True)]

SHORT = 0.05  # seconds


@pytest.fixture(autouse=True)
def rows_are_locked(db: None) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("About locks of rows")


class Other(threading.Thread):
    """Somebody else's transaction that is open until the test lets it go on."""

    def __init__(self, work: Any) -> None:
        super().__init__()
        self._work, self.has_done_it, self.going_on = work, threading.Event(), threading.Event()

    def run(self) -> None:
        with transaction.atomic():
            self._work()
            self.has_done_it.set()
            self.going_on.wait(60)
        connection.close()


@contextmanager
def open_elsewhere(work: Any) -> Iterator[Other]:
    other = Other(work)
    other.start()
    assert other.has_done_it.wait(10)
    try:
        yield other
    finally:
        other.going_on.set()
        other.join()


def locked(group: str) -> Any:
    return open_elsewhere(lambda: Group.objects.select_for_update().get(name=group))


def is_waiting() -> bool:
    """Asks the database whether anybody waits for a lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])


def test_whoever_locks_a_users_row_holds_up_nobody() -> None:
    ann = User.objects.create_user("ann")
    with open_elsewhere(lambda: User.objects.select_for_update().get(pk=ann.pk)):
        result = this_process.log.append([draft(author="ann", source="user", user_id=ann.pk)], patience=SHORT)
    assert result.messages[0].offset == 1


def test_a_ref_in_an_open_transaction_holds_up_whoever_repeats_it_and_nobody_else() -> None:
    mine = draft("order placed")
    with open_elsewhere(lambda: this_process.log.insert_waiting([mine])) as other:
        again: list[Any] = []
        both = [draft("beside", group="a"), mine]
        repeating = threading.Thread(target=lambda: again.append(elsewhere(lambda: this_process.log.append(both))))
        repeating.start()
        wait_until(is_waiting)
        for number in range(3):
            sent = this_process.log.append([draft(f"{number}")], patience=1)
            assert sent.messages[0].offset == number + 1
        other.going_on.set()
        repeating.join()
    assert [(message.offset, message.is_repeated) for message in again[0].messages] == [(1, False), (4, True)]
    assert stored() == [(1, "0"), (2, "1"), (3, "2"), (4, "order placed")]


def test_whoever_sends_to_a_group_that_somebody_holds_is_told_so_and_others_are_sent() -> None:
    appended("one")
    with locked("broadcast"):
        with pytest.raises(LockTimeout):
            this_process.log.append([draft()], patience=SHORT)
        with pytest.raises(LockTimeout):
            this_process.log.append([draft(group="a"), draft(group="broadcast"), draft(group="c")], patience=SHORT)
        assert send("hi", group="a").offset == 1
        assert not this_process.health.failing


def test_what_was_committed_raises_nothing_and_comes_when_the_group_is_let_go(monkeypatch: Any) -> None:
    appended("one")
    monkeypatch.setattr(publish, "PATIENCE", SHORT)
    with locked("broadcast"), transaction.atomic():
        message = send("two")
    assert message.offset is None
    this_process.log.sequence("broadcast")
    assert stored() == [(1, "one"), (2, "two")]


@pytest.mark.parametrize("is_known", [True, False])
def test_a_callers_own_patience_is_left_as_it_was(is_known: bool) -> None:
    mine = draft(ref=draft().ref)
    if is_known:
        this_process.log.append([mine])
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '7s'")
        this_process.log.insert_waiting([mine])
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("7s",)
    this_process.log.append([draft()])
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("0",)
