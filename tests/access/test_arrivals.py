"""Arrivals: each gets the user whom Channels finds for the same session, whoever comes with them."""

import asyncio
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from asgiref.sync import sync_to_async
from channels.auth import get_user as get_user_of_channels
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth import get_user as get_user_of_django
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser, User, UserManager
from django.contrib.sessions.backends import cached_db
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import DataError, OperationalError, connection
from django.db.models import Manager
from django.test.utils import CaptureQueriesContext

from broadcast.access import arrivals
from broadcast.access.arrivals import BY_ITSELF, Arrivals, is_in_table, user_by_itself, users_of
from broadcast.engine.batcher import Failed
from broadcast.engine.process import this_process

pytestmark = pytest.mark.django_db(transaction=True)


class Own(ModelBackend):
    """Finds users as it likes."""

    error: Exception | None = None

    def get_user(self, user_id: Any) -> Any:
        if self.error is not None:
            raise self.error
        return User.objects.filter(pk=user_id).exclude(username="gone by Own").first()


class Elsewhere(Own):
    """Asks a database that is away."""

    error = OperationalError("away")


class Strange(Own):
    error = ZeroDivisionError("strange")


class OwnLoad(SessionStore):
    def load(self) -> Any:
        return {**super().load(), "loaded": "by itself"}


HERE = f"{__name__}.{{}}".format
PLAIN, LENIENT = (f"django.contrib.auth.backends.{name}" for name in ("ModelBackend", "AllowAllUsersModelBackend"))
ENGINES = ["db", "cached_db", "cache", "file", "signed_cookies", "own load"]


@pytest.fixture(params=["db"])
def store(request: pytest.FixtureRequest, settings, tmp_path) -> Any:
    settings.SESSION_FILE_PATH = str(tmp_path)
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": f"{tmp_path}"}
    }
    settings.AUTHENTICATION_BACKENDS = [PLAIN, LENIENT, *map(HERE, ("Own", "Elsewhere", "Strange"))]
    if request.param == "own load":
        return OwnLoad
    return import_module(f"django.contrib.sessions.backends.{request.param}").SessionStore


def user(name: str, **fields: Any) -> User:
    return User.objects.get_or_create(username=name, defaults={"password": "!", **fields})[0]


def signed_in(name: str = "ann", backend: str = PLAIN, is_active: bool = True, **changes: Any) -> Callable[[Any], str]:
    """Makes a session, which may differ from that of a sign-in; None takes something out."""

    def make(store: Any) -> str:
        ann = user(name, is_active=is_active)
        fields = {SESSION_KEY: str(ann.pk), BACKEND_SESSION_KEY: backend, HASH_SESSION_KEY: ann.get_session_auth_hash()}
        session = store()
        session.update({key: value for key, value in {**fields, **changes}.items() if value is not None})
        session.save()
        return str(session.session_key)

    return make


def expired(store: Any) -> str:
    session = store(signed_in()(store))
    session.set_expiry(-10)
    session.save()
    return str(session.session_key)


def garbage(store: Any) -> str:
    key = signed_in()(store)
    Session.objects.filter(pk=key).update(session_data="garbage")
    return key


SESSIONS: dict[str, Callable[[Any], Any]] = {
    "valid": signed_in(),
    "a guest's": signed_in(**{SESSION_KEY: None, BACKEND_SESSION_KEY: None, HASH_SESSION_KEY: None}),
    "expired": expired,
    "garbage": garbage,
    "made up": lambda _: "a" * 32,
    "none": lambda _: None,
    "another hash": signed_in(**{HASH_SESSION_KEY: "wrong"}),
    "no hash": signed_in(**{HASH_SESSION_KEY: None}),
    "no backend": signed_in(**{BACKEND_SESSION_KEY: None}),
    "another backend": signed_in(backend="django.contrib.auth.backends.RemoteUserBackend"),
    "inactive": signed_in("ian", is_active=False),
    "inactive, which does not matter": signed_in("ian", LENIENT, is_active=False),
    "user gone": signed_in(**{SESSION_KEY: "987654"}),
    "hidden": signed_in("hidden"),
    "own backend": signed_in(backend=HERE("Own")),
    "own backend, user gone": signed_in("gone by Own", HERE("Own")),
    "own backend that fails": signed_in(backend=HERE("Strange")),
    "own backend whose database is away": signed_in(backend=HERE("Elsewhere")),
    "a key that is none": signed_in(**{SESSION_KEY: "ann"}),
    "a key that no column holds": signed_in(**{SESSION_KEY: str(2**70)}),
}


def told(session: Any, found: Callable[[], Any]) -> Any:
    """Whatever can be told of a look-up: who it is, or what went wrong, and what became of the session."""
    try:
        who = found()
    except Exception as error:
        return type(error)
    is_kept = session.session_key is not None and session.exists(session.session_key)
    return who.pk, dict(session.items()), session.modified, session.accessed, is_kept


def looked_up(sessions: list[Any]) -> dict[Any, Any]:
    """What is found for each: together for those in tables, one by one for others, as a node does."""
    found = users_of([session for session in sessions if is_in_table(type(session))])
    for session in sessions:
        if found.get(session, BY_ITSELF) is BY_ITSELF:
            try:
                found[session] = user_by_itself(session)
            except Exception as error:
                found[session] = Failed(error)
    return found


