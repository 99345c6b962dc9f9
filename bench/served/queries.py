"""Counts the statements that go to the app's own tables, and to those of sessions and users."""

import os
from typing import Any

from django.db.backends.signals import connection_created

OF_APP = "broadcast_"
OF_VISITORS = ("django_session", "auth_user")

of_app: list[None] = []  # appending is safe from any thread
of_visitors: list[None] = []


def count() -> None:
    """Counts from now on, on every connection that the process opens, where it is asked to: it takes time."""
    if "BENCH_COUNTS" in os.environ:
        connection_created.connect(watch)


def watch(connection: Any, **_: Any) -> None:
    if tally not in connection.execute_wrappers:
        connection.execute_wrappers.append(tally)


def tally(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
    text = str(sql)
    if OF_APP in text:
        of_app.append(None)
    if any(name in text for name in OF_VISITORS):
        of_visitors.append(None)
    return execute(sql, params, many, context)


def counted() -> dict[str, int]:
    """How many there have been so far."""
    return {"queries": len(of_app), "of_visitors": len(of_visitors)}
