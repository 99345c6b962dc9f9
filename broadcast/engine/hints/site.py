"""The site's mark on the events of this app: two sites that share a Redis do not take each other's for their own.

A mark tells sites apart and proves nothing: who can write to the channel layer is trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.utils.crypto import salted_hmac

from .hint import EVENT, SITE_MARK


class SiteMarks:
    """The mark of this site, a digest made with its ``SECRET_KEY``, and those that its processes may still send.

    They are made anew only when the keys change. Those of ``SECRET_KEY_FALLBACKS`` are taken for the site's own: while
    a new key is rolled out, only processes that do not know it yet ignore events of those that do, and find what these
    logged at their next poll.
    """

    def __init__(self) -> None:
        self._known: tuple[tuple[Any, ...], list[str]] = ((), [])

    @property
    def own(self) -> str:
        """Raises ImproperlyConfigured where the site has no key."""
        return self._of_keys()[0]

    def accept(self, event: Mapping[str, Any]) -> bool:
        """True for events of this site, and for what anyone may send, who then knows no mark: an ephemeral frame."""
        if SITE_MARK in event:
            return event[SITE_MARK] in self._of_keys()
        return event.get("type") == EVENT and event.get("offset") is None

    def _of_keys(self) -> list[str]:
        keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
        known_keys, marks = self._known
        if keys != known_keys:
            marks = [mark_of(key) for key in keys]
            self._known = keys, marks
        return marks


def mark_of(key: str | bytes) -> str:
    return salted_hmac("broadcast.site", "", key, algorithm="sha256").hexdigest()[:16]
