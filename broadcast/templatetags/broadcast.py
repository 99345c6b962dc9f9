"""The tags: ``{% broadcast_announcements %}``, ``{% broadcast_bell %}``, and ``{% broadcast_feed "lobby" %}``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django import template
from django.http import HttpRequest

from ..elements.bell import bell
from ..elements.markup import Display, InvalidOption, PageState, announcements, feed
from ..elements.nonce import nonce_attribute
from ..elements.received import LISTED
from ..groups import DEFAULT_GROUP

register = template.Library()


@register.simple_tag(takes_context=True)
def broadcast_announcements(
    context: template.Context,
    *,
    group: Any = DEFAULT_GROUP,
    personal: Any = True,
    timeout: Any = None,
    max: Any = None,  # noqa: A002
    position: Any = "bottom-end",
    messages: Any = False,
    shadow: Any = True,
    **others: Any,
) -> str:
    """The site's announcements, as toasts or a banner, on every page that has this tag.

    ``{% broadcast_announcements as="banner" timeout=0 %}``. docs/tags.md has all the options.
    """
    shape = others.pop("as", "toasts")  # no parameter of Python's can have that name
    if others:
        known = "group, personal, as, timeout, max, position, messages and shadow"
        raise template.TemplateSyntaxError(f"'broadcast_announcements' takes {known}; it came with {min(others)!r}.")
    with named("broadcast_announcements"):
        return announcements(
            request_in(context),
            page_state_of(context),
            group,
            Display(shape, timeout, max, position, shadow),
            personal=personal,
            messages=messages,
        )


@register.simple_tag(takes_context=True)
def broadcast_feed(
    context: template.Context,
    group: Any,
    *,
    write: Any = False,
    limit: Any = None,
    title: Any = "",
    shadow: Any = True,
) -> str:
    """A group's messages, live; with ``write=True`` also a box to write in for those who may.

    ``{% broadcast_feed "lobby" %}`` shows it to those whom ``GROUPS`` allows it, ``{% broadcast_feed ticket %}``,
    with a model instance, to whoever gets the page. docs/tags.md has all the options.
    """
    with named("broadcast_feed"):
        return feed(
            request_in(context), page_state_of(context), group, write=write, limit=limit, title=title, shadow=shadow
        )


@register.simple_tag(takes_context=True)
def broadcast_nonce(context: template.Context) -> str:
    """The attribute ``nonce`` of the app's own pages, where the site's policy has one."""
    return nonce_attribute(context.get("csp_nonce"), request_in(context))


@register.simple_tag(takes_context=True)
def broadcast_bell(
    context: template.Context,
    *,
    group: Any = DEFAULT_GROUP,
    personal: Any = True,
    limit: Any = LISTED,
    shadow: Any = True,
) -> str:
    """A button with the count of announcements and messages ``to`` the reader that are new, and the list of them.

    ``{% broadcast_bell %}``. docs/tags.md has all the options.
    """
    with named("broadcast_bell"):
        return bell(request_in(context), page_state_of(context), group, personal=personal, limit=limit, shadow=shadow)


@contextmanager
def named(tag: str) -> Iterator[None]:
    """Says of an option that will not do which tag has it."""
    try:
        yield
    except InvalidOption as error:
        raise template.TemplateSyntaxError(f"{{% {tag} %}}: {error}") from error


def page_state_of(context: template.Context) -> PageState:
    """The state of the page that is being rendered.

    It goes with one rendering, includes and all. A request may see several: an error page comes after one that failed.
    """
    shared: Any = context.render_context.dicts[0]
    page_state: PageState = shared.setdefault("broadcast_drawn", PageState())
    page_state.nonce = nonce_attribute(context.get("csp_nonce"), request_in(context))
    return page_state


def request_in(context: template.Context) -> HttpRequest | None:
    """The request for which the page is made; REST framework has Django's in one of its own, as ``_request``."""
    found = (context.get("request"), getattr(context, "request", None))
    candidates = (getattr(each, "_request", each) for each in found)
    return next((each for each in candidates if isinstance(each, HttpRequest)), None)
