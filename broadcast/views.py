"""The app's addresses: the log as a page or as JSON, and one that announces what stands behind it."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods
from django.views.decorators.vary import vary_on_headers

from . import api
from .access import policy
from .conf import conf
from .elements.markup import feed_context
from .engine.frames import message_fields
from .engine.publish import send
from .exceptions import InvalidMessage, LogUnavailable
from .groups import DEFAULT_GROUP
from .http import HTML, JSON, STATUS, TEXT, allows, is_from_another_site, is_prefetch, preferred, visitor


@csrf_exempt  # reading changes nothing, and writing checks for itself
@transaction.non_atomic_requests
@never_cache
@vary_on_headers("Accept")
@require_http_methods(["GET", "HEAD", "POST"])
def log_resource(request: HttpRequest) -> HttpResponse:
    """A group's log: ``GET`` reads it, as a page or as JSON, and ``POST`` writes to it.

    docs/http.md has what it takes and what it answers.
    """
    if request.method == "POST":
        return api.post(request)
    return api.get(request) if preferred(request, HTML, JSON) == JSON else page(request)


def page(request: HttpRequest) -> HttpResponse:
    """The latest messages as served, and the chat that goes on from there.

    403 for those who may not read them; 503 if the database is there and cannot be read.
    """
    try:
        if not allows(visitor(request), "subscribe", DEFAULT_GROUP):
            return refused(request, policy.refusal("subscribe", DEFAULT_GROUP), "forbidden")
        context = feed_context(request, DEFAULT_GROUP, conf.PAGE_MESSAGES, write=True, title=DEFAULT_GROUP)
    except LogUnavailable as error:
        return refused(request, str(error), "unavailable")
    return render(request, "broadcast/chat.html", context)


@csrf_exempt  # nothing here changes by an unsafe method, and a 405 says so better than a 403
@transaction.non_atomic_requests
@never_cache
@require_GET
def announce(request: HttpRequest, msg: str) -> HttpResponse:
    """Pushes ``msg`` to everyone in the default group as "Server", and says so.

    It answers to ``GET``, so that it works from an address bar and from curl. Therefore it asks who
    comes and from where: 403 for those who may not announce, for prefetches and for other sites'
    pages; 400 for a message that is empty or too long; 503 if the log cannot be written.
    """
    if is_prefetch(request):
        return refused(request, "A prefetch announces nothing. Open the address itself.", "forbidden")
    if is_from_another_site(request):
        return refused(request, "A page of another site may not announce here. Open the address itself.", "forbidden")
    try:
        if not allows(visitor(request), "announce", DEFAULT_GROUP):
            return refused(request, policy.refusal("announce", DEFAULT_GROUP), "forbidden")
        message = send(msg)
    except InvalidMessage as error:
        return refused(request, str(error), error.code)
    except LogUnavailable as error:
        return refused(request, str(error), "unavailable")
    if preferred(request, TEXT, JSON) == JSON:
        return JsonResponse(message_fields(message))
    return HttpResponse(f"Broadcasting {msg}", content_type="text/plain; charset=utf-8")


def refused(request: HttpRequest, text: str, code: str) -> HttpResponse:
    """A refusal as a sentence, or as JSON when JSON is asked for."""
    if preferred(request, TEXT, JSON) == JSON:
        return api.refusal(text, code)
    return HttpResponse(text + "\n", status=STATUS[code], content_type="text/plain; charset=utf-8")
