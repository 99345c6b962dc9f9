"""The elements in Firefox: two tabs, a server that comes and goes, dismissal and the bell."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kit.browsers import Firefox, FirefoxTab, firefox
from tests.kit.waiting import wait_until
from tests.site import Daphne, Site

pytestmark = pytest.mark.skipif("IN_FIREFOX" not in os.environ, reason="has a target of its own: make firefox")
SETTINGS = "tests.pages.settings"
ELEMENT = "document.querySelector('broadcast-{}')"
BODIES = "JSON.stringify([...({}).frame.querySelectorAll('{} [data-body]')].map((body) => body.textContent))"
LOG = BODIES.format(ELEMENT.format("feed"), "[data-messages]")
CARDS = BODIES.format(ELEMENT.format("announcements"), "article:not([hidden], [data-leaving])")
GUARD = "if (!document.querySelector(':defined[data-state]')?.frame) '[]'; else"
WRITE = """(() => {{
  const form = document.querySelector('broadcast-feed').frame.querySelector('form');
  form.elements.body.value = {};
  form.requestSubmit();
}})()"""


@pytest.fixture
def server(daphne: Callable[..., Daphne], site: Site) -> Daphne:
    site.env["DJANGO_SETTINGS_MODULE"] = SETTINGS
    return daphne(DJANGO_SETTINGS_MODULE=SETTINGS)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    with firefox(tmp_path_factory.mktemp("firefox") / "profile") as started:
        yield started


def shows(tab: FirefoxTab, expression: str, *texts: str) -> None:
    wait_until(lambda: json.loads(tab.does(f"{{ {GUARD} {expression} }}") or "[]") == list(texts))


def opened(browser: Firefox, server: Daphne, path: str, state: str = "live") -> FirefoxTab:
    tab = browser.tab()
    tab.go(f"{server.url}{path}")
    is_in(tab, state)
    return tab


def is_in(tab: FirefoxTab, state: str) -> None:
    wait_until(lambda: tab.does("document.querySelector('[data-state]')?.dataset.state") == state)


def write(tab: FirefoxTab, text: str) -> Any:
    return tab.does(WRITE.format(json.dumps(text)))


def test_two_tabs_chat_over_a_server_that_is_killed_and_started_again(browser: Firefox, server: Daphne) -> None:
    one, two = opened(browser, server, "/feed/"), opened(browser, server, "/feed/")
    write(one, "Good morning")
    shows(two, LOG, "Good morning")
    server.kill()
    is_in(one, "reconnecting")
    write(one, "while it was away")
    server.start()
    for tab in (one, two):
        shows(tab, LOG, "Good morning", "while it was away")
    write(two, "and back")
    shows(one, LOG, "Good morning", "while it was away", "and back")
    one.does(
        "document.querySelector('broadcast-feed').replaceWith(document.querySelector('broadcast-feed').cloneNode(true))"
    )
    write(two, "to a clone")
    shows(one, LOG, "Good morning", "while it was away", "and back", "to a clone")


def test_what_is_dismissed_in_one_tab_is_in_all_and_the_bell_counts(
    browser: Firefox, server: Daphne, site: Site
) -> None:
    one, two = opened(browser, server, "/bell/"), opened(browser, server, "/bell/")
    for text in ("Lunch is ready", "Coffee too"):
        site.manage("broadcast", "send", text, "--data", '{"level": "error"}')
    for tab in (one, two):
        shows(tab, CARDS, "Lunch is ready", "Coffee too")
    name = "document.querySelector('broadcast-bell').frame.querySelector('summary').getAttribute('aria-label')"
    wait_until(lambda: one.does(name) == "Notifications, 2 new")
    two.does("document.querySelector('broadcast-announcements').frame.querySelector('article button').click()")
    for tab in (one, two):
        shows(tab, CARDS, "Coffee too")
        wait_until(lambda tab=tab: tab.does(name) == "Notifications, 1 new")
    assert one.does("document.querySelector('broadcast-announcements').frame.matches(':popover-open')")
