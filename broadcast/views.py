"""The app's addresses: the log, read as a page or as JSON and written, and one that announces what is typed."""

from __future__ import annotations

from math import ceil
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_GET, require_http_methods
from django.views.decorators.vary import vary_on_headers

from .access.identity import UserUnknown, draft_by, visitor
from .access.origins import is_from_another_site, is_prefetch
from .access.refusals import require
from .access.sentences import detail_of, told
from .api import send
from .conf import conf
from .elements.markup import feed_context
from .elements.texts import translated
from .engine.commands import checked_name, publish_of
from .engine.frames import Fields, checked_epoch, checked_offset, message_fields
from .engine.history import latest, since
from .engine.process import current_process
from .engine.publish import publish
from .engine.validation import shown
from .exceptions import BroadcastError, InvalidMessage, LogUnavailable, Refused
from .forms import FORMS, JSON, fields_in, is_announcement, posted
from .groups import DEFAULT_GROUP
from .models import Message

MAX_LIMIT = 500  # messages in one answer

HTML, TEXT = "text/html", "text/plain"

STATUS = {"invalid": 400, "too_large": 400, "forbidden": 403, "not_found": 404, "unavailable": 503}
"""The HTTP status of each code with which a request is refused."""


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
        return post(request)
    return get(request) if preferred(request, HTML, JSON) == JSON else page(request)


def page(request: HttpRequest) -> HttpResponse:
    """The latest messages as served, and the chat that goes on from there.

    403 for those who may not read them; 503 if the database is there and cannot be read.
    """
    try:
        require(visitor(request), "subscribe", DEFAULT_GROUP)
        context = feed_context(request, DEFAULT_GROUP, conf.PAGE_MESSAGES, write=True, title=DEFAULT_GROUP)
    except BroadcastError as error:
        return refused(request, error)
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
    try:
        if is_prefetch(request):
            raise Refused("A prefetch announces nothing. Open the address itself.", "forbidden")
        if is_from_another_site(request):
            raise Refused("A page of another site may not announce here. Open the address itself.", "forbidden")
        require(visitor(request), "announce", DEFAULT_GROUP)
        message = send(msg)
    except BroadcastError as error:
        return refused(request, error)
    if preferred(request, TEXT, JSON) == JSON:
        return JsonResponse(message_fields(message))
    return HttpResponse(f"Broadcasting {msg}", content_type="text/plain; charset=utf-8")


# Reading


def get(request: HttpRequest) -> HttpResponse:
    """Messages of ``?group=``: those after ``?after=`` of ``?epoch=``, or else the latest, up to ``?limit=``.

    Fewer, if these would make the answer long: whoever reads on from its ``offset`` gets the others.
    """
    try:
        user, name = visitor(request), checked_name(request.GET.get("group", DEFAULT_GROUP))
        group = require(user, "subscribe", name, unknown="not_found")
        limit = limit_in(request)
        if after := request.GET.get("after"):
            history = since(group, checked_offset(number(after)), epoch_in(request), limit)
        else:
            history = latest(group, limit)
    except BroadcastError as error:
        return refusal(request, error)
    return json_answer(
        {
            "group": group,
            "epoch": history.epoch,
            "offset": history.offset,
            "recovered": history.recovered,
            "messages": [message_fields(message) for message in history.messages],
        }
    )


def limit_in(request: HttpRequest) -> int:
    given = request.GET.get("limit")
    if given is None:
        return min(conf.PAGE_MESSAGES, MAX_LIMIT)
    limit = number(given)
    if not isinstance(limit, int) or not 0 < limit <= MAX_LIMIT:
        raise InvalidMessage(f"The limit must be a whole number from 1 to {MAX_LIMIT}; it came as {shown(given)}.")
    return limit


def epoch_in(request: HttpRequest) -> str | None:
    given = request.GET.get("epoch")
    return None if given is None else checked_epoch(given)


