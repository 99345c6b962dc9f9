"""Messages as forms and JSON bring them, over HTTP and from the admin: read, checked and refused in the same words."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from typing import Any

from django import forms
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation, ValidationError
from django.http import HttpRequest, QueryDict, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils.translation import gettext_lazy as _

from .engine.commands import decoded
from .engine.frames import Fields
from .engine.validation import shown
from .exceptions import InvalidMessage

JSON = "application/json"
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
UNREADABLE = (MultiPartParserError, SuspiciousOperation, UnreadablePostError)
YES_AND_NO = {"true": True, "on": True, "1": True, "false": False, "0": False, "": False}


def unix_lines(text: str) -> str:
    """Text as typed: browsers send the ends of its lines in two characters."""
    return text.replace("\r\n", "\n")


# Over HTTP


def fields_in(request: HttpRequest) -> Fields:
    """The fields of a request's message. In a form, ``data`` is JSON, and an empty field is one left out."""
    try:
        if request.content_type == JSON:
            return decoded(request.body.decode(), "The message")
        if request.content_type in FORMS and is_utf8(request):
            return form_fields(request.POST)
    except RequestDataTooBig:
        detail = "settings.DATA_UPLOAD_MAX_MEMORY_SIZE is less."
        raise InvalidMessage("The message is too long for this site.", "too_large", detail=detail) from None
    except UnicodeDecodeError:
        raise InvalidMessage("The message must be text in UTF-8.") from None
    except UNREADABLE as error:
        detail = str(error) if isinstance(error, SuspiciousOperation) else type(error).__name__
        raise InvalidMessage("The form cannot be read: it is damaged, or has too many fields.", detail=detail) from None
    if request.content_type in FORMS:
        raise InvalidMessage("The message must be text in UTF-8.")
    raise InvalidMessage(f"The message must come as a form or as {JSON}; it came as {shown(request.content_type)}.")


def is_utf8(request: HttpRequest) -> bool:
    """False if a request names another charset. Django would read a form by any codec of Python's, and fail at some."""
    try:
        return codecs.lookup((request.content_params or {}).get("charset", "utf-8")).name == "utf-8"
    except LookupError:
        return True  # Django takes what is no charset for UTF-8


def form_fields(form: QueryDict) -> Fields:
    fields: Fields = {name: value for name, value in form.items() if value}
    if "body" in fields:
        fields["body"] = unix_lines(fields["body"])
    if "data" in fields:
        fields["data"] = decoded(fields["data"], "The data")
    return fields


def posted(request: HttpRequest) -> dict[str, str] | None:
    """The fields of a form as they came; None if they cannot be read."""
    try:
        return {"body": "", **request.POST.dict()} if is_utf8(request) else None
    except UNREADABLE:
        return None


def is_announcement(fields: Fields) -> bool:
    given = fields.get("announce", False)
    asked = YES_AND_NO.get(given.lower()) if isinstance(given, str) else given
    if not isinstance(asked, bool):
        raise InvalidMessage(f"announce must be true or false; it came as {shown(given)}.")
    return asked


# In the admin


def accepted_by(check: Callable[[object], object]) -> Callable[[object], None]:
    """A form's validator that refuses what sending would refuse, in the same words."""

    def validate(value: object) -> None:
        try:
            check(value)
        except InvalidMessage as error:
            raise ValidationError(str(error), code=error.code) from None

    return validate


class BodyField(forms.CharField):
    """A message's text."""

    def to_python(self, value: Any) -> str:
        return unix_lines(str(super().to_python(value)))


class DataField(forms.CharField):
    """A JSON object, shown as typed until it is sound."""

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        try:
            return json.loads(text) if text else None
        except (ValueError, RecursionError) as error:
            raise ValidationError(_("This is not JSON: %(error)s"), params={"error": error}) from None
