"""The seal of hints that go around the channel layer: who has no key of the site can neither make nor alter one."""

from __future__ import annotations

import hmac
from typing import Any

from django.conf import settings
from django.utils.crypto import salted_hmac

DIGITS = 32  # hexadecimal ones of the seal, before the text that it seals
WINDOW = 4096  # numbers of one sender that may come out of order
MAX_SENDERS = 1000


class Seal:
    """Seals with the site's ``SECRET_KEY``, and accepts what was sealed with it or one of its fallbacks."""

    def __init__(self) -> None:
        self._known: tuple[tuple[Any, ...], list[bytes]] = ((), [])

    def close(self, text: bytes) -> bytes:
        """Raises ImproperlyConfigured where the site has no key."""
        return seal_of(self._keys()[0], text) + text

    def open(self, sealed: bytes) -> bytes | None:
        """Returns the text that was sealed; None if it is not of this site."""
        seal, text = sealed[:DIGITS], sealed[DIGITS:]
        if any(hmac.compare_digest(seal, seal_of(key, text)) for key in self._keys()):
            return text
        return None

    def _keys(self) -> list[bytes]:
        keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
        known_keys, derived = self._known
        if keys != known_keys:
            derived = [salted_hmac("broadcast.hints", "", key, algorithm="sha256").digest() for key in keys]
            self._known = keys, derived
        return derived


def seal_of(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256").hex()[:DIGITS].encode()


class Repeats:
    """Tells what came before, by its sender and number, so that a recorded hint cannot be played again.

    As in IPsec (RFC 4303, 3.4.3): a number may come late, within ``WINDOW``; an older one counts as a repeat.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}  # by sender: the highest number, and a bit for each below it

    def is_new(self, sender: str, number: int) -> bool:
        top, seen = self._seen.pop(sender, (0, 0))
        ahead = number - top
        is_new = ahead > 0 or (-ahead < WINDOW and not seen >> -ahead & 1)
        if ahead > 0:
            top, seen = number, (seen << min(ahead, WINDOW) | 1) & ((1 << WINDOW) - 1)
        elif is_new:
            seen |= 1 << -ahead
        self._seen[sender] = top, seen  # as the newest
        if len(self._seen) > MAX_SENDERS:
            del self._seen[next(iter(self._seen))]
        return is_new
