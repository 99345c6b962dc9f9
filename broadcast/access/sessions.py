"""Sessions: asked of their engine, and judged as Django judges them, for the users that they still sign in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.utils.crypto import constant_time_compare
from django.utils.module_loading import import_string

from ..engine.process import current_process


def unwrapped(session: Any) -> Any:
    """The session itself, past the LazyObject that Channels puts around it."""
    return getattr(session, "_wrapped", session)


def signs_in(session: Any) -> bool:
    """True if this is a session under which somebody is signed in, and not one of a guest or of another kind."""
    return bool(getattr(session, "session_key", None)) and bool(session.get(SESSION_KEY))


def found_in_tables(sessions: Iterable[Any]) -> set[str]:
    """The keys of those sessions that are in a table and have not expired.

    One query for each session engine that counts them, as a rule all, and one more where some are missing.
    """
    keys: defaultdict[Any, set[str]] = defaultdict(set)
    for session in sessions:
        if hasattr(session.__class__, "get_model_class"):
            keys[session.__class__].add(session.session_key)
    found: set[str] = set()
    for store, wanted in keys.items():
        table = store.get_model_class()._default_manager
        valid = table.filter(session_key__in=wanted, expire_date__gt=current_process().system.now())
        found.update(wanted if valid.count() == len(wanted) else valid.values_list("session_key", flat=True))
    return found


def has_ended(session: Any) -> bool:
    """Asks the session's own engine, as the next request would. Raises its errors if it cannot be reached."""
    store = session.__class__(session.session_key)
    if store.get(SESSION_KEY) == session.get(SESSION_KEY):
        return False
    store.exists(session.session_key)  # a cache that is away looks like an empty one above, and raises here
    return True


def is_kept_by_client(session: Any) -> bool:
    """True if the session is in its cookie alone, so that nobody here can see when it is signed out of."""
    return not session.__class__(session.session_key).exists(session.session_key)


def is_of_password(session: Any, user: Any) -> bool:
    """True if a session was begun under the password that its user has now, as Django's ``get_user`` finds it."""
    is_anothers = session[SESSION_KEY] != user._meta.pk.value_to_string(user)
    return is_anothers or is_verified(session, user)


def is_verified(session: Any, user: Any) -> bool:
    """True if a session has the hash of its user's password, as Django verifies it; also by a key that was replaced."""
    if not hasattr(user, "get_session_auth_hash"):
        return True
    begun_under = session.get(HASH_SESSION_KEY) or ""
    hashes = [user.get_session_auth_hash()]
    if constant_time_compare(begun_under, hashes[0]):
        return True
    return any(constant_time_compare(begun_under, each) for each in user.get_session_auth_fallback_hash())


def users_now(users: Iterable[Any]) -> dict[Any, Any]:
    """Users as the database has them now, by their keys: one query. Who is no user of the site's model is left out."""
    model = get_user_model()
    return model._default_manager.in_bulk({user.pk for user in users if isinstance(user, model)})


def user_by_backend(user: Any, session: Any) -> Any:
    """The user as the backend finds them that signed them in; None if it does not."""
    path = session.get(BACKEND_SESSION_KEY) if signs_in(session) else getattr(user, "backend", None)
    return import_string(path)().get_user(user.pk) if path else None
