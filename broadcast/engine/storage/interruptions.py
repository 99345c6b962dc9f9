"""Interruptions: what others raise in a thread that waits for the database."""

from __future__ import annotations

from typing import Any

from django.db import Error


def interruption_behind(error: BaseException, outer: BaseException | None, connection: Any) -> BaseException | None:
    """What interrupted a statement, if the error is that the connection, in the middle of it, cannot be tidied up.

    A time limit of a task queue, say. ``outer`` was under way before, and so has interrupted nothing here.
    """
    expected = (Error, connection.Database.Error) if is_in_a_statement(connection) else Exception
    found: BaseException | None = error
    while isinstance(found, expected) and found is not outer:
        found = found.__cause__ or found.__context__
    return None if found is outer else found


def is_in_a_statement(connection: Any) -> bool:
    """True if the connection still waits for the answer to a statement, as far as its driver can tell."""
    info = getattr(connection.connection, "info", None)
    return getattr(getattr(info, "transaction_status", None), "name", "") == "ACTIVE"
