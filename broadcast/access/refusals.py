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
from django.utils.translation import gettext, gettext_noop

from ..exceptions import LogUnavailable, Refused, refused_for
from ..groups import is_group_name, rule_for
from . import policy
from .identity import is_signed_in
from .sentences import is_staff
from .sessions import users_now
from .signed_names import is_signed, plain_name, refusal_of

T = TypeVar("T")

MAY_NOT = {
    "subscribe": gettext_noop("You may not receive messages of %(group)s, or there is no such group."),
    "publish": gettext_noop("You may not write to %(group)s, or there is no such group."),
    "announce": gettext_noop("You may not announce to %(group)s, or there is no such group."),
}
"""In one sentence, so that nobody learns by it which groups there are."""
SIGN_IN = gettext_noop("Sign in if you have an account.")
ASK = gettext_noop("Those who run this site may allow it.")


class RightsUnknown(LogUnavailable):
    """The database that knows permissions cannot be read."""

    sentence = gettext_noop("Permissions cannot be looked up right now. Try again.")


class Run(Protocol):
    """Runs a question in a thread that may read the database; raises LogUnavailable if it cannot."""

    def __call__(self, question: Callable[[], T], /) -> Awaitable[T]: ...


def refusal(user: Any, action: policy.Action, name: str) -> Refused | None:
    """The refusal of ``action`` in the group of ``name`` to ``user``, to be raised or told; None if they may.

    A signed name is good for subscribing; for anything else its group's rules decide. May query the
    database, and raises its errors.
    """
    if action == "subscribe" and is_signed(name):
        reason = refusal_of(name, user)
        return Refused(reason, "forbidden") if reason else None
    group = plain_name(name)
    if not is_group_name(group):
        return forbidden(user, action, group, "No group can have this name.")
    return None if policy.allows(user, action, group) else forbidden(user, action, group, policy.explain(action, group))


def forbidden(user: Any, action: policy.Action, group: str, detail: str) -> Refused:
    """A refusal that says what to do, and to staff alone the reason."""
    sentence = gettext(MAY_NOT[action]) % {"group": repr(group[:80])}
    return Refused(f"{sentence} {gettext(ASK if is_signed_in(user) else SIGN_IN)}", "forbidden", detail=detail)


def needs_database(action: policy.Action, name: str) -> bool:
    """True if ``refusal`` may have to ask the database."""
    return not (action == "subscribe" and is_signed(name)) and policy.needs_database(action, plain_name(name))


def may(user: Any, action: policy.Action, name: str) -> bool:
    """True if ``user`` may do ``action`` in the group of ``name``. Raises LogUnavailable if nobody can say."""
    with permissions():
        return refusal(user, action, name) is None


def require(user: Any, action: policy.Action, name: str, unknown: str = "forbidden") -> str:
    """The group of ``name``, in which ``user`` may do ``action``.

    Raises Refused if they may not, and LogUnavailable if nobody can say. Where no rule names the group, staff are
    refused with the code ``unknown``; nobody else is told so.
    """
    with permissions():
        refused = refusal(user, action, name)
    if refused is not None:
        if is_staff(user) and not is_signed(name) and rule_for(name) is None:
            refused.code = unknown
        raise refused
    return plain_name(name)


async def arequire(run: Run, user: Any, action: policy.Action, name: str) -> str:
    """``require`` for a connection; the database, where it has to be asked, is asked by ``run``."""
    question = partial(refusal, user, action, name)
    try:
        refused = await run(question) if needs_database(action, name) else question()
    except LogUnavailable as error:
        raise refused_for(error, RightsUnknown.sentence) from None
    if refused is not None:
        raise refused
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
        raise RightsUnknown(f"Permissions cannot be looked up right now: {error}") from error
