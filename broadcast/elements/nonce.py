"""The nonce of a site's Content-Security-Policy, for the scripts and style sheets that the elements bring along."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

NONE = SafeString("")


def nonce_attribute(nonce: Any, request: HttpRequest | None) -> SafeString:
    """`` nonce="…"`` where the site has one: that of Django's processor ``csp``, or django-csp's on the request."""
    nonce = getattr(request, "csp_nonce", None) if nonce is None else nonce
    return NONE if nonce is None else format_html(' nonce="{}"', str(nonce))
