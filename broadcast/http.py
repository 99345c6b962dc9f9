"""What all the app's addresses ask of a request: who makes it, from where, and what kind of answer is wanted."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.db import Error, connections
from django.http import HttpRequest
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve

from .access import policy
from .engine.storage.database import alias, lacks_tables
from .exceptions import LogUnavailable

HTML, JSON, TEXT = "text/html", "application/json", "text/plain"

PURPOSE_HEADERS = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")

STATUS = {"invalid": 400, "too_large": 400, "forbidden": 403, "not_found": 404, "unavailable": 503}
"""The HTTP status of each code with which a request is refused."""


def visitor(request: HttpRequest) -> Any:
    """Who asks: a signed-in user, or None for a guest.

    Raises LogUnavailable if the database that knows users cannot say.
    """
    user = getattr(request, "user", None)
    try:
        return user if policy.is_signed_in(user) else None
    except Error as error:
        if lacks_tables(connections[alias()]):
            return None  # before migrate there are no users either
        raise LogUnavailable(f"Who you are cannot be looked up right now: {error}") from error


def allows(user: Any, action: policy.Action, group: str) -> bool:
    """Whether ``user`` may; raises LogUnavailable if the database that knows permissions cannot say."""
    try:
        return policy.allows(user, action, group)
    except Error as error:
        raise LogUnavailable(f"Permissions cannot be looked up right now: {error}") from error


def is_prefetch(request: HttpRequest) -> bool:
    """Whether a browser asks ahead of its user, as it says in ``Sec-Purpose`` (WHATWG Fetch) or an older header."""
    purposes = " ".join(request.headers.get(name, "") for name in PURPOSE_HEADERS).lower()
    return any(word in purposes for word in ("prefetch", "prerender", "preview"))


def is_from_another_site(request: HttpRequest) -> bool:
    """Whether a page of another site makes the request.

    Browsers say so by themselves: to https and localhost in ``Sec-Fetch-Site`` (W3C Fetch Metadata),
    elsewhere ``Origin`` or ``Referer`` has to do. curl and scripts send none of them.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("none", "same-origin")
    page = request.headers.get("Origin") or request.headers.get("Referer")
    return bool(page) and not policy.is_same_origin(str(page), request.get_host())


def preferred(request: HttpRequest, *kinds: str) -> str:
    """The kind of answer that suits the request: ``?format=json``, what it accepts, or the first of ``kinds``."""
    if request.GET.get("format") == "json":
        return JSON
    return request.get_preferred_type(kinds) or kinds[0]


def sign_in_url(request: HttpRequest) -> str:
    """Where a guest signs in and is led back from; empty if ``LOGIN_URL`` leads nowhere in this site."""
    try:
        url = resolve_url(settings.LOGIN_URL)
        if not urlsplit(url).netloc:
            resolve("/" + urlsplit(url).path.removeprefix(get_script_prefix()).lstrip("/"))
    except (NoReverseMatch, Resolver404):
        return ""
    return url + ("&" if "?" in url else "?") + urlencode({"next": request.get_full_path()})
