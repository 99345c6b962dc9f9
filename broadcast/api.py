"""The log over HTTP, for scripts and other services: read as JSON, written by a form or by JSON."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.csrf import csrf_protect

from .access import policy
from .access.audiences import is_signed, plain_name, refusal_of
from .access.identity import draft_by
from .conf import conf
from .elements.texts import translated
from .engine.commands import BadFrame, checked_name, decoded, publish_of
from .engine.frames import Fields, checked_epoch, checked_offset, message_fields
from .engine.history import latest, since
from .engine.process import current_process
from .engine.publish import publish, send
from .engine.validation import shown
from .exceptions import BroadcastError, InvalidMessage, LogUnavailable
from .groups import DEFAULT_GROUP, rule_for
from .http import HTML, JSON, STATUS, allows, is_from_another_site, is_prefetch, preferred, visitor
from .models import Message

MAX_LIMIT = 500  # messages in one answer
RETRY_AFTER = 1  # seconds, told when the log is away

FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
UNREADABLE = (MultiPartParserError, SuspiciousOperation, UnreadablePostError)
YES_AND_NO = {"true": True, "on": True, "1": True, "false": False, "0": False, "": False}


class Refused(BroadcastError):
    """The request is understood and not granted; ``code`` is ``forbidden`` or ``not_found``."""

    def __init__(self, text: str, code: str = "forbidden") -> None:
        super().__init__(text)
        self.code = code


def refusal(text: str, code: str) -> JsonResponse:
    response = JsonResponse({"code": code, "body": text}, status=STATUS[code])
    if code == "unavailable":
        response["Retry-After"] = str(RETRY_AFTER)
    return response


def code_of(error: BroadcastError) -> str:
    return error.code if isinstance(error, InvalidMessage | Refused) else "unavailable"


def require(user: Any, action: policy.Action, group: str) -> None:
    """Raises Refused unless ``user`` may do ``action`` in ``group``, and LogUnavailable if nobody can say."""
    if not allows(user, action, group):
        raise Refused(policy.refusal(action, group), "forbidden" if rule_for(group) else "not_found")


# Reading


def get(request: HttpRequest) -> HttpResponse:
    """Messages of ``?group=``: those after ``?after=`` of ``?epoch=``, or else the latest, up to ``?limit=``."""
    try:
        group = readable(visitor(request), checked_name(request.GET.get("group", DEFAULT_GROUP)))
        limit = limit_in(request)
        if after := request.GET.get("after"):
            history = since(group, checked_offset(number(after)), epoch_in(request), limit)
        else:
            history = latest(group, limit)
    except (InvalidMessage, LogUnavailable, Refused) as error:
        return refusal(str(error), code_of(error))
    return JsonResponse(
        {
            "group": group,
            "epoch": history.epoch,
            "offset": history.offset,
            "recovered": history.recovered,
            "messages": [message_fields(message) for message in history.messages],
        }
    )


def readable(user: Any, name: str) -> str:
    """The group that ``name``, plain or signed, lets ``user`` read. Raises as ``require`` does."""
    if not is_signed(name):
        require(user, "subscribe", name)
    elif reason := refusal_of(name, user):
        raise Refused(reason)
    return plain_name(name)


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
    """What stands in an address as a number; anything else as it came, for an error to show."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else text


# Writing


def post(request: HttpRequest) -> HttpResponse:
    """Sends what a form or JSON says, and answers with the message: 201, or 200 if its ``ref`` was known.

    A browser that sent a form goes back to the page that it came from.
    """
    refused = csrf_refusal(request)
    if refused is not None:
        return refused
    try:
        message = sent(request)
    except (InvalidMessage, LogUnavailable, Refused) as error:
        if is_form_of_a_page(request):
            return refusal_page(request, str(error), code_of(error))
        return refusal(str(error), code_of(error))
    if is_form_of_a_page(request):
        return redirect(page_before(request))
    return JsonResponse(message_fields(message), status=200 if message.is_repeated else 201)


def refusal_page(request: HttpRequest, text: str, code: str) -> HttpResponse:
    """The reason, and what was written, to be sent again; but nothing that another site's page has written."""
    form = None if is_from_another_site(request) else posted(request)
    shown = {
        "reason": text,
        "form": form,
        "kept": {name: value for name, value in (form or {}).items() if name in ("group", "data", "ref", "announce")},
        "next": page_before(request),
        "texts": translated(),
    }
    return render(request, "broadcast/refused.html", shown, status=STATUS[code])


def posted(request: HttpRequest) -> dict[str, str] | None:
    """The fields of a form; None if they cannot be read."""
    try:
        return {"body": "", **request.POST.dict()}
    except UNREADABLE:
        return None


def csrf_refusal(request: HttpRequest) -> HttpResponse | None:
    """What Django's check for forged requests answers; None if it lets the request pass.

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
    return refusal(
        "A request with cookies needs the CSRF token: the form's csrfmiddlewaretoken, or the header X-CSRFToken.",
        "forbidden",
    )


def sent(request: HttpRequest) -> Message:
    """Sends the message. Raises InvalidMessage, LogUnavailable or Refused."""
    if is_prefetch(request) or is_from_another_site(request):
        raise Refused("A page of another site may not write here.")
    fields = fields_in(request)
    said, group = publish_of(fields), fields.get("group") or DEFAULT_GROUP
    user = visitor(request)
    if not is_announcement(fields):
        require(user, "publish", group)
        return publish(current_process(), [draft_by(user, said, group)])[0]
    require(user, "announce", group)
    if said.author is not None:
        raise InvalidMessage("The author of an announcement is the site itself. Leave author out.")
    return send(said.body, group=group, data=said.data, ref=said.ref)


def fields_in(request: HttpRequest) -> Fields:
    """What the request says. In a form, ``data`` is JSON, and an empty field is one left out."""
    try:
        if request.content_type == JSON:
            return decoded(request.body.decode(), "The message")
        if request.content_type in FORMS:
            return form_fields(request.POST)
    except RequestDataTooBig:
        raise InvalidMessage("The message is too long for this site.", "too_large") from None
    except (BadFrame, UnicodeDecodeError, *UNREADABLE) as error:
        raise InvalidMessage(str(error)) from None
    raise InvalidMessage(f"The message must come as a form or as {JSON}; it came as {shown(request.content_type)}.")


def form_fields(form: QueryDict) -> Fields:
    fields: Fields = {name: value for name, value in form.items() if value}
    if "body" in fields:
        fields["body"] = fields["body"].replace("\r\n", "\n")  # what forms make of a line break
    if "data" in fields:
        fields["data"] = decoded(fields["data"], "The data")
    return fields


def is_announcement(fields: Fields) -> bool:
    given = fields.get("announce", False)
    asked = YES_AND_NO.get(given.lower()) if isinstance(given, str) else given
    if not isinstance(asked, bool):
        raise InvalidMessage(f"announce must be true or false; it came as {shown(given)}.")
    return asked


def is_form_of_a_page(request: HttpRequest) -> bool:
    """Whether a browser sent a form and wants a page, rather than a script the message."""
    return request.content_type in FORMS and preferred(request, JSON, HTML) == HTML


def page_before(request: HttpRequest) -> str:
    """Where the form says to go on, in ``next``; else the page that it was on, if it is one of this site's."""
    for url in ((posted(request) or {}).get("next"), request.headers.get("Referer")):
        if url_has_allowed_host_and_scheme(url, {request.get_host()}, request.is_secure()):
            return str(url)
    return request.path
