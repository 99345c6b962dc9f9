"""The two tags: ``{% broadcast_announcements %}`` for every page, ``{% broadcast_feed "lobby" %}`` for one group."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django import template
from django.http import HttpRequest
from django.template.base import FilterExpression, Parser, Token

from ..elements.markup import ANNOUNCEMENT_OPTIONS, FEED_OPTIONS, InvalidOption, PageState, announcements, feed

register = template.Library()

OPTION = re.compile(r"(\w+)=(.+)", re.DOTALL)

Draw = Callable[[HttpRequest | None, dict[str, Any], PageState], str]


class Element(template.Node):
    """An element, drawn for the visitor who asks for the page."""

    def __init__(self, tag: str, draw: Draw, given: Mapping[str, FilterExpression]) -> None:
        self.tag = tag
        self.draw = draw
        self.given = given

    def render(self, context: template.Context) -> str:
        options = {name: expression.resolve(context) for name, expression in self.given.items()}
        try:
            return self.draw(request_in(context), options, page_state_of(context))
        except InvalidOption as error:
            raise template.TemplateSyntaxError(f"{{% {self.tag} %}}: {error}") from error


@register.tag
def broadcast_announcements(parser: Parser, token: Token) -> Element:
    """What the site says, as toasts or a banner, on every page that has this tag.

    ``{% broadcast_announcements as="banner" timeout=0 %}``. docs/tags.md has all the options.
    """
    tag, *bits = token.split_contents()
    return Element(tag, announcements, given(parser, tag, bits, ANNOUNCEMENT_OPTIONS))


@register.tag
def broadcast_feed(parser: Parser, token: Token) -> Element:
    """A group's messages, live; with ``write=True`` also a box to write in for those who may.

    ``{% broadcast_feed "lobby" %}`` shows it to those whom ``GROUPS`` allows it, ``{% broadcast_feed ticket %}``,
    with a model instance, to whoever gets the page. docs/tags.md has all the options.
    """
    tag, *bits = token.split_contents()
    if not bits or OPTION.fullmatch(bits[0]):
        raise template.TemplateSyntaxError(f'{{% {tag} %}} begins with a group, as in {{% {tag} "lobby" %}}.')
    return Element(tag, feed, {"group": parser.compile_filter(bits[0]), **given(parser, tag, bits[1:], FEED_OPTIONS)})


def given(parser: Parser, tag: str, bits: Iterable[str], known: Iterable[str]) -> dict[str, FilterExpression]:
    """The options that a tag was written with. Raises TemplateSyntaxError for one that it does not have."""
    found: dict[str, FilterExpression] = {}
    for bit in bits:
        option = OPTION.fullmatch(bit)
        if option is None or option[1] not in known or option[1] in found:
            names = ", ".join(f"{name}=" for name in known)
            raise template.TemplateSyntaxError(f"{{% {tag} %}} takes {names} each once; it came with {bit}.")
        found[option[1]] = parser.compile_filter(option[2])
    return found


def page_state_of(context: template.Context) -> PageState:
    """What the page has already.

    It goes with one rendering, includes and all. A request may see several: an error page comes after one that failed.
    """
    shared: Any = context.render_context.dicts[0]
    page_state: PageState = shared.setdefault("broadcast_drawn", PageState())
    return page_state


def request_in(context: template.Context) -> HttpRequest | None:
    """The request for which the page is made; REST framework has Django's in one of its own, as ``_request``."""
    found = (context.get("request"), getattr(context, "request", None))
    candidates = (getattr(each, "_request", each) for each in found)
    return next((each for each in candidates if isinstance(each, HttpRequest)), None)
