"""Identity: the user of a request, and the name under which a message goes out."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.db import Error, connections
from django.http import HttpRequest
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve

from ..engine.commands import Publish
from ..engine.names import is_servers_name
from ..engine.process import current_process
from ..engine.storage.database import alias, lacks_tables
from ..engine.storage.records import Draft
from ..engine.validation import MAX_AUTHOR, Identity, checked_author
from ..exceptions import InvalidMessage, LogUnavailable
from ..models import Message


def is_signed_in(user: Any) -> bool:
    """True if ``user`` is a user whose account is active."""
    return bool(user is not None and user.is_authenticated and user.is_active)


def visitor(request: HttpRequest) -> Any:
    """The signed-in user of a request, or None for a guest.

    Raises LogUnavailable if the database that knows users cannot say.
    """
    user = getattr(request, "user", None)
    try:
        return user if is_signed_in(user) else None
    except Error as error:
        if lacks_tables(connections[alias()]):
            return None  # before migrate there are no users either
        raise LogUnavailable(f"Who you are cannot be looked up right now: {error}") from error


ADDED_BY_BROWSERS = {"basic", "digest", "negotiate", "ntlm"}
"""The schemes of ``Authorization`` that browsers answer by themselves (RFC 7617, 7616 and 4559)."""


def proves_itself(request: HttpRequest) -> bool:
    """True if a request says who makes it in a way that no browser adds by itself, whoever's page makes the request.

    That is ``Authorization`` in another scheme, such as ``Bearer``, and no cookie: a page of another site cannot add
    it without being asked first (WHATWG Fetch, CORS-safelisted request-header).
    """
    scheme = request.headers.get("Authorization", "").strip().partition(" ")[0].lower()
    return bool(scheme) and scheme not in ADDED_BY_BROWSERS and not request.headers.get("Cookie")


def sign_in_url(request: HttpRequest) -> str:
    """The address where a guest signs in and is led back; empty if ``LOGIN_URL`` leads nowhere in this site."""
    try:
        url = resolve_url(settings.LOGIN_URL)
        if not urlsplit(url).netloc:
            resolve("/" + urlsplit(url).path.removeprefix(get_script_prefix()).lstrip("/"))
    except (NoReverseMatch, Resolver404):
        return ""
    return url + ("&" if "?" in url else "?") + urlencode({"next": request.get_full_path()})


def draft_by(user: Any, said: Publish, group: str) -> Draft:
    """A client's message to a group, under a name that nobody can forge.

    A user (None: a guest) speaks under their own, a guest under one that is marked as such. Raises
    InvalidMessage with the code ``forbidden`` if the name is the site's own.
    """
    source = Message.Source.GUEST if user is None else Message.Source.USER
    author = (said.author or "Guest") if user is None else str(user.get_username())
    if is_servers_name(author):
        raise InvalidMessage(f"{author!r} is the name under which this site speaks. Take another.", "forbidden")
    return Draft(
        group=group,
        source=source,
        author=author,
        body=said.body,
        ref=said.ref or current_process().system.uuid(),
        data=said.data,
        user_id=None if user is None else user.pk,
        has_client_ref=said.ref is not None,
    )


def sender_name(by: Any) -> str:
    """The name of whoever had a message sent: a user, or a name such as that of a program. Raises InvalidMessage."""
    name = by.get_username() if hasattr(by, "get_username") and not isinstance(by, type) else by
    return checked_author(str(name)[:MAX_AUTHOR] if isinstance(name, str) else name)


def identity_of(author: Any) -> Identity:
    """The identity of the author that code gives to ``send``: a name, or a saved user. Raises InvalidMessage."""
    if isinstance(author, type) or not hasattr(author, "get_username"):
        return checked_author(author), Message.Source.SERVER, None
    if not author.is_authenticated or author.pk is None:
        raise InvalidMessage("The author must be a name or a saved user; it came as an anonymous one.")
    name = checked_author(str(author.get_username())[:MAX_AUTHOR])
    if is_servers_name(name):
        raise InvalidMessage(f"{name!r} is the name under which this site speaks. No user can write under it.")
    return name, Message.Source.USER, author.pk
