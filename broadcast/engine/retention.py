"""What is kept of a group's log: the settings' newest messages, by count and by age."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from ..exceptions import LogUnavailable
from ..policy import retention
from . import log
from .database import NoLog

EVERY = 100  # messages between two looks while a group grows


def prune_step(group: str) -> bool:
    """Deletes some of what need not be kept; whether there may be more. Raises as the log does."""
    keep, seconds = retention(group)
    since = None if seconds is None else timezone.now() - timedelta(seconds=seconds)
    return log.prune(group, keep, since)


def prune_behind(extension: log.Extension) -> None:
    """Takes a step now and then as a group grows. A failure can wait for the next."""
    offsets = [message.offset or 0 for message in extension.messages]
    if offsets and (offsets[0] - 1) // EVERY != offsets[-1] // EVERY:
        try:
            prune_step(extension.group)
        except (LogUnavailable, NoLog):
            return
