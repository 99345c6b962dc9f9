"""Arrivals: who new connections belong to, by their sessions; a crowd is looked up together, as Django does for one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from sys import intern
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, SESSION_KEY, get_user_model, load_backend
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends import db
from django.db import DataError, Error, InterfaceError, OperationalError, connections

from ..engine.batcher import Batcher, Failed
from ..engine.node import Node
from ..engine.process import current_process
from ..engine.storage.database import TablesMissing, alias, lacks_tables
from .sessions import is_verified

AT_ONCE = 200  # sessions in one look

BY_ITSELF: Any = object()
"""Stands for a user who cannot be known by what was looked up together."""


class Arrivals:
    """The look-ups of those who connect to one node. A part of it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._users = Batcher[Any, Any](self._look_up, AT_ONCE)

    async def user_of(self, session: Any) -> Any:
        """The user whom a session signs in, or an ``AnonymousUser``; the session is loaded then.

        What Django keeps in tables is asked for together, in the node's thread. Another engine or backend may be slow:
        it is asked for one after another, in the thread for whatever is the site's. Raises NoLog before ``migrate``,
        and otherwise what the engine or the backend raises.
        """
        user = await self._users.ask(session) if is_in_table(type(session)) else BY_ITSELF
        return await database_sync_to_async(user_by_itself)(session) if user is BY_ITSELF else user

    async def _look_up(self, sessions: list[Any]) -> Mapping[Any, Any]:
        threads = await self._node.database.threads()
        return await threads.read(users_of, sessions)


def user_by_itself(session: Any) -> Any:
    """The user of one session. One that was begun under another password is ended, as Django does."""
    with sign_of_tables():
        backend = backend_of(session)
        user = None if backend is None else backend.get_user(key_in(session))
        if user is not None and not is_verified(session, user):
            session.flush()
            user = None
        return user or AnonymousUser()


def users_of(sessions: Sequence[Any]) -> dict[Any, Any]:
    """The user of each session: a query for the sessions and one for the users, once more if the connection is dead."""
    with sign_of_tables():
        try:
            accounts = load(sessions)
        except (OperationalError, InterfaceError):
            for connection in connections.all(initialized_only=True):
                connection.close_if_unusable_or_obsolete()
            accounts = load(sessions)
        return {session: user_among(accounts, session) for session in sessions}


def user_among(accounts: Mapping[str, Any], session: Any) -> Any:
    """The user of a session that was loaded, if that is one of these accounts; else ``BY_ITSELF``.

    To end a session is no work for a thread that reads.
    """
    try:
        backend = backend_of(session)
        if backend is None:
            return AnonymousUser()
        if not is_plain(backend) or session[SESSION_KEY] not in accounts:
            return BY_ITSELF
        user = accounts[session[SESSION_KEY]]
        if user is None or not backend.user_can_authenticate(user):
            return AnonymousUser()
        return user if is_verified(session, user) else BY_ITSELF
    except Exception as error:  # what is in a session is its site's own
        return Failed(error)


def load(sessions: Sequence[Any]) -> dict[str, Any]:
    """Loads sessions, and the accounts that they name."""
    load_from_tables(sessions)
    return accounts_of(sessions)


@contextmanager
def sign_of_tables() -> Iterator[None]:
    """Raises NoLog where the tables are not there yet."""
    try:
        yield
    except Error as error:
        if lacks_tables(connections[alias()]):
            raise TablesMissing("its tables do not exist; run: python manage.py migrate") from error
        raise


@contextmanager
def in_its_turn() -> Iterator[None]:
    """Passes over what is wrong with one session, for it is met again when its own turn comes.

    Not over a database that fails.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, Error) and not isinstance(error, DataError):
            raise


def load_from_tables(sessions: Iterable[Any]) -> None:
    """Loads sessions that Django's own engine keeps in a table; what is not there, or has expired, is empty."""
    stores: defaultdict[Any, defaultdict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for session in sessions:
        if session.session_key:
            stores[type(session)][session.session_key].append(session)
    for store, wanted in stores.items():
        now = current_process().system.now()
        keys = [key for key in wanted if "\0" not in key]  # no column of PostgreSQL's can hold that
        rows = store.get_model_class().objects.filter(session_key__in=keys, expire_date__gt=now)
        for key, data in rows.values_list("session_key", "session_data"):
            for session in wanted.pop(key):
                with in_its_turn():
                    fill(session, shared(session.decode(data)))
        for session in chain.from_iterable(wanted.values()):
            fill(session, {})
            session._session_key = None  # as the engine does


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
    keys = {}
    for session in sessions:
        with in_its_turn():
            if is_plain(backend_of(session)):
                keys[session[SESSION_KEY]] = key_in(session)
    accounts: dict[str, Any] = {}
    if keys:
        with in_its_turn():
            found = get_user_model()._default_manager.in_bulk(set(keys.values()))
            accounts.update((written, found.get(key)) for written, key in keys.items())
    return accounts


def backend_of(session: Any) -> Any:
    """The authentication backend that signed a session in, if the site still has it; None if nobody is signed in."""
    path = session.get(BACKEND_SESSION_KEY)
    return load_backend(path) if path in settings.AUTHENTICATION_BACKENDS and SESSION_KEY in session else None


def key_in(session: Any) -> Any:
    """The primary key of a session's user."""
    return get_user_model()._meta.pk.to_python(session[SESSION_KEY])


def is_plain(backend: Any) -> bool:
    """True if a backend finds users as Django's own does."""
    return getattr(type(backend), "get_user", None) is ModelBackend.get_user