def raised(found: Any) -> Any:
    if isinstance(found, Failed):
        raise found.error
    return found


@pytest.mark.parametrize("store", ENGINES, indirect=True)
def test_each_gets_whom_channels_finds_alone_and_in_a_crowd(store, monkeypatch):
    user("hidden")
    made = {kind: [store(make(store)) for _ in range(3)] for kind, make in SESSIONS.items()}
    everybody = Manager.get_queryset
    monkeypatch.setattr(UserManager, "get_queryset", lambda self: everybody(self).exclude(username="hidden"))
    crowd = looked_up([other for _, _, other in made.values()])
    for kind, (theirs, ours, other) in made.items():
        expected = told(theirs, partial(get_user_of_channels.func, {"session": theirs}))
        assert told(other, lambda other=other: raised(crowd[other])) == expected, kind
        if "away" not in kind:  # it alone is as if the site's own database was
            assert told(ours, lambda ours=ours: raised(looked_up([ours])[ours])) == expected, kind


class WithNumbers(SessionStore):
    """What it keeps is pickled, and need not be named by words."""

    def decode(self, session_data: str) -> Any:
        return {5: "five", **super().decode(session_data)}


class Broken(SessionStore):
    def decode(self, session_data: str) -> Any:
        raise ZeroDivisionError


def refuses_nul(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    """As PostgreSQL does."""
    if any("\0" in str(each) for each in params or ()):
        raise DataError("A string literal cannot contain NUL (0x00) characters.")
    return execute(sql, params, many, context)


ODD = {
    "NUL": (lambda: SessionStore("a" * 32 + "\0"), AnonymousUser),
    "numbers": (lambda: WithNumbers(signed_in()(WithNumbers)), User),
    "broken": (lambda: Broken(signed_in()(Broken)), ZeroDivisionError),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_session_costs_nobody_else_anything(odd):
    make, expected = ODD[odd]
    first, last = (SessionStore(signed_in()(SessionStore)) for _ in range(2))
    with connection.execute_wrapper(refuses_nul):
        found = looked_up([first, odd := make(), last])
    told_to = [found[each].error if isinstance(found[each], Failed) else found[each] for each in (first, odd, last)]
    assert [type(each) for each in told_to] == [User, expected, User]


def test_a_session_that_is_to_end_is_not_ended_by_the_thread_that_reads():
    """Somebody may hold the lock for writing."""
    session = SessionStore(SESSIONS["another hash"](SessionStore))
    assert users_of([session]) == {session: BY_ITSELF}
    assert session.exists(session.session_key)


def test_a_session_of_a_key_that_was_replaced_is_accepted_as_django_accepts_it(settings):
    theirs, ours = (SessionStore(signed_in()(SessionStore)) for _ in range(2))
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "a new one"
    assert users_of([ours])[ours] == get_user_of_django(SimpleNamespace(session=theirs)) == user("ann")


async def shared_by(*keys: str, store: Any = SessionStore) -> list[Any]:
    """What those get who come with these cookies at once, by the node of this loop."""
    with this_process.node() as node:
        asking = (node.part(Arrivals).user_of(store(key)) for key in keys)
        return await asyncio.gather(*asking, return_exceptions=True)


@sync_to_async
def cookies(*kinds: str) -> list[str]:
    return [str(SESSIONS[kind](SessionStore)) for kind in kinds]


async def test_fifty_who_come_at_once_cost_two_looks_of_two_queries(monkeypatch):
    looks: list[tuple[int, int]] = []

    def counted(sessions: Any) -> Any:
        with CaptureQueriesContext(connection) as queries:
            found = users_of(sessions)
        looks.append((len(sessions), len(queries)))
        return found

    monkeypatch.setattr(arrivals, "users_of", counted)
    found = await shared_by(*await cookies(*["valid"] * 50))
    assert (looks, {each.username for each in found}) == ([(50, 2)], {"ann"})


@pytest.mark.parametrize("kind", ["valid", "another hash"])
async def test_two_who_come_with_the_same_cookie_are_the_same(kind):
    [cookie] = await cookies(kind)
    found = await shared_by(cookie, cookie)
    assert [each.is_authenticated for each in found] == [kind == "valid"] * 2


@pytest.mark.parametrize(
    ("store", "look", "tries"),
    [
        (SessionStore, (arrivals, "load_from_tables"), 2),  # together, and once more
        (cached_db.SessionStore, (SessionStore, "_get_session_from_db"), 5),
    ],
    ids=["db", "cached_db"],
)
async def test_while_the_database_is_away_all_are_refused_and_the_next_get_in(store, look, tries, monkeypatch):
    keys = await cookies(*["valid"] * 5)
    away = Mock(side_effect=OperationalError("away"))
    with monkeypatch.context() as patch:
        patch.setattr(*look, away)
        assert {type(each) for each in await shared_by(*keys, store=store)} == {OperationalError}
        assert away.call_count == tries
    assert {each.username for each in await shared_by(*keys, store=store)} == {"ann"}
