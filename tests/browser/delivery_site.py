"""Pages with all elements, in roots and in the page's own tree, under the policy that the environment names."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import include, path
from django.utils.functional import SimpleLazyObject, empty

try:
    from django.utils.csp import LazyNonce
except ImportError:  # before Django 6

    class LazyNonce(SimpleLazyObject):
        """A nonce that is false until somebody has used it."""

        def __init__(self) -> None:
            super().__init__(secrets.token_urlsafe)

        def __bool__(self) -> bool:
            return self._wrapped is not empty


OWN = "img-src 'self'; connect-src 'self'"
POLICIES = {
    "": "",
    "nonces": f"default-src 'none'; script-src {{nonce}}; style-src {{nonce}}; {OWN}",
    "strict-dynamic": f"default-src 'none'; script-src {{nonce}} 'strict-dynamic'; style-src {{nonce}}; {OWN}",
    "trusted-types": "default-src 'self'; script-src 'self' {nonce}; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
}
HEAD = """{% load broadcast static %}<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Delivery</title>
<link rel="icon" href="{{ icon }}"></head><body>"""
ALL = """<h1>Delivery</h1>{% broadcast_bell %} {% broadcast_bell shadow=False %}
{% broadcast_announcements %}{% broadcast_announcements group="news" position="top" shadow=False %}
{% broadcast_feed "lobby" write=True %}{% broadcast_feed "news" write=True shadow=False %}
<script type="module"{% broadcast_nonce %}>
import { connect } from "{% static 'broadcast/broadcast.js' %}";
connect().subscribe("lobby").addEventListener("message", ({ detail }) => { document.title = detail.body; });
</script>"""
SOME = "{% broadcast_announcements %}"


def nonce(request: HttpRequest) -> dict[str, object]:
    """As Django 6 gives it to templates, if this server does as Django 6."""
    return {"csp_nonce": request.lazy_nonce} if hasattr(request, "lazy_nonce") else {}


def guarded(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Has a nonce where templates look for it: on the request, as with django-csp, or where Django 6 has it."""
    policy, attribute = POLICIES[os.environ.get("POLICY", "")], os.environ.get("NONCE", "csp_nonce")

    def answer(request: HttpRequest) -> HttpResponse:
        found = LazyNonce()
        if not policy or request.path == "/free/":
            return get_response(request)
        setattr(request, attribute, found)
        response = get_response(request)
        response["Content-Security-Policy"] = policy.format(nonce=f"'nonce-{found}'" if found else "'none'")
        return response

    return answer


def page(request: HttpRequest, template: str, icon: str = f"{settings.STATIC_URL}broadcast/icon.svg") -> HttpResponse:
    found = engines["django"].from_string(HEAD + template)
    return HttpResponse(found.render({"icon": icon}, request))


def free(request: HttpRequest) -> HttpResponse:
    """All elements under no policy, with static files of this origin."""
    response = page(request, ALL)
    own = urlsplit(settings.STATIC_URL).path
    response.content = response.content.decode().replace(settings.STATIC_URL, own)
    return response


def kept(request: HttpRequest) -> HttpResponse:
    """A page as a cache has it, from before."""
    return HttpResponse(Path(os.environ["KEPT"]).read_text())


urlpatterns = [
    path("all/", page, {"template": ALL}),
    path("some/", page, {"template": SOME, "icon": "data:,"}),
    path("free/", free),
    path("kept/", kept),
    path("", include("project.urls")),
]
