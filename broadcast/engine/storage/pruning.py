"""What is kept of a group's log: the settings' newest messages, by count and by age."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from ...exceptions import LogUnavailable
from ...groups import retention
from ..health import SENDING, log_failing
from . import log
from .database import alias
from .locking import lock

logger = logging.getLogger("broadcast")

EVERY = 250  # messages between two looks while a group grows


def prune_step(group: str) -> bool:
    """Deletes some of what need not be kept; whether there may be more. Raises as the log does.

    It writes, however little there is to delete, so it also shows that messages can be sent.
    """
    keep, seconds = retention(group)
    may_be_more = log.prune(group, keep, None if seconds is None else ago(seconds))
    log_failing.recover(SENDING)
    return may_be_more


def ago(seconds: float) -> datetime | None:
    """That long before now; None if that is before the calendar begins."""
    try:
        return timezone.now() - timedelta(seconds=seconds)
    except OverflowError:
        return None


def prune_behind(new_messages: log.NewMessages) -> None:
    """Takes a step whenever a group has grown by so many. A failure can wait for the next."""
    offsets = [message.offset or 0 for message in new_messages.messages]
    if not offsets:
        return
    due = offsets[-1] // EVERY - (offsets[0] - 1) // EVERY
    try:
        while due > 0 and prune_step(new_messages.group):
            due -= 1
    except LogUnavailable:
        return
    except Exception:
        # What was sent was sent: its sender must not hear of this.
        logger.exception("Old messages of %s cannot be deleted", new_messages.group)


def erase(group: str) -> None:
    """Deletes a group and all its messages, in the caller's transaction if there is one.

    What waits for the commit of a transaction elsewhere is not deleted and begins the new log.
    """
    with transaction.atomic(using=alias()):
        # Nobody may append between the two deletions: the message would stand in the new log's way.
        lock(group, 0)
        log.messages().filter(group_id=group).delete()
        log.groups().filter(name=group).delete()
