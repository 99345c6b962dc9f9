"""Identity: the user of a request, and the name under which a message goes out."""

from __future__ import annotations

import logging
import re
import sqlite3
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.db import Error, InterfaceError, OperationalError, connections
from django.http import HttpRequest
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve
from django.utils.crypto import salted_hmac
from django.utils.module_loading import import_string
from django.utils.translation import gettext_noop

from ..conf import Author, conf
from ..engine.commands import Publish
from ..engine.log_lines import say
from ..engine.names import is_blank
from ..engine.process import current_process
from ..engine.storage.database import alias, lacks_tables
from ..engine.storage.records import Draft
from ..engine.validation import MAX_AUTHOR, Identity, checked_author, checked_data, checked_own_author, checked_text
from ..exceptions import InvalidMessage, LogUnavailable, refused_for
from ..models import Message

ADDRESS = re.compile(r"[^\s@]@[^\s@]")  # an e-mail address, wherever it stands in a name

T = TypeVar("T")


class Named(Protocol):
    """A connection with its user, the name that was found for one, and threads that may read the database."""

    user: Any
    named: tuple[Any, str]

    def read(self, question: Callable[[], T], /) -> Awaitable[T]: ...


class UserUnknown(LogUnavailable):
    """The database that knows users cannot be read, so that nobody knows who asks."""

    sentence = gettext_noop("Who you are cannot be looked up right now. Try again in a moment.")


def is_signed_in(user: Any) -> bool:
    """True if ``user`` is a user whose account is active."""
    return bool(user is not None and user.is_authenticated and user.is_active)


def visitor(request: HttpRequest) -> Any:
    """The signed-in user of a request, or None for a guest.

    Raises UserUnknown if the database that knows users cannot say.
    """
    user = getattr(request, "user", None)
    try:
        return user if is_signed_in(user) else None
    except Error as error:
        if lacks_tables(connections[alias()]):
            return None  # before migrate there are no users either
        raise UserUnknown(f"Who you are cannot be looked up right now: {error}") from error


ADDED_BY_BROWSERS = {"basic", "digest", "negotiate", "ntlm"}
"""The schemes of ``Authorization`` that browsers answer by themselves (RFC 7617, 7616 and 4559)."""


def proves_itself(request: HttpRequest) -> bool:
    """True if a request says who makes it in a way that no browser adds by itself, whoever's page makes the request.

    That is ``Authorization`` in another scheme, such as ``Bearer``, and no cookie: a page of another site cannot add
    it without being asked first (WHATWG Fetch, CORS-safelisted request-header).
    """
    scheme = request.headers.get("Authorization", "").lower().split(maxsplit=1)[:1]
    return bool(scheme) and scheme[0] not in ADDED_BY_BROWSERS and not request.headers.get("Cookie")


def sign_in_url(request: HttpRequest) -> str:
    """The address where a guest signs in and is led back; empty if ``LOGIN_URL`` leads nowhere in this site."""
    try:
        url = resolve_url(settings.LOGIN_URL)
        if not urlsplit(url).netloc:
            resolve("/" + urlsplit(url).path.removeprefix(get_script_prefix()).lstrip("/"))
    except (NoReverseMatch, Resolver404):
        return ""
    return url + ("&" if "?" in url else "?") + urlencode({"next": request.get_full_path()})


# Names


def public_name(user: Any) -> str:
    """The name under which others see a user: the one of the site's ``AUTHOR``, or else their user name.

    In the place of an e-mail address comes the short or the full name; in the place of these, where there are none, and
    of an ``AUTHOR`` that fails, a neutral one. Raises LogUnavailable if the database is away.
    """
    try:
        return find_name(user)
    except (OperationalError, InterfaceError) as error:
        raise UserUnknown(f"Who you are cannot be looked up right now: {error}") from error


def find_name(user: Any) -> str:
    """The public name, with the database's own errors where that is away."""
    name = own_name(user) if conf.AUTHOR is None else name_by_site(lambda: author()(user), 'BROADCAST["AUTHOR"]')
    return neutral_name(user) if name is None else name[:MAX_AUTHOR]


def own_name(user: Any) -> str | None:
    """The user name; the short or the full name where that is an address; None if there is none."""
    name = str(user.get_username())
    if not ADDRESS.search(name):
        return name
    for get in ("get_short_name", "get_full_name"):
        found = name_by_site(getattr(user, get, str), f"A user's {get}()")
        if found is not None and not is_refused(found):
            return found
    return None


