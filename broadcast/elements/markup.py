"""The elements of a page, as they are served: what is there already, and where the script goes on from."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, get_script_prefix, reverse

from ..access.audiences import group_for, is_user
from ..access.identity import public_name, sign_in_url, visitor
from ..access.refusals import may
from ..access.signed_names import plain_name, signed_name
from ..conf import conf, is_count, is_number
from ..engine.history import latest
from ..engine.log_lines import say
from ..engine.process import current_process
from ..exceptions import InvalidMessage, LogUnavailable
from .announcements import (
    COOKIE,
    CurrentAnnouncements,
    MessageKey,
    current_announcements,
    dismissed,
    messages_of_django,
)
from .texts import ANNOUNCEMENTS, FEED, differing, translated

TIMEOUT = {"toasts": 10.0, "banner": 0.0}  # seconds; 0: until it is dismissed
MAX = {"toasts": 4, "banner": 1}
POSITIONS = ("top-start", "top", "top-end", "bottom-start", "bottom", "bottom-end")


class InvalidOption(ValueError):
    """An option's value will not do; the text says what was expected and what came."""


@dataclass(slots=True)
class PageState:
    """The elements and announcements that a page has already."""

    kinds: set[str] = field(default_factory=set)
    announcements: set[MessageKey] = field(default_factory=set)
    nonce: str = ""

    def is_first(self, kind: str) -> bool:
        """True for the page's first of a kind."""
        is_first = kind not in self.kinds
        self.kinds.add(kind)
        return is_first

    def delivery(self, kind: str, shadow: bool) -> dict[str, Any]:
        """What an element of a kind loads for the page: its script, and in the page's own tree a sheet, once each."""
        return {
            "shadow": shadow,
            "links": self.is_first(kind),
            "sheet": not shadow and self.is_first(f"{kind} in the page"),
            "nonce": self.nonce,
        }


# Announcements


@dataclass(slots=True)
class Display:
    """How announcements are shown, as the tag's options say it. Raises InvalidOption."""

    shape: Any
    timeout: Any
    max: Any
    position: Any
    shadow: Any

    def __post_init__(self) -> None:
        self.shape = one_of(self.shape, TIMEOUT, "as")
        self.timeout = TIMEOUT[self.shape] if self.timeout is None else seconds(self.timeout, "timeout")
        self.max = MAX[self.shape] if self.max is None else count(self.max, "max")
        self.position = one_of(self.position, POSITIONS, "position")
        self.shadow = switch(self.shadow, "shadow")


def announcements(
    request: HttpRequest | None,
    page_state: PageState,
    group: Any,
    display: Display,
    *,
    personal: Any,
    messages: Any,
) -> str:
    """The announcements that are current for the visitor, and where the page hears of more.

    Empty for visitors who may see none, if there are no ``messages`` of Django's to show. While the log cannot be read,
    and on a page that is made without a request, as Django makes that of an error 500, the page goes without.
    """
    personal, messages = switch(personal, "personal"), switch(messages, "messages")
    if request is None:
        say(logging.WARNING, "broadcast_announcements shows nothing: the template was rendered without a request")
        return ""
    told = messages_of_django(request, display.timeout) if messages and page_state.is_first("messages") else []
    names = audience(request, group, personal)
    current = in_the_log(request, page_state, names, display)
    if current is None:
        names, current = [], CurrentAnnouncements()
    if not names and not told:
        return ""
    current = replace(current, announcements=[*current.announcements, *told], limit=display.max)
    page_state.announcements |= {one.key for one in current.announcements if one.epoch}
    user = visitor(request)
    texts = common(ANNOUNCEMENTS)
    return render_to_string(
        "broadcast/announcements.html",
        {
            **texts,
            "more_text": texts["texts"]["more"].replace("{n}", str(len(current.waiting))),
            **page_state.delivery("announcements", display.shadow),
            "names": names,
            "board": current,
            "shape": display.shape,
            "timeout": display.timeout,
            "max": display.max,
            "position": display.position,
            "user_name": public_name(user) if user is not None else "",
            "has_account": user is not None,
            "dismiss_url": url_of("broadcast:dismissed"),
            "next": request.get_full_path(),
        },
    )


def in_the_log(
    request: HttpRequest, page_state: PageState, names: list[str], display: Display
) -> CurrentAnnouncements | None:
    """What is current in the groups of these names; None while the log cannot be read."""
    if not names:
        return CurrentAnnouncements()
    gone = dismissed(request.COOKIES.get(COOKIE, "")) | page_state.announcements
    by_group = {plain_name(name): name for name in names}
    user = visitor(request)
    try:
        found = current_announcements(
            list(by_group), display.timeout, display.max, gone, user=None if user is None else user.pk
        )
    except LogUnavailable as error:
        current_process().health.log.fail(error)  # the page is worth more than what is announced on it
        return None
    named = [replace(one, name=by_group[one.message.group_id]) for one in found.announcements]
    return replace(found, announcements=named)


