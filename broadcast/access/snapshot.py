"""Access snapshots: connections' users and rights as the database has them now, asked in a thread that may use it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth import get_user_model

from ..engine.hub.position import Position
from ..exceptions import Refused
from . import sessions
from .identity import is_signed_in
from .refusals import refusal


@dataclass(slots=True)
class AccessSnapshot:
    """One connection as it is when a pass begins, and what the pass finds out."""

    connection: Any
    user: Any
    session: Any
    followed: dict[str, Position]
    signed_names: dict[str, str]
    has_signed_out_somewhere: bool = False
    is_signed_out: bool = False
    lost: list[tuple[Position, Refused]] = field(default_factory=list)


def snapshot_of(connection: Any, has_signed_out_somewhere: bool = False) -> AccessSnapshot:
    return AccessSnapshot(
        connection=connection,
        user=connection.user,
        session=connection.session,
        followed=dict(connection.transport.positions),
        signed_names=dict(connection.signed_names),
        has_signed_out_somewhere=has_signed_out_somewhere,
    )


CachedRefusals = dict[tuple[Any, str], Refused | None]
"""The refusal of a group's messages to a user, by user and name of the group; None if they may receive them."""


def identify(snapshots: Sequence[AccessSnapshot], held: Set[str]) -> None:
    """Reloads users by one query, and marks connections whose user is signed out.

    The sessions whose keys are ``held`` are in a table; those of others are asked for one by one.
    """
    members = [snapshot for snapshot in snapshots if snapshot.user is not None]
    now = sessions.users_now(snapshot.user for snapshot in members)
    for snapshot in members:
        session = snapshot.session if sessions.signs_in(snapshot.session) else None
        user = current(snapshot.user, session, now)
        snapshot.is_signed_out = user is None or (session is not None and has_lost(session, user, snapshot, held))
        snapshot.user = user or snapshot.user


def current(user: Any, session: Any, now: dict[Any, Any]) -> Any:
    """The user as they are now; None if there is no such user any more, or they may not sign in."""
    if not isinstance(user, get_user_model()):
        return user  # a kind of user of which only the site knows
    found = now.get(user.pk) or sessions.user_by_backend(user, session)
    now[user.pk] = found
    return found if is_signed_in(found) else None


def has_lost(session: Any, user: Any, snapshot: AccessSnapshot, held: Set[str]) -> bool:
    """True if the session signs the user in no more."""
    if session.session_key not in held and sessions.has_ended(session):
        return True
    if snapshot.has_signed_out_somewhere and sessions.is_kept_by_client(session):
        return True  # perhaps here, perhaps not: the client comes back with the cookie that it has now
    return not sessions.is_of_password(session, user)


def find_lost(snapshots: Iterable[AccessSnapshot], answers: CachedRefusals) -> None:
    """Notes which groups each may no longer follow, and why. ``answers`` has what was asked before in this pass."""
    for snapshot in snapshots:
        snapshot.lost = []
        for group, position in snapshot.followed.items():
            refused = cached_refusal(snapshot.user, snapshot.signed_names.get(group, group), answers)
            if refused is not None:
                snapshot.lost.append((position, refused))


def cached_refusal(user: Any, name: str, answers: CachedRefusals) -> Refused | None:
    asked = (None if user is None else user.pk, name)
    if asked not in answers:
        answers[asked] = refusal(user, "subscribe", name)
    return answers[asked]
