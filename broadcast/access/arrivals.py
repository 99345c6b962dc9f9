"""Arrivals: who new connections belong to, by their sessions; a crowd is looked up together, as Django does for one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from sys import intern
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, SESSION_KEY, get_user_model, load_backend
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends import db
from django.db import DataError, Error

from ..engine.batcher import Batcher
from ..engine.node import Node
from ..engine.process import current_process
from ..engine.storage.database import reading
from .sessions import is_verified

AT_ONCE = 200  # sessions in one look

Found = Any | Exception
"""A user, or what went wrong with this one alone."""


class Arrivals:
    """The look-ups of those who connect to one node. A part of it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._users = Batcher(self._look_up, AT_ONCE)

    async def user_of(self, session: Any) -> Any:
        """The user whom a session signs in, or an ``AnonymousUser``; the session is loaded then.

        Raises LogUnavailable if the database is away, NoLog if it has no tables or may not be used.
        """
        found = await self._users.ask(session)
        if isinstance(found, Exception):
            raise found
        return found

    async def _look_up(self, sessions: list[Any]) -> Mapping[Any, Found]:
        threads = await self._node.database.threads()
        return await threads.read(reading, partial(users_of, sessions))


def users_of(sessions: Sequence[Any]) -> dict[Any, Found]:
    """The user of each session: a query for the sessions and one for the users, where Django keeps both in tables."""
    load_from_tables(sessions)
    accounts = accounts_of(sessions)
    away: dict[Any, Error] = {}
    found = {session: found_for(session, accounts, away) for session in sessions}
    failures = [each for each in found.values() if is_failure(each)]
    if failures and len(failures) == len(found):
        raise failures[0]
    return found


def found_for(session: Any, accounts: Mapping[str, Any], away: dict[Any, Error]) -> Found:
    """What is found for one of them; what is in a session, and who finds its user, is the site's own."""
    try:
        return user_of(session, accounts, away) or AnonymousUser()
    except Exception as error:
        return error


def is_failure(found: Found) -> bool:
    """True if a database failed, rather than refused what it was asked for."""
    return isinstance(found, Error) and not isinstance(found, DataError)


@contextmanager
def in_its_turn() -> Iterator[None]:
    """Passes over what is wrong with one session, for it is met again when its own turn comes."""
    try:
        yield
    except Exception as error:
        if is_failure(error):
            raise


def load_from_tables(sessions: Iterable[Any]) -> None:
    """Loads those that Django's own engine keeps in a table; others load themselves, as does one that is not there."""
    stores: defaultdict[Any, defaultdict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for session in sessions:
        if is_in_table(type(session)) and session.session_key:
            stores[type(session)][session.session_key].append(session)
    for store, wanted in stores.items():
        now = current_process().system.now()
        rows = store.get_model_class().objects.filter(session_key__in=list(wanted), expire_date__gt=now)
        with in_its_turn():  # whoever comes may have made a key up that no column can hold
            for key, data in rows.values_list("session_key", "session_data"):
                for session in wanted[key]:
                    with in_its_turn():
                        fill(session, shared(session.decode(data)))


def is_in_table(store: Any) -> bool:
    own = db.SessionStore
    return bool(issubclass(store, own)) and all(
        getattr(store, name) is getattr(own, name) for name in ("load", "_get_session_from_db")
    )


def shared(data: dict[str, Any]) -> dict[str, Any]:
    """The same, with the words that are in every session in memory once."""
    backend = data.get(BACKEND_SESSION_KEY)
    named = {intern(key) if type(key) is str else key: value for key, value in data.items()}
    return named | {BACKEND_SESSION_KEY: intern(backend)} if isinstance(backend, str) else named


def fill(session: Any, data: dict[str, Any]) -> None:
    """Has a session load what its engine would have read."""
    session.load = lambda: data
    try:
        session.get(SESSION_KEY)
    finally:
        del session.load


def accounts_of(sessions: Iterable[Any]) -> dict[str, Any]:
    """The accounts that these sessions name and that Django's own backend would look up by their keys alone."""
    model = get_user_model()
    keys = {}
    for session in sessions:
        with in_its_turn():
            if is_plain(backend_of(session)):
                keys[session[SESSION_KEY]] = model._meta.pk.to_python(session[SESSION_KEY])
    accounts: dict[str, Any] = {}
    if keys:
        with in_its_turn():
            found = model._default_manager.in_bulk(set(keys.values()))
            accounts.update((written, found.get(key)) for written, key in keys.items())
    return accounts


def backend_of(session: Any) -> Any:
    """The authentication backend that signed a session in, if the site still has it; None if nobody is signed in."""
    path = session.get(BACKEND_SESSION_KEY)
    return load_backend(path) if path in settings.AUTHENTICATION_BACKENDS and SESSION_KEY in session else None


def is_plain(backend: Any) -> bool:
    """True if a backend finds users as Django's own does."""
    return getattr(type(backend), "get_user", None) is ModelBackend.get_user


def user_of(session: Any, accounts: Mapping[str, Any], away: dict[Any, Error]) -> Any:
    """The user of one session, as ``get_user`` of Channels has it; None for a guest.

    A backend whose database is ``away`` is not asked again: each might wait for long.
    """
    backend = backend_of(session)
    if backend is None:
        return None
    if is_plain(backend) and session[SESSION_KEY] in accounts:
        user = accounts[session[SESSION_KEY]]
        user = user if user is not None and backend.user_can_authenticate(user) else None
    else:
        user = asked(backend, get_user_model()._meta.pk.to_python(session[SESSION_KEY]), away)
    if user is not None and not is_verified(session, user):
        session.flush()
        return None
    return user


def asked(backend: Any, key: Any, away: dict[Any, Error]) -> Any:
    if (failure := away.get(type(backend))) is not None:
        raise failure
    try:
        return backend.get_user(key)
    except Error as error:
        if is_failure(error):
            away[type(backend)] = error
        raise
