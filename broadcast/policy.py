"""Who may do what: the ``GROUPS`` table, looked up in one place.

A rule names, for each action, who may do it::

    "broadcast": {"subscribe": "anyone", "publish": "authenticated", "announce": "staff"}

``subscribe`` is to receive and to read history, ``publish`` to write under one's own name,
``announce`` to speak as the site itself. What is not named is denied.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.http.request import split_domain_port, validate_host

from .conf import conf

Action = Literal["subscribe", "publish", "announce"]

ACTIONS: tuple[Action, ...] = ("subscribe", "publish", "announce")
WORDS = ("anyone", "authenticated", "staff", "nobody", "self")

GROUP_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,80}")
"""What a group may be called: a Channels group name, with room for the app's own prefix."""

LOCAL_HOSTS = [".localhost", "127.0.0.1", "[::1]"]
DEFAULT_PORTS = {"http": "80", "https": "443"}


def is_group_name(name: object) -> bool:
    return isinstance(name, str) and GROUP_NAME.fullmatch(name) is not None


def rule_for(group: str) -> tuple[str, Mapping[str, Any]] | None:
    """The name or pattern in ``GROUPS`` that ``group`` falls under, and its rule.

    A name comes before any pattern, a longer pattern before a shorter one.
    """
    rules = conf.GROUPS
    if group in rules:
        return group, rules[group]
    for pattern in sorted(rules, key=len, reverse=True):
        if fnmatchcase(group, pattern):
            return pattern, rules[pattern]
    return None


def needs_database(action: Action, group: str) -> bool:
    """Whether ``allows`` may have to ask the database for the user's permissions."""
    found = rule_for(group)
    return found is not None and str(found[1].get(action)).startswith("perm:")


def allows(user: Any, action: Action, group: str) -> bool:
    """Whether ``user`` (a user, an ``AnonymousUser`` or None) may do ``action`` in ``group``.

    A ``perm:`` rule asks the user's authentication backends, which may query the database.
    """
    found = rule_for(group)
    if found is None:
        return False
    pattern, rule = found
    who = rule.get(action, "nobody")
    if who == "anyone":
        return True
    if not is_signed_in(user):
        return False
    if who == "authenticated":
        return True
    if who == "staff":
        return bool(user.is_staff)
    if who == "self":
        return pattern.endswith("*") and group[len(pattern) - 1 :] == str(user.pk)
    if who.startswith("perm:"):
        return bool(user.has_perm(who.removeprefix("perm:")))
    return False


def is_signed_in(user: Any) -> bool:
    """Whether ``user`` is a user whose account is active."""
    return bool(user is not None and user.is_authenticated and user.is_active)


def refusal(action: Action, group: str) -> str:
    """A sentence for whoever was refused, naming the setting that would allow it."""
    doing = {"subscribe": "receive messages of", "publish": "write to", "announce": "announce to"}
    found = rule_for(group)
    if found is None:
        return (
            f"There is no group {group!r} here. "
            f'A site names its groups in BROADCAST["GROUPS"]; {group!r} is not among them.'
        )
    pattern, rule = found
    who = rule.get(action, "nobody")
    return (
        f"You may not {doing[action]} {group!r}: "
        f'BROADCAST["GROUPS"]["{pattern}"]["{action}"] is "{who}".'
    )


def accepts_origin(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a handshake with these headers comes from a page of this site, or from no page at all.

    Browsers always send ``Origin`` with a WebSocket handshake (RFC 6455, section 4.1), so one
    without comes from a program. A page's origin must have the handshake's own host and port, as
    Django's CSRF check asks of a form, or be listed in ``CSRF_TRUSTED_ORIGINS``; the host itself
    must be in ``ALLOWED_HOSTS``.
    """
    if b"origin" not in headers:
        return True
    origin = headers[b"origin"].decode("latin-1").lower()
    if is_trusted_origin(origin):
        return True
    try:
        parts = urlsplit(origin)
        scheme, netloc, hostname = parts.scheme, parts.netloc, parts.hostname
    except ValueError:
        return False
    if scheme not in DEFAULT_PORTS or not hostname:
        return False
    host = requested_host(headers) or netloc
    allowed = django_settings.ALLOWED_HOSTS or LOCAL_HOSTS
    domain, _ = split_domain_port(host)
    return (
        bool(domain)
        and validate_host(domain, allowed)
        and with_port(netloc, scheme) == with_port(host, scheme)
    )


def is_trusted_origin(origin: str) -> bool:
    """Whether ``origin`` matches an entry of ``CSRF_TRUSTED_ORIGINS`` (``*.`` stands for any subdomain)."""
    for trusted in django_settings.CSRF_TRUSTED_ORIGINS:
        scheme, _, host = trusted.lower().partition("://")
        if origin == f"{scheme}://{host}":
            return True
        if host.startswith("*.") and origin.startswith(f"{scheme}://"):
            if origin.removeprefix(f"{scheme}://").endswith(host[1:]):
                return True
    return False


def requested_host(headers: Mapping[bytes, bytes]) -> str:
    """The host that the handshake asked for, as Django's ``get_host`` finds it."""
    name = b"host"
    if django_settings.USE_X_FORWARDED_HOST and b"x-forwarded-host" in headers:
        name = b"x-forwarded-host"
    return headers.get(name, b"").decode("latin-1").lower()


def with_port(host: str, scheme: str) -> str:
    domain, port = split_domain_port(host)
    return f"{domain}:{port or DEFAULT_PORTS[scheme]}"
