"""How connections stand: who they still are and what they still may do, asked in a thread that may use the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth import get_user_model

from .. import policy
from ..audiences import refusal_of
from ..engine.delivery.feed import Position
from . import sessions


@dataclass(slots=True)
class Standing:
    """One connection as it is when a look begins, and what the look finds."""

    connection: Any
    user: Any
    session: Any
    followed: dict[str, Position]
    signed_names: dict[str, str]
    has_signed_out_somewhere: bool = False
    is_signed_out: bool = False
    lost: list[tuple[Position, str]] = field(default_factory=list)


Answers = dict[tuple[Any, str], str]
"""Why a user may not receive a group's messages, by user and group; empty if they may."""


def identify(standings: Sequence[Standing]) -> None:
    """Puts each user as the database has them now in the old one's place, and notes who is none any more.

    Two queries for all of them together, where sessions are in a table.
    """
    members = [standing for standing in standings if standing.user is not None]
    now = sessions.users_now(standing.user for standing in members)
    in_tables = sessions.found_in_tables(each.session for each in members if sessions.signs_in(each.session))
    for standing in members:
        session = standing.session if sessions.signs_in(standing.session) else None
        user = current(standing.user, session, now)
        standing.is_signed_out = user is None or (session is not None and has_lost(session, user, standing, in_tables))
        standing.user = user or standing.user


def current(user: Any, session: Any, now: dict[Any, Any]) -> Any:
    """The user as they are now; None if there is no such user any more, or they may not sign in."""
    if not isinstance(user, get_user_model()):
        return user  # a kind of user of which only the site knows
    found = now.get(user.pk) or sessions.user_by_backend(user, session)
    now[user.pk] = found
    return found if policy.is_signed_in(found) else None


def has_lost(session: Any, user: Any, standing: Standing, in_tables: set[str]) -> bool:
    """Whether the session signs the user in no more."""
    if session.session_key not in in_tables and sessions.has_ended(session):
        return True
    if standing.has_signed_out_somewhere and sessions.is_kept_by_client(session):
        return True  # perhaps here, perhaps not: the client comes back with the cookie that it has now
    return not sessions.is_of_password(session, user)


def judge(standings: Iterable[Standing], answers: Answers) -> None:
    """Notes which groups each may no longer follow, and why. What was asked before in this look is in ``answers``."""
    for standing in standings:
        standing.lost = []
        for group, position in standing.followed.items():
            if name := standing.signed_names.get(group):
                reason = refusal_of(name, standing.user)
            else:
                reason = answer(standing.user, group, answers)
            if reason:
                standing.lost.append((position, reason))


def answer(user: Any, group: str, answers: Answers) -> str:
    asked = (None if user is None else user.pk, group)
    if asked not in answers:
        answers[asked] = "" if policy.allows(user, "subscribe", group) else policy.refusal("subscribe", group)
    return answers[asked]
