"""The log as tests fill and read it, and a database that fails on demand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, connections, transaction

from broadcast.engine.process import current_process
from broadcast.engine.storage.records import Draft
from broadcast.engine.system import System
from broadcast.models import Message
from tests.kit.processes import elsewhere
from tests.kit.streams import drafts

Failure = Callable[[str], Exception | None]


NO_NAPS = System(sleep=lambda seconds: None)
"""The real system, but nothing waits before it tries again."""


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    """How grave what was said is, line by line."""
    return [record.levelname for record in caplog.records]


class Stranger:
    """Not the key of a user; where it is written, something else than a database error comes of it."""

    def __init__(self, error: type[BaseException] = ArithmeticError) -> None:
        self.error = error

    def __int__(self) -> int:
        raise self.error("a stranger")


def appended(*bodies: str, group: str = "broadcast") -> list[Message]:
    """The messages of a log that has grown by these, of which nobody was told."""
    return current_process().log.append(drafts(*bodies, group=group)).messages


def leave_waiting(*waiting: Draft) -> list[Message]:
    """What a process leaves behind that ends right after its commit."""
    with transaction.atomic():
        return current_process().log.insert_waiting(waiting)


def stored(group: str = "broadcast") -> list[tuple[int | None, str]]:
    """Offsets and bodies of a group, as this connection sees them."""
    return list(Message.objects.filter(group_id=group).order_by("offset", "id").values_list("offset", "body"))


def committed(group: str = "broadcast") -> list[tuple[int | None, str]]:
    """The same as other connections see it."""
    found: list[tuple[int | None, str]] = elsewhere(lambda: stored(group))
    return found


@contextmanager
def failing(*errors: Exception) -> Iterator[None]:
    """The next statements fail, each with its error; those after them do not."""
    left = list(errors)
    with failing_if(lambda sql: left.pop(0) if left and not sql.startswith(("BEGIN", "SET TRANSACTION")) else None):
        yield


@contextmanager
def failing_if(failure: Failure) -> Iterator[None]:
    """Every statement of this connection fails for which ``failure`` has an error."""
    with connection.execute_wrapper(wrapper_of(failure)):
        yield


def wrapper_of(failure: Failure) -> Callable[..., Any]:
    def execute_or_fail(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if (error := failure(sql)) is not None:
            raise error
        return execute(sql, params, many, context)

    return execute_or_fail


@contextmanager
def autocommit_off() -> Iterator[None]:
    """Every statement belongs to a transaction that the caller ends; the last one is rolled back here."""
    transaction.set_autocommit(False)
    try:
        yield
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


@contextmanager
def unreachable_database() -> Iterator[None]:
    """Whoever connects to the database now finds none."""
    connections.close_all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(connections.settings["default"], "NAME", "/nowhere/db.sqlite3")
        yield
    connections.close_all()
