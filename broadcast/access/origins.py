"""Origins: from which page a handshake or a request comes, and whether that is one of this site."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host
from django.utils.http import is_same_domain

from ..engine.log_lines import cut, say

LOCAL_HOSTS = [".localhost", "127.0.0.1", "[::1]"]
DEFAULT_PORTS = {"http": "80", "https": "443"}

PURPOSE_HEADERS = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")


def accepts_handshake(scope: Mapping[str, Any]) -> bool:
    """``accepts_origin`` for an ASGI scope; the log says which origin was refused."""
    headers: dict[bytes, bytes] = dict(scope.get("headers", ()))
    accepted = accepts_origin(headers, scope.get("scheme", "ws"))
    if not accepted:
        text = "Refused a WebSocket from the origin %s: it is another host's, and not in CSRF_TRUSTED_ORIGINS"
        say(logging.WARNING, text, cut(headers[b"origin"].decode("latin-1")))
    return accepted


def accepts_origin(headers: Mapping[bytes, bytes], scheme: str = "ws") -> bool:
    """True if a handshake with these headers comes from a page of this site, or from no page at all.

    Browsers always send ``Origin`` with a WebSocket handshake (RFC 6455, section 4.1), so one
    without comes from a program. Over TLS, known by ``scheme`` "wss" or by
    ``SECURE_PROXY_SSL_HEADER``, the page must have come over TLS too.
    """
    if b"origin" not in headers:
        return True
    schemes = ("https",) if scheme == "wss" or is_behind_tls(headers) else DEFAULT_PORTS
    return is_of_this_site(headers[b"origin"].decode("latin-1"), requested_host(headers), schemes)


def is_from_another_site(request: HttpRequest) -> bool:
    """True if a page of another site makes the request.

    Browsers say so by themselves: to https and localhost in ``Sec-Fetch-Site`` (W3C Fetch Metadata),
    elsewhere ``Origin`` or ``Referer`` has to do. curl and scripts send none of them.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("none", "same-origin")
    page = request.headers.get("Origin") or request.headers.get("Referer")
    return bool(page) and not is_of_this_site(str(page), request.get_host())


def is_prefetch(request: HttpRequest) -> bool:
    """True if a browser asks ahead of its user, as it says in ``Sec-Purpose`` (WHATWG Fetch) or an older header."""
    purposes = " ".join(request.headers.get(name, "") for name in PURPOSE_HEADERS).lower()
    return any(word in purposes for word in ("prefetch", "prerender", "preview"))


def is_part_of_a_page(request: HttpRequest) -> bool:
    """True if a browser fetches a picture, a script, a frame or the like, as it says in ``Sec-Fetch-Dest`` (W3C)."""
    return request.headers.get("Sec-Fetch-Dest", "empty") not in ("document", "empty")


def is_of_this_site(page: str, host: str, schemes: Collection[str] = DEFAULT_PORTS) -> bool:
    """True if a page's address, or its origin, is one of this site, which was asked for as ``host``.

    It must have the same host and port, as Django's CSRF check asks of a form, or be listed in
    ``CSRF_TRUSTED_ORIGINS``; the host itself must be in ``ALLOWED_HOSTS``. Without ``host``, as HTTP/1.0
    allows, the page's own host must be in there.
    """
    try:
        address = urlsplit(page.lower())
    except ValueError:
        return False
    if is_trusted_origin(address.scheme, address.netloc):
        return True
    host = host.lower() or address.netloc
    return (
        address.scheme in schemes
        and is_allowed_host(host)
        and with_port(address.netloc, address.scheme) == with_port(host, address.scheme)
    )


def is_trusted_origin(scheme: str, host: str) -> bool:
    """True if an entry of ``CSRF_TRUSTED_ORIGINS`` names this origin; read as Django's CSRF check reads it."""
    for trusted in settings.CSRF_TRUSTED_ORIGINS:
        trusted_scheme, _, pattern = trusted.lower().partition("://")
        if scheme == trusted_scheme and is_same_domain(host, pattern.lstrip("*")):
            return True
    return False


def is_allowed_host(host: str) -> bool:
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS or LOCAL_HOSTS)


def with_port(host: str, scheme: str) -> str:
    domain, port = split_domain_port(host)
    return f"{domain}:{port or DEFAULT_PORTS[scheme]}"


def is_behind_tls(headers: Mapping[bytes, bytes]) -> bool:
    """True if a proxy says that the client came over TLS, in the header that the site believes."""
    if not settings.SECURE_PROXY_SSL_HEADER:
        return False
    name, value = settings.SECURE_PROXY_SSL_HEADER
    sent = headers.get(name.removeprefix("HTTP_").replace("_", "-").lower().encode(), b"")
    return sent.split(b",")[0].strip() == value.encode()


def requested_host(headers: Mapping[bytes, bytes]) -> str:
    """The host that the handshake asked for, as Django's ``get_host`` finds it."""
    name = b"host"
    if settings.USE_X_FORWARDED_HOST and b"x-forwarded-host" in headers:
        name = b"x-forwarded-host"
    return headers.get(name, b"").decode("latin-1").lower()
