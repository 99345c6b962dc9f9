"""The log over HTTP: a page to read and chat on, and an address that announces what stands behind it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.db import Error, connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render, resolve_url
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_safe

from . import policy
from .conf import conf
from .engine import log
from .engine.database import NoLog, alias, lacks_tables
from .engine.hints import tell_extensions
from .engine.layer import DEFAULT_GROUP
from .engine.log import Head
from .engine.publishing import send
from .engine.wire import message_fields, utc
from .exceptions import InvalidMessage, LogUnavailable
from .models import Message


@csrf_exempt  # nothing here changes by an unsafe method, and a 405 says so better than a 403
@transaction.non_atomic_requests
@never_cache
@require_safe
def log_resource(request: HttpRequest) -> HttpResponse:
    """The group's log as a page: the latest messages as served, and the chat that goes on from there.

    403 for those who may not read it; 503 if the database is there and cannot be read.
    """
    group = DEFAULT_GROUP
    user = getattr(request, "user", None)
    try:
        if not allows(user, "subscribe", group):
            return answer(request, policy.refusal("subscribe", group), "forbidden", 403)
        head, messages = latest(group)
        user_name = name_of(user)
        may_publish = allows(user, "publish", group)
    except LogUnavailable as error:
        return answer(request, str(error), "unavailable", 503)
    return render(
        request,
        "broadcast/chat.html",
        {
            "group": group,
            "messages": messages,
            "epoch": head.epoch if head else "",
            "offset": (messages[-1].offset if messages else head.offset) if head else None,
            "socket_path": get_script_prefix().rstrip("/") + conf.SOCKET_PATH,
            "user_name": user_name,
            "sign_in_url": "" if user_name else sign_in_url(request),
            "may_publish": may_publish,
            "max_body": conf.MAX_BODY,
            "ping_ms": round(conf.PING_INTERVAL * 1000),
        },
    )


def allows(user: Any, action: policy.Action, group: str) -> bool:
    """Whether ``user`` may; raises LogUnavailable if the database that knows users cannot say."""
    try:
        return policy.allows(user, action, group)
    except Error as error:
        if lacks_tables(connections[alias()]):
            return policy.allows(None, action, group)  # before migrate there are no users either
        raise LogUnavailable(f"Who you are cannot be looked up right now: {error}") from error


def name_of(user: Any) -> str:
    """A signed-in user's name; empty for a guest. Raises LogUnavailable as ``allows`` does."""
    try:
        return str(user.get_username()) if policy.is_signed_in(user) else ""
    except Error as error:
        if lacks_tables(connections[alias()]):
            return ""
        raise LogUnavailable(f"Who you are cannot be looked up right now: {error}") from error


def sign_in_url(request: HttpRequest) -> str:
    """Where a guest signs in and is led back from; empty if ``LOGIN_URL`` leads nowhere in this site."""
    try:
        url = resolve_url(settings.LOGIN_URL)
        if not urlsplit(url).netloc:
            resolve("/" + urlsplit(url).path.removeprefix(get_script_prefix()).lstrip("/"))
    except (NoReverseMatch, Resolver404):
        return ""
    return url + ("&" if "?" in url else "?") + urlencode({"next": request.get_full_path()})


def latest(group: str) -> tuple[Head | None, list[Message]]:
    """The position to go on from and the messages before it; None where there is no log."""
    try:
        # The head comes first: a message that arrives in between is in the list, or comes live.
        head, extensions = log.join(group)
        tell_extensions(extensions)
        messages = log.newest(group, conf.PAGE_MESSAGES)
    except NoLog:
        return None, []
    for message in messages:
        message.sent_at = utc(message.sent_at) if message.sent_at else None
    return head, messages


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
    user = getattr(request, "user", None)
    if reason := unasked_for(request):
        return answer(request, reason, "forbidden", 403)
    try:
        if not allows(user, "announce", DEFAULT_GROUP):
            return answer(request, policy.refusal("announce", DEFAULT_GROUP), "forbidden", 403)
        message = send(msg)
    except InvalidMessage as error:
        return answer(request, str(error), error.code, 400)
    except LogUnavailable as error:
        return answer(request, str(error), "unavailable", 503)
    if wants_json(request):
        return JsonResponse(message_fields(message))
    return HttpResponse(f"Broadcasting {msg}", content_type="text/plain; charset=utf-8")


PURPOSE_HEADERS = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")


def unasked_for(request: HttpRequest) -> str:
    """Why a request was not made by a person or program on purpose; empty if it was.

    Browsers send these headers by themselves: ``Sec-Purpose`` (WHATWG Fetch) and, to https and
    localhost, ``Sec-Fetch-Site`` (W3C Fetch Metadata); elsewhere ``Origin`` or ``Referer`` has to do.
    curl and scripts send none.
    """
    purposes = " ".join(request.headers.get(name, "") for name in PURPOSE_HEADERS).lower()
    if any(word in purposes for word in ("prefetch", "prerender", "preview")):
        return "A prefetch announces nothing. Open the address itself."
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site not in ("none", "same-origin"):
        return f"A page of another site ({site}) may not announce here. Open the address itself."
    page = request.headers.get("Origin") or request.headers.get("Referer")
    if page and "Sec-Fetch-Site" not in request.headers and not policy.is_same_origin(page, request.get_host()):
        return "A page of another site may not announce here. Open the address itself."
    return ""


def wants_json(request: HttpRequest) -> bool:
    return request.get_preferred_type(["text/plain", "application/json"]) == "application/json"


def answer(request: HttpRequest, text: str, code: str, status: int) -> HttpResponse:
    """A refusal as a sentence, or as JSON when JSON is asked for."""
    if wants_json(request):
        return JsonResponse({"code": code, "body": text}, status=status)
    return HttpResponse(text + "\n", status=status, content_type="text/plain; charset=utf-8")
