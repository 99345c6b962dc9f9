"""Counts the statements that go to the app's own tables."""

from typing import Any

from django.db.backends.signals import connection_created

statements: list[None] = []  # appending is safe from any thread


def count() -> None:
    """Counts from now on, on every connection that the process opens."""
    connection_created.connect(watch)


def watch(connection: Any, **_: Any) -> None:
    if tally not in connection.execute_wrappers:
        connection.execute_wrappers.append(tally)


def tally(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    if "broadcast_" in sql:
        statements.append(None)
    return execute(sql, params, many, context)


def counted() -> int:
    """How many there have been so far."""
    return len(statements)
