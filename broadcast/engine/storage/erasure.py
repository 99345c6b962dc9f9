"""Erasing a group's log. Whoever listens is told to go on in the new one, which has another epoch."""

from __future__ import annotations

from django.db import transaction

from . import log
from .database import alias
from .locking import lock


def erase(group: str) -> None:
    """Deletes a group and all its messages, in the caller's transaction if there is one.

    What waits for the commit of a transaction elsewhere is not deleted and begins the new log.
    """
    with transaction.atomic(using=alias()):
        # Nobody may append between the two deletions: the message would stand in the new log's way.
        lock(group, 0)
        log.messages().filter(group_id=group).delete()
        log.groups().filter(name=group).delete()
