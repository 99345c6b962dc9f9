"""The bell, as it is served: how many are new, the list of them, and where the script goes on from."""

from __future__ import annotations

import logging
from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string

from ..access.audiences import group_for
from ..access.identity import public_name, visitor
from ..engine.log_lines import say
from ..engine.process import current_process
from ..exceptions import LogUnavailable
from .markup import InvalidOption, PageState, audience, common, count, switch, url_of
from .received import MAX_LISTED, received
from .texts import BELL


def bell(
    request: HttpRequest | None, page_state: PageState, group: Any, *, personal: Any, limit: Any, shadow: Any
) -> str:
    """A button with the count of what is new for the visitor, and the list; nothing for who may not read it.

    While the log cannot be read, and on a page that is made without a request, the page goes without.
    """
    personal, shadow = switch(personal, "personal"), switch(shadow, "shadow")
    limit = count(limit, "limit")
    if limit > MAX_LISTED:
        raise InvalidOption(f"limit must be {MAX_LISTED} at most; it came as {limit}.")
    if request is None:
        say(logging.WARNING, "broadcast_bell shows nothing: the template was rendered without a request")
        return ""
    try:
        context = bell_context(request, group, limit, personal=personal)
    except LogUnavailable as error:
        current_process().health.log.fail(error)
        return ""
    if not context:
        return ""
    return render_to_string("broadcast/bell.html", {**context, **page_state.delivery("bell", shadow)})


def bell_context(request: HttpRequest, group: Any, limit: int, *, personal: bool) -> dict[str, Any]:
    """The context of the bell's template; empty for who may read no group of it. Raises LogUnavailable."""
    names = audience(request, group, personal)
    if not names:
        return {}
    user, url = visitor(request), url_of("broadcast:received")
    found = received(request, names, limit, by_account=bool(url))
    texts = common(BELL)
    label = texts["texts"]["notified"].replace("{n}", found.count) if found.unread else texts["texts"]["notifications"]
    return {
        **texts,
        "names": names,
        "own": "" if user is None else group_for(user),
        "user_name": "" if user is None else public_name(user),
        "found": found,
        "places": [(name, head, found.read(head)) for name, head in zip(names, found.positions, strict=False)],
        "label": label,
        "personal": personal,
        "limit": limit,
        "url": url,
        "read_url": url_of("broadcast:read") if found.unread else "",
        "next": request.get_full_path(),
    }
