"""Interruptions: what others raise in a thread that waits for the database."""

from __future__ import annotations


def interruption_behind(error: BaseException, outer: BaseException | None) -> BaseException | None:
    """What interrupted a statement, if the error is that the connection, in the middle of it, cannot be tidied up.

    A time limit of a task queue, say. ``outer`` was under way before, and so has interrupted nothing here.
    """
    found: BaseException | None = error
    while isinstance(found, Exception) and found is not outer:
        found = found.__cause__ or found.__context__
    return None if found is outer else found