def audience(request: HttpRequest, group: Any, personal: bool) -> list[str]:
    """The names that the visitor may subscribe to: of the group, and of their own one."""
    user = visitor(request)
    wanted = [group, user] if personal and user is not None else [group]
    return list(dict.fromkeys(name for name in (name_for(to, user) for to in wanted) if name))


def name_for(to: Any, user: Any) -> str:
    """The name under which ``user`` may subscribe to the group of ``to``; empty if they may not.

    A name and a user go by the rules, and a user's own group is shown to nobody else unless these allow
    it. For any other instance it is a signed one: the view that made the page has decided who gets it.
    """
    try:
        group = group_for(to)
        goes_by_rules = isinstance(to, str) or is_user(to)
        if goes_by_rules and may(user, "subscribe", group):
            return group
        return "" if isinstance(to, str) or to == user else signed_name(to, user)
    except InvalidMessage as error:
        raise InvalidOption(str(error)) from error


# The feed


def feed(
    request: HttpRequest | None,
    page_state: PageState,
    group: Any,
    *,
    write: Any,
    limit: Any,
    title: Any,
    shadow: Any,
) -> str:
    """A group's latest messages, and where the page hears of more; nothing for who may not read them."""
    write, shadow = switch(write, "write"), switch(shadow, "shadow")
    limit = conf.PAGE_MESSAGES if limit is None else count(limit, "limit")
    if request is None:
        raise ImproperlyConfigured(
            "broadcast_feed must know who asks: render the template with the request, as render() does."
        )
    try:
        name = name_for(group, visitor(request))
        if not name:
            return ""
        context = feed_context(request, name, limit, write=write, title=str(title or ""))
    except LogUnavailable as error:
        current_process().health.log.fail(error)
        return ""
    return render_to_string("broadcast/feed.html", {**context, **page_state.delivery("feed", shadow)})


def feed_context(request: HttpRequest, name: str, limit: int, *, write: bool, title: str) -> dict[str, Any]:
    """The context of the feed's template. Raises LogUnavailable."""
    group = plain_name(name)
    user = visitor(request)
    history = latest(group, limit)
    may_publish = write and may(user, "publish", group)
    return {
        **common(FEED),
        "name": name,
        "group": group,
        "title": title,
        "history": history,
        "user_name": public_name(user) if user is not None else "",
        "write": write,
        "may_publish": may_publish,
        "sign_in_url": sign_in_url(request) if write and user is None else "",
        "max_body": conf.MAX_BODY,
        "post_url": log_url() if may_publish else "",
        "csrf_token": get_token(request) if may_publish else "",
        "next": request.get_full_path(),
    }


def log_url() -> str:
    """The address of the log, for links and forms; empty where the app's addresses are not mounted."""
    return url_of("broadcast:log")


def url_of(view: str) -> str:
    try:
        return reverse(view)
    except NoReverseMatch:
        return ""


# Both


def common(known: dict[str, str]) -> dict[str, Any]:
    """What the templates of all elements have; ``known`` are the texts that the script of this one has."""
    texts = translated()
    return {
        "texts": texts,
        "told_texts": differing(texts, known),
        "socket_path": get_script_prefix().rstrip("/") + conf.SOCKET_PATH,
    }


def one_of(value: Any, expected: Iterable[str], option: str) -> str:
    if value in tuple(expected):
        return str(value)
    raise InvalidOption(f"{option} must be one of {', '.join(map(repr, expected))}; it came as {repr(value)[:80]}.")


def switch(value: Any, option: str) -> bool:
    """True if an option is on, as an ``if`` would say. Text is refused, for "False" would count as true.

    A variable that does not exist comes as the empty text, and is off.
    """
    if isinstance(value, str) and value:
        raise InvalidOption(f"{option} must be True or False, without quotes; it came as {repr(value)[:80]}.")
    return bool(value)


def count(value: Any, option: str) -> int:
    if is_count(value):
        return int(value)
    raise InvalidOption(f"{option} must be a positive whole number; it came as {repr(value)[:80]}.")


def seconds(value: Any, option: str) -> float:
    if is_number(value) and 0 <= value < float("inf"):
        return float(value)
    raise InvalidOption(f"{option} must be a number of seconds, or 0; it came as {repr(value)[:80]}.")