def name_by_site(ask: Callable[[], object], source: str) -> str | None:
    """The name that the site's own code gives; None if it will not do, and then the log says so once per cause."""
    try:
        name = ask()
        if name == "" and conf.AUTHOR is None:
            return None  # most users have not given theirs
        if problem := problem_with(name):
            raise ValueError(f"It must return the text of a name; it returned {problem}.")
        return str(name)
    except Exception as error:
        if is_outage(error):
            raise
        complain(f"{source} failed, so users have neutral names: %s", error)
        return None


def complain(text: str, error: Exception) -> None:
    """Logs what is wrong with the site's own code, once per cause: it is asked again and again."""
    frames = traceback.extract_tb(error.__traceback__)
    cause = f"{type(error).__name__} in {frames[-1].filename}:{frames[-1].lineno}" if frames else str(error)
    if current_process().is_first_time(cause):
        say(logging.ERROR, text, error, cause=cause, error=error)


def is_outage(error: Exception) -> bool:
    """True if the database cannot be reached; False for a query that is wrong, which SQLite reports alike."""
    is_wrong = getattr(error.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    return isinstance(error, OperationalError | InterfaceError) and not is_wrong


def author() -> Author:
    """The function under ``AUTHOR``. Raises ImportError if there is none."""
    written: Any = conf.AUTHOR
    found: Author = import_string(written) if isinstance(written, str) else written
    return found


def problem_with(name: object) -> str:
    """The reason why something cannot be a user's public name; empty if it can."""
    if not isinstance(name, str):
        return type(name).__name__
    if is_blank(name):
        return "blank text"
    if ADDRESS.search(name):
        return "an e-mail address"
    try:
        checked_text(name, "name")
    except InvalidMessage as error:
        return f"what will not do: {error}"
    return ""


def is_refused(name: str) -> bool:
    """True if nobody may write under a name."""
    try:
        checked_own_author(name[:MAX_AUTHOR])
    except InvalidMessage:
        return True
    return False


def neutral_name(user: Any) -> str:
    """A name that is always the same for a user, and tells nothing of them."""
    return f"User {salted_hmac('broadcast.name', str(user.pk)).hexdigest()[:6]}"


async def name_of(connection: Named) -> str | None:
    """The public name of a connection's user, looked up again when the user was. Raises Refused."""
    user, (known, name) = connection.user, connection.named
    if user is None or user is known:
        return name if user is not None else None
    try:
        asks_site = conf.AUTHOR is not None or ADDRESS.search(str(user.get_username()))
        name = await connection.read(partial(find_name, user)) if asks_site else public_name(user)
    except LogUnavailable as error:
        raise refused_for(error, UserUnknown.sentence) from None
    connection.named = user, name
    return name


def draft_by(user: Any, said: Publish, group: str, name: str | None = None) -> Draft:
    """A client's message to a group, under a name that nobody can forge.

    A user (None: a guest) speaks under their own, which is ``name`` if it is known already; a guest under one that
    is marked as such. Raises InvalidMessage for data that will not do, and with the code ``forbidden`` if the name
    hides, steers or mimics.
    """
    source = Message.Source.GUEST if user is None else Message.Source.USER
    author = (said.author or "Guest") if user is None else (name or public_name(user))
    return Draft(
        group=group,
        source=source,
        author=checked_own_author(author),
        body=said.body,
        ref=said.ref or current_process().system.uuid(),
        data=None if said.data is None else checked_data(said.data),
        user_id=None if user is None else user.pk,
        has_client_ref=said.ref is not None,
    )


def sender_name(by: Any) -> str:
    """The name of whoever had a message sent: a user, or a name such as that of a program. Raises InvalidMessage."""
    name = by.get_username() if hasattr(by, "get_username") and not isinstance(by, type) else by
    text = checked_text(name, "name in by")
    if is_blank(text):
        raise InvalidMessage("The name in by must be text that is not empty; it came empty.")
    return text[:MAX_AUTHOR]


def identity_of(author: Any) -> Identity:
    """The identity of the author that code gives to ``send``: a name, or a saved user. Raises InvalidMessage."""
    if isinstance(author, type) or not hasattr(author, "get_username"):
        return checked_author(author), Message.Source.SERVER, None
    if not author.is_authenticated or author.pk is None:
        raise InvalidMessage("The author must be a name or a saved user; it came as an anonymous one.")
    return checked_own_author(public_name(author)), Message.Source.USER, author.pk
