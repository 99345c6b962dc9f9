"""The app's addresses: the log, read as a page or as JSON and written, and one that announces what is typed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.cache import add_never_cache_headers, patch_cache_control
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_deny
from django.views.decorators.csrf import csrf_exempt, csrf_protect, ensure_csrf_cookie
from django.views.decorators.http import require_http_methods
from django.views.decorators.vary import vary_on_headers

from .access.addresses import address_behind
from .access.identity import draft_by, proves_itself, visitor
from .access.limits import subject, take_announcement, take_message
from .access.origins import is_from_another_site, is_part_of_a_page, is_prefetch
from .access.refusals import may, require
from .answers import (
    HTML,
    TEXT,
    accepts_by_name,
    is_form_of_a_page,
    json_answer,
    page_before,
    preferred,
    refusal,
    refusal_page,
    refused,
    unreadable,
)
from .api import send
from .conf import conf
from .elements.markup import feed_context, log_url
from .engine.commands import checked_name, publish_of
from .engine.frames import checked_epoch, checked_offset, message_fields
from .engine.history import announcement, latest, since
from .engine.process import current_process
from .engine.publish import publish
from .engine.validation import checked_body, checked_ref, shown
from .exceptions import BroadcastError, InvalidMessage, LogUnavailable, Refused
from .forms import JSON, fields_in, is_announcement, is_utf8
from .groups import DEFAULT_GROUP
from .models import Message

MAX_LIMIT = 500  # messages in one answer

HOW_TO_ANNOUNCE = (
    "A GET announces nothing by what a browser adds to it by itself. POST to this address, with the CSRF token where "
    "there are cookies; or send an Authorization header with a token, and no cookie."
)


@csrf_exempt  # reading changes nothing, and writing checks for itself
@transaction.non_atomic_requests
@vary_on_headers("Accept")
@require_http_methods(["GET", "HEAD", "POST"])
def log_resource(request: HttpRequest) -> HttpResponse:
    """A group's log: ``GET`` reads it, as a page or as JSON, and ``POST`` writes to it.

    docs/http.md has what it takes and what it answers. No cache keeps it; the browser's history keeps the page.
    """
    response = answered(request)
    if not response.has_header("Cache-Control"):
        add_never_cache_headers(response)
    return response


def answered(request: HttpRequest) -> HttpResponse:
    if (answer := unreadable(request)) is not None:
        return answer
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
        context["announced"] = announced(request.GET.get("announced"))
    except BroadcastError as error:
        return refused(request, error)
    response = render(request, "broadcast/chat.html", context)
    patch_cache_control(response, private=True, no_cache=True)  # "no-store" would keep it out of back and forward
    return response


def announced(ref: str | None) -> Message | None:
    """The announcement that a form has just sent, by its ref, for the page to say so."""
    try:
        return None if ref is None else announcement(DEFAULT_GROUP, checked_ref(ref))
    except InvalidMessage:
        return None


@csrf_exempt  # what a GET sends borrows nothing, and a POST checks for itself
@transaction.non_atomic_requests
@never_cache
@xframe_options_deny
@vary_on_headers("Accept")
@require_http_methods(["GET", "POST"])
def announce(request: HttpRequest, msg: str) -> HttpResponse:
    """Pushes ``msg`` to everyone in the default group as "Server", and says so.

    It answers to ``GET``, so that it works from an address bar and from curl; but never by authority that a browser
    adds by itself, for a browser does so whoever's page makes the request. Where that is all there is, it asks: a page
    with a form that posts to the same address.

    200 when it is sent or asked; 302 to the log's page after the form; 403 for those who may not announce, for
    prefetches, for parts of pages and for other sites' pages; 400 for a message that is empty or too long; 503 if the
    log cannot be written. Addresses that begin with ``-/`` are the app's own: 404.
    """
    if msg.startswith("-/"):
        raise Http404
    if (answer := unreadable(request)) is not None:
        return answer
    try:
        return confirmed(request, msg) if request.method == "POST" else typed(request, msg)
    except BroadcastError as error:
        return refused(request, error)


def typed(request: HttpRequest, msg: str) -> HttpResponse:
    """Sends at once where guests may announce, or where the request proves itself; else asks, and sends nothing."""
    if is_prefetch(request) or is_part_of_a_page(request):
        raise Refused("A prefetch or a part of a page announces nothing. Open the address itself.", "forbidden")
    by_guests = may(None, "announce", DEFAULT_GROUP)
    if by_guests or proves_itself(request):
        return pushed(request, send_as_site(request, msg, None if by_guests else visitor(request)))
    require(visitor(request), "announce", DEFAULT_GROUP)
    if not accepts_by_name(request, HTML):
        raise Refused(HOW_TO_ANNOUNCE, "forbidden")
    return asked(request, "broadcast/announce.html", {"body": checked_body(msg), "log_url": log_url()})


asked = ensure_csrf_cookie(render)
"""Renders a page with a form, also where the site has no middleware that sets the token's cookie."""


