"""Addresses: from where a visitor comes, as far as that can be known, for limits to count by."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest

from ..conf import limits
from ..engine.log_lines import say
from ..engine.process import current_process

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

LOCAL_NETWORKS = [
    ipaddress.ip_network(network)
    for network in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
]
"""Loopback, private, link-local and shared addresses (RFC 1122, 1918, 3927, 6598, 4291, 4193)."""

IPV6_PREFIX = 64  # bits of an address that a provider gives to one customer (RFC 6177)


def address_in(scope: Mapping[str, Any]) -> str | None:
    """The address of whoever opened a WebSocket, by its ASGI scope."""
    peer = (scope.get("client") or [None])[0]
    claims = [value for name, value in scope.get("headers", ()) if name == b"x-forwarded-for"]
    return address_of(peer, b",".join(claims).decode("latin-1"))


def address_behind(request: HttpRequest) -> str | None:
    """The address of whoever makes a request."""
    return address_of(request.META.get("REMOTE_ADDR"), request.headers.get("X-Forwarded-For", ""))


def address_of(peer: str | None, forwarded: str) -> str | None:
    """The address to count by; None if it is nobody's own: local, private, that of a proxy, or not known.

    Each of the site's proxies adds the address that it sees to the right end of ``X-Forwarded-For``; what stands
    further left is the client's own claim. So with ``PROXIES`` in front the client is that many places from the right.
    Without any it is the peer, unless daphne has put the leftmost claim into its place (``--proxy-headers``).
    """
    if limits.PROXIES:
        seen = [each.strip() for each in forwarded.split(",") if each.strip()]
        client = parsed(seen[-limits.PROXIES]) if len(seen) >= limits.PROXIES else None
        return None if client is None else counted_as(client)
    client = parsed(peer or "")
    if client is None or (forwarded and current_process().believes_claims):
        return None
    if not is_local(client):
        return counted_as(client)
    if forwarded:
        warn_of_proxy()
    return None


def parsed(text: str) -> IPAddress | None:
    """An address, which may have a port; None if it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_local(address: IPAddress) -> bool:
    return any(address in network for network in LOCAL_NETWORKS)


def counted_as(address: IPAddress) -> str:
    """The address; of IPv6 the part that is one customer's."""
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))


def warn_of_proxy() -> None:
    text = (
        'Requests come through a proxy, and BROADCAST["LIMITS"]["PROXIES"] does not say how many there are: '
        "limits for guests' addresses do not apply."
    )
    if current_process().is_first_time(text):
        say(logging.WARNING, text)
