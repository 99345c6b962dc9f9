"""One answer to "may this user do this in this group, and if not, why", by a plain name or a signed one.

``refusal`` decides. ``may`` and ``require`` ask it from code that may use the database, ``arequire``
from an event loop. Consumer, HTTP, tags and revalidation all come here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from django.db import Error

from ..exceptions import LogUnavailable, Refused
from ..groups import is_group_name, rule_for
from . import policy
from .identity import is_signed_in
from .sessions import users_now
from .signed_names import is_signed, plain_name, refusal_of

T = TypeVar("T")


class Run(Protocol):
    """Runs a question in a thread that may read the database; raises LogUnavailable if it cannot."""

    def __call__(self, question: Callable[[], T], /) -> Awaitable[T]: ...


def refusal(user: Any, action: policy.Action, name: str) -> str:
    """The reason why ``user`` may not do ``action`` in the group of ``name``, as a sentence; empty if they may.

    A signed name is good for subscribing; for anything else its group's rules decide. May query the
    database, and raises its errors.
    """
    if action == "subscribe" and is_signed(name):
        return refusal_of(name, user)
    group = plain_name(name)
    if not is_group_name(group):
        return f"There is no group {group[:80]!r} here."
    return "" if policy.allows(user, action, group) else policy.explain(action, group)


def needs_database(action: policy.Action, name: str) -> bool:
    """True if ``refusal`` may have to ask the database."""
    return not (action == "subscribe" and is_signed(name)) and policy.needs_database(action, plain_name(name))


def may(user: Any, action: policy.Action, name: str) -> bool:
    """True if ``user`` may do ``action`` in the group of ``name``. Raises LogUnavailable if nobody can say."""
    with permissions():
        return not refusal(user, action, name)


def require(user: Any, action: policy.Action, name: str, unknown: str = "forbidden") -> str:
    """The group of ``name``, in which ``user`` may do ``action``.

    Raises Refused if they may not, with the code ``unknown`` if no rule names the group, and
    LogUnavailable if nobody can say.
    """
    with permissions():
        reason = refusal(user, action, name)
    if reason:
        raise Refused(reason, "forbidden" if is_signed(name) or rule_for(name) else unknown)
    return plain_name(name)


async def arequire(run: Run, user: Any, action: policy.Action, name: str) -> str:
    """``require`` for a connection; the database, where it has to be asked, is asked by ``run``."""
    question = partial(refusal, user, action, name)
    try:
        reason = await run(question) if needs_database(action, name) else question()
    except LogUnavailable as error:
        text = "Permissions cannot be looked up right now. Try again."
        raise Refused(text, error.code, retry_after=error.retry_after) from None
    if reason:
        raise Refused(reason, "forbidden")
    return plain_name(name)


async def reload_user(run: Run, user: Any) -> Any:
    """The user as the database has them by now.

    As they were if it cannot say, or if they may not sign in any more: then revalidation sends them away.
    """
    with suppress(LogUnavailable):
        found = (await run(partial(users_now, [user]))).get(user.pk)
        return found if is_signed_in(found) else user
    return user


@contextmanager
def permissions() -> Iterator[None]:
    """Raises LogUnavailable in the place of the database's own errors."""
    try:
        yield
    except Error as error:
        raise LogUnavailable(f"Permissions cannot be looked up right now: {error}") from error
