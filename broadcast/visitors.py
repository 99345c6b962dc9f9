"""What a visitor may do, asked from a connection."""

from __future__ import annotations

from functools import partial
from typing import Any

from . import policy
from .audiences import is_signed, plain_name, refusal_of
from .engine.commands import BadFrame
from .engine.delivery.hub import current_hub
from .engine.storage.database import NoLog, reading
from .exceptions import LogUnavailable
from .groups import is_group_name

RETRY_AFTER = 1.0  # seconds, told to a client while the log or permissions cannot be looked up


async def require(user: Any, action: policy.Action, group: str) -> None:
    """Raises BadFrame unless ``user`` may do ``action`` in ``group``; asks the database in the hub's reader."""
    if not is_group_name(group):
        raise BadFrame(f"There is no group {group[:80]!r} here.")
    try:
        if policy.needs_database(action, group):
            threads = await current_hub().threads()
            allowed = await threads.read(reading, partial(policy.allows, user, action, group))
        else:
            allowed = policy.allows(user, action, group)
    except (LogUnavailable, NoLog):
        text = "Permissions cannot be looked up right now. Try again."
        raise BadFrame(text, "unavailable", retry_after=RETRY_AFTER) from None
    if not allowed:
        raise BadFrame(policy.refusal(action, group), "forbidden")


async def require_name(user: Any, name: str) -> str:
    """The group that ``name``, plain or signed, lets ``user`` subscribe to. Raises BadFrame if it does not."""
    group = plain_name(name)
    if not is_signed(name):
        await require(user, "subscribe", group)
    elif reason := refusal_of(name, user):
        raise BadFrame(reason, "forbidden")
    return group