def number(text: str) -> int | str:
    """A number of an address; anything else as it came, for an error to show."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else text


# Writing


def post(request: HttpRequest) -> HttpResponse:
    """Sends what a form or JSON says, and answers with the message: 201, or 200 if its ``ref`` was known.

    A browser that sent a form goes back to the page that it came from.
    """
    forged = csrf_refusal(request)
    if forged is not None:
        return forged
    try:
        message = sent(request)
    except BroadcastError as error:
        return refusal_page(request, error) if is_form_of_a_page(request) else refusal(request, error)
    if is_form_of_a_page(request):
        return redirect(page_before(request))
    return json_answer(message_fields(message), 200 if message.is_repeated else 201)


def sent(request: HttpRequest) -> Message:
    """Sends the message. Raises Refused or LogUnavailable."""
    if is_prefetch(request) or is_from_another_site(request):
        raise Refused("A page of another site may not write here.", "forbidden")
    fields = fields_in(request)
    said, group = publish_of(fields), fields.get("group") or DEFAULT_GROUP
    user = visitor(request)
    if not is_announcement(fields):
        require(user, "publish", group, unknown="not_found")
        return publish(current_process(), [draft_by(user, said, group)])[0]
    require(user, "announce", group, unknown="not_found")
    if said.author is not None:
        raise InvalidMessage("The author of an announcement is the site itself. Leave author out.")
    return send(said.body, group=group, data=said.data, ref=said.ref)


def csrf_refusal(request: HttpRequest) -> HttpResponse | None:
    """The answer of Django's check for forged requests; None if it lets the request pass.

    It asks for a token where there are cookies, for a browser adds those whoever makes the request.
    """
    if not request.COOKIES:
        return None
    passed = HttpResponse()
    answer: HttpResponse = csrf_protect(lambda request: passed)(request)
    if answer is passed:
        return None
    if is_form_of_a_page(request):
        return answer
    text = "A request with cookies needs the CSRF token: the form's csrfmiddlewaretoken, or the header X-CSRFToken."
    return refusal(request, Refused(text, "forbidden"))


def is_form_of_a_page(request: HttpRequest) -> bool:
    """True if a browser sent a form and wants a page, rather than a script the message."""
    return request.content_type in FORMS and preferred(request, JSON, HTML) == HTML


def page_before(request: HttpRequest) -> str:
    """The address at which to go on: the form's ``next``; else the page that it was on, if it is one of this site's."""
    for url in ((posted(request) or {}).get("next"), request.headers.get("Referer")):
        if url_has_allowed_host_and_scheme(url, {request.get_host()}, request.is_secure()):
            return str(url)
    return request.path


# Answering


def preferred(request: HttpRequest, *kinds: str) -> str:
    """The kind of answer that suits the request: ``?format=json``, what it accepts, or the first of ``kinds``."""
    if request.GET.get("format") == "json":
        return JSON
    return request.get_preferred_type(kinds) or kinds[0]


def refused(request: HttpRequest, error: BroadcastError) -> HttpResponse:
    """A refusal as a sentence, or as JSON when JSON is asked for."""
    if preferred(request, TEXT, JSON) == JSON:
        return refusal(request, error)
    sentence = told(error, reader(request, error))
    return HttpResponse(f"{sentence}\n", status=STATUS[error.code], content_type="text/plain; charset=utf-8")


def refusal(request: HttpRequest, error: BroadcastError) -> JsonResponse:
    sentence = told(error, reader(request, error))
    response = json_answer({"code": error.code, "body": sentence}, STATUS[error.code])
    if error.retry_after is not None:
        response["Retry-After"] = str(ceil(error.retry_after))
    return response


def refusal_page(request: HttpRequest, error: BroadcastError) -> HttpResponse:
    """The reason, and what was written, to be sent again; but nothing that another site's page has written."""
    form = None if is_from_another_site(request) else posted(request)
    shown = {
        "reason": told(error, reader(request, error)),
        "form": form,
        "kept": {name: value for name, value in (form or {}).items() if name in ("group", "data", "ref", "announce")},
        "next": page_before(request),
        "texts": translated(),
    }
    return render(request, "broadcast/refused.html", shown, status=STATUS[error.code])


def reader(request: HttpRequest, error: BroadcastError) -> Any:
    """The user who reads of an error; None for a guest, and where nobody knows, or need know, who it is."""
    try:
        return None if isinstance(error, UserUnknown) or not detail_of(error) else visitor(request)
    except LogUnavailable:
        return None


def json_answer(fields: Fields, status: int = 200) -> JsonResponse:
    """JSON in UTF-8 and without spaces: escaped to ASCII, many a text is three times as long."""
    return JsonResponse(fields, status=status, json_dumps_params={"ensure_ascii": False, "separators": (",", ":")})
