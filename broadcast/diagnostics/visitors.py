"""Looks at the limits of visitors: whom they tell apart, and whether all processes count together."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from ..conf import limits
from ..engine.shared_counts import RedisCounter, redis_of_the_site
from .finding import Finding


def visitors() -> Iterator[Finding]:
    """Whom the limits tell apart, and whether processes count together."""
    if limits.PROXIES:
        yield Finding("ok", f"Guests are limited by their addresses, behind {limits.PROXIES} proxies.")
    else:
        text = "Guests are limited by their addresses only where they connect to this server from public ones"
        yield Finding("ok", f'{text}: LIMITS["PROXIES"] names no proxy.', 'Behind proxies set LIMITS["PROXIES"].')
    address = redis_of_the_site()
    if address is None:
        return
    if find_spec("limits") is None:
        yield Finding("warning", "Each process limits by itself: limits is not installed.", "Run: pip install limits")
        return
    try:
        RedisCounter(*address).add(("doctor", "doctor"), 1000, 1000, 1)
    except Exception as error:
        yield Finding("warning", f"Each process limits by itself: Redis cannot count ({error}).", "See that it runs.")
    else:
        yield Finding("ok", "The limits hold for all processes together, which count in Redis.")
