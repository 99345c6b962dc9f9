"""What a visitor may do, asked from a connection."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from ..engine.commands import BadFrame
from ..engine.process import current_process
from ..engine.storage.database import reading
from ..exceptions import LogUnavailable
from ..groups import is_group_name
from . import policy
from .audiences import is_signed, plain_name, refusal_of
from .sessions import users_now

T = TypeVar("T")

RETRY_AFTER = 1.0  # seconds, told to a client while the log or permissions cannot be looked up


async def require(user: Any, action: policy.Action, group: str) -> None:
    """Raises BadFrame unless ``user`` may do ``action`` in ``group``; asks the database in the hub's reader."""
    if not is_group_name(group):
        raise BadFrame(f"There is no group {group[:80]!r} here.")
    question = partial(policy.allows, user, action, group)
    if not (await in_reader(question) if policy.needs_database(action, group) else question()):
        raise BadFrame(policy.refusal(action, group), "forbidden")


async def require_name(user: Any, name: str) -> str:
    """The group that ``name``, plain or signed, lets ``user`` subscribe to. Raises BadFrame if it does not."""
    group = plain_name(name)
    if not is_signed(name):
        await require(user, "subscribe", group)
    elif reason := refusal_of(name, user):
        raise BadFrame(reason, "forbidden")
    return group


async def reload_user(user: Any) -> Any:
    """The user as the database has them by now.

    As they were if it cannot say, or if they may not sign in any more: then a look sends them away.
    """
    with suppress(BadFrame):
        found = (await in_reader(partial(users_now, [user]))).get(user.pk)
        return found if policy.is_signed_in(found) else user
    return user


async def in_reader(question: Callable[[], T]) -> T:
    """Asks the database in the hub's reader. Raises BadFrame if it cannot say."""
    try:
        threads = await current_process().node().database.threads()
        return await threads.read(reading, question)
    except LogUnavailable:
        text = "Permissions cannot be looked up right now. Try again."
        raise BadFrame(text, "unavailable", retry_after=RETRY_AFTER) from None