def confirmed(request: HttpRequest, msg: str) -> HttpResponse:
    """Sends what a form, or a program, posts; a browser is led on, so that a reload does not send it again."""
    forged = csrf_refusal(request)
    if forged is not None:
        return forged
    user = None if may(None, "announce", DEFAULT_GROUP) else visitor(request)
    message = send_as_site(request, msg, user)
    url = log_url() if accepts_by_name(request, HTML) and may(user, "subscribe", DEFAULT_GROUP) else ""
    return redirect(f"{url}?{urlencode({'announced': message.ref})}") if url else pushed(request, message)


def send_as_site(request: HttpRequest, msg: str, user: Any) -> Message:
    """Sends ``msg`` as the site, if ``user`` (None: a guest) may have that. Raises BroadcastError."""
    if is_prefetch(request) or is_from_another_site(request):
        raise Refused("A page of another site may not announce here. Open the address itself.", "forbidden")
    require(user, "announce", DEFAULT_GROUP)
    checked_body(msg)  # what will not do is not counted
    take_announcement(subject(user, address_behind(request)))
    return send(msg, by=sender(request))


def sender(request: HttpRequest) -> Any:
    """Who makes the request, as far as it can be known: the user, or a word for a guest."""
    with suppress(LogUnavailable):
        if user := visitor(request):
            return user
    return "a guest"


def pushed(request: HttpRequest, message: Message) -> HttpResponse:
    if preferred(request, TEXT, JSON) == JSON:
        return json_answer(message_fields(message))
    return HttpResponse(f"Broadcasting {message.body}", content_type="text/plain; charset=utf-8")


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
        take_message(subject(user, address_behind(request)))
        return publish(current_process(), [draft_by(user, said, group)])[0]
    require(user, "announce", group, unknown="not_found")
    if said.author is not None:
        raise InvalidMessage("The author of an announcement is the site itself. Leave author out.")
    take_announcement(subject(user, address_behind(request)))
    return send(said.body, group=group, data=said.data, ref=said.ref, by=sender(request))


def csrf_refusal(request: HttpRequest) -> HttpResponse | None:
    """The answer of Django's check for forged requests; None if it lets the request pass.

    It asks for a token where there are cookies, for a browser adds those whoever makes the request.
    """
    if not request.COOKIES:
        return None
    if not is_utf8(request):
        request.encoding = "utf-8"  # so that the check can read it
    passed = HttpResponse()
    answer: HttpResponse = csrf_protect(lambda request: passed)(request)
    if answer is passed:
        return None
    if is_form_of_a_page(request):
        return answer
    text = "A request with cookies needs the CSRF token: the form's csrfmiddlewaretoken, or the header X-CSRFToken."
    return refusal(request, Refused(text, "forbidden"))
