"""Answers over HTTP: the kind that suits a request, and how a refusal is told."""

from __future__ import annotations

from math import ceil
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme

from .access.identity import UserUnknown, visitor
from .access.origins import is_from_another_site
from .access.sentences import detail_of, told
from .elements.texts import translated
from .engine.frames import Fields
from .exceptions import BroadcastError, LogUnavailable
from .forms import FORMS, JSON, posted

HTML, TEXT = "text/html", "text/plain"

STATUS = {"invalid": 400, "too_large": 400, "forbidden": 403, "not_found": 404, "rate_limited": 429, "unavailable": 503}
"""The HTTP status of each code with which a request is refused."""


def preferred(request: HttpRequest, *kinds: str) -> str:
    """The kind of answer that suits the request: ``?format=json``, what it accepts, or the first of ``kinds``."""
    if request.GET.get("format") == "json":
        return JSON
    return request.get_preferred_type(kinds) or kinds[0]


def accepts_by_name(request: HttpRequest, kind: str) -> bool:
    """True if the request names this kind of answer among those that it accepts, as browsers name HTML."""
    return request.GET.get("format") != "json" and any(
        f"{each.main_type}/{each.sub_type}" == kind for each in request.accepted_types
    )


def unreadable(request: HttpRequest) -> HttpResponse | None:
    """The answer to an address with more parameters than Django reads; None if they can be read."""
    try:
        request.GET  # noqa: B018 (it is read when it is asked for)
    except SuspiciousOperation:
        return HttpResponse(
            "The address has too many parameters.\n", status=400, content_type="text/plain; charset=utf-8"
        )
    return None


def refused(request: HttpRequest, error: BroadcastError) -> HttpResponse:
    """A refusal as a sentence, or as JSON when JSON is asked for."""
    if preferred(request, TEXT, JSON) == JSON:
        return refusal(request, error)
    sentence = told(error, reader(request, error))
    response = HttpResponse(f"{sentence}\n", status=STATUS[error.code], content_type="text/plain; charset=utf-8")
    return with_retry_after(response, error)


def refusal(request: HttpRequest, error: BroadcastError) -> HttpResponse:
    sentence = told(error, reader(request, error))
    return with_retry_after(json_answer({"code": error.code, "body": sentence}, STATUS[error.code]), error)


def with_retry_after(response: HttpResponse, error: BroadcastError) -> HttpResponse:
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
    return with_retry_after(render(request, "broadcast/refused.html", shown, status=STATUS[error.code]), error)


def reader(request: HttpRequest, error: BroadcastError) -> Any:
    """The user who reads of an error; None for a guest, and where nobody knows, or need know, who it is."""
    try:
        return None if isinstance(error, UserUnknown) or not detail_of(error) else visitor(request)
    except LogUnavailable:
        return None


def json_answer(fields: Fields, status: int = 200) -> JsonResponse:
    """JSON in UTF-8 and without spaces: escaped to ASCII, many a text is three times as long."""
    return JsonResponse(fields, status=status, json_dumps_params={"ensure_ascii": False, "separators": (",", ":")})


def is_form_of_a_page(request: HttpRequest) -> bool:
    """True if a browser sent a form and wants a page, rather than a script the message."""
    return request.content_type in FORMS and preferred(request, JSON, HTML) == HTML


def page_before(request: HttpRequest) -> str:
    """The address at which to go on: the form's ``next``; else the page that it was on, if it is one of this site's."""
    for url in ((posted(request) or {}).get("next"), request.headers.get("Referer")):
        if url_has_allowed_host_and_scheme(url, {request.get_host()}, request.is_secure()):
            return str(url)
    return request.path
