"""The addresses that the elements ask: what has come for a reader, and what of it they have read and dismissed.

They hold for pages out of a shared cache, which can have no CSRF token: who else's page asks is seen by its origin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import get_script_prefix
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from ..access.audiences import group_for
from ..access.identity import public_name, visitor
from ..access.origins import is_from_another_site, is_prefetch
from ..access.refusals import may, require
from ..access.sentences import told
from ..access.signed_names import plain_name
from ..answers import STATUS, is_form_of_a_page, json_answer, page_before, reader, refusal, unreadable, with_retry_after
from ..engine.commands import checked_name
from ..engine.frames import Fields, checked_offset
from ..engine.storage.receipts import Place
from ..engine.validation import shown
from ..exceptions import BroadcastError, InvalidMessage, Refused
from ..forms import FORMS, fields_in
from ..groups import DEFAULT_GROUP
from ..models import Receipt
from .receipt_cookies import EPOCH
from .received import LISTED, MAX_LISTED, keep, received

MAX_GROUPS = 20  # in one request
MAX_PLACES = 100

View = Callable[[HttpRequest], HttpResponse]


class SeeOther(HttpResponseRedirect):
    """Leads a browser on after a form, by a GET whatever it was."""

    status_code = 303


@csrf_exempt  # reading changes nothing
@transaction.non_atomic_requests
@never_cache
@require_http_methods(["GET", "HEAD"])
def received_list(request: HttpRequest) -> HttpResponse:
    """What has come for whoever asks, in the groups ``?group=`` and with ``&personal=1`` in their own, newest first.

    docs/http.md has what it answers.
    """
    if (answer := unreadable(request)) is not None:
        return answer
    try:
        user = visitor(request)
        names = asked_names(request, user)
        found = received(request, names, limit_in(request))
        who = None if user is None else public_name(user)
    except BroadcastError as error:
        return refusal(request, error)
    positions = dict(zip(names, found.positions, strict=False))  # none where there is no log
    return json_answer(
        {
            "user": who,
            "unread": found.unread,
            "groups": [
                {
                    "name": name,
                    "group": plain_name(name),
                    "epoch": positions[name].epoch if name in positions else "",
                    "offset": positions[name].offset if name in positions else None,
                    "read": found.read(positions[name]) if name in positions else 0,
                    "own": user is not None and plain_name(name) == group_for(user),
                }
                for name in names
            ],
            "messages": [one.fields for one in found.items],
        }
    )


def asked_names(request: HttpRequest, user: Any) -> list[str]:
    """The names of the groups that are asked for, in each of which the user may read. Raises Refused."""
    names = list(dict.fromkeys(map(checked_name, request.GET.getlist("group") or [DEFAULT_GROUP])))
    if len(names) > MAX_GROUPS:
        raise InvalidMessage(f"There may be {MAX_GROUPS} groups in one request; it came with {len(names)}.")
    for name in names:
        require(user, "subscribe", name, unknown="not_found")
    own = "" if user is None or request.GET.get("personal") != "1" else group_for(user)
    if own and own not in map(plain_name, names) and may(user, "subscribe", own):
        names.append(own)
    return names


def limit_in(request: HttpRequest) -> int:
    given = request.GET.get("limit", str(LISTED))
    limit = number(given)
    if isinstance(limit, int) and 0 < limit <= MAX_LISTED:
        return limit
    raise InvalidMessage(f"The limit must be a whole number from 1 to {MAX_LISTED}; it came as {shown(given)}.")


def keeping(kind: Receipt.Kind, key: str) -> View:
    """The view that keeps what was read or dismissed; in JSON the places are a list under ``key``, or one by itself."""

    @csrf_exempt  # a page out of a cache has no token; it looks at the origin instead
    @transaction.non_atomic_requests
    @never_cache
    @require_http_methods(["POST"])
    def view(request: HttpRequest) -> HttpResponse:
        try:
            if is_prefetch(request) or is_from_another_site(request):
                raise Refused("A page of another site may not write here.", "forbidden")
            response = led_back(request) if is_form_of_a_page(request) else HttpResponse(status=204)
            user = visitor(request)
            keep(request, response, user, kind, places_in(request, key, user))
        except BroadcastError as error:
            return refused_form(request, error) if is_form_of_a_page(request) else refusal(request, error)
        return response

    return view


read = keeping(Receipt.Kind.READ, "groups")
dismissed = keeping(Receipt.Kind.DISMISSED, "messages")


def led_back(request: HttpRequest) -> HttpResponse:
    """Leads a browser back to the page that its form was on, or else to the site's first."""
    url = page_before(request)
    return SeeOther(get_script_prefix() if url == request.path else url)


def refused_form(request: HttpRequest, error: BroadcastError) -> HttpResponse:
    shown = {"reason": told(error, reader(request, error)), "form": None, "next": led_back(request)["Location"]}
    return with_retry_after(render(request, "broadcast/refused.html", shown, status=STATUS[error.code]), error)


def places_in(request: HttpRequest, key: str, user: Any) -> list[Place]:
    """The places that a form or JSON names, in groups that the user may read. Raises Refused."""
    fields = fields_in(request)
    given = rows_in_form(request) if request.content_type in FORMS else fields.get(key, [fields])
    if not isinstance(given, list) or not 0 < len(given) <= MAX_PLACES:
        came = len(given) if isinstance(given, list) else shown(given)
        raise InvalidMessage(f"{key} must be a list of 1 to {MAX_PLACES} places; it came as {came}.")
    found = [checked_place(one) for one in given]
    groups = {name: require(user, "subscribe", name, unknown="not_found") for name in {name for name, *_ in found}}
    return [Place(groups[name], epoch, offset) for name, epoch, offset in found]


def rows_in_form(request: HttpRequest) -> list[Any]:
    """The places of a form, whose fields ``group``, ``epoch`` and ``offset`` may come several times each."""
    columns = [request.POST.getlist(name) for name in ("group", "epoch", "offset")]
    if len({len(column) for column in columns}) > 1:
        raise InvalidMessage("There must be as many of each of the fields group, epoch and offset.")
    return [
        {"group": group, "epoch": epoch, "offset": number(offset)}
        for group, epoch, offset in zip(*columns, strict=True)
    ]


def number(text: str) -> int | str:
    """A number in text; anything else as it came, for an error to show."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else text


def checked_place(given: object) -> tuple[str, str, int]:
    """The name, epoch and offset of a place. Raises InvalidMessage."""
    if not isinstance(given, dict):
        raise InvalidMessage(f"A place must be an object with group, epoch and offset; it came as {shown(given)}.")
    fields: Fields = given
    epoch = fields.get("epoch")
    if not isinstance(epoch, str) or not EPOCH.fullmatch(epoch):
        raise InvalidMessage(f"The epoch must be that of the position or message; it came as {shown(epoch)}.")
    return checked_name(fields.get("group", DEFAULT_GROUP)), epoch, checked_offset(fields.get("offset"))
