"""Nobody announces by another's authority: every way of a page to make a request, gone in real browsers.

`docs/announcing-ways.md` says what comes of each; `python -m docs.ways` writes it, with every case that there is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from docs.ways import documented
from tests.browser.crossing import PLACES, Crossing, Spot, crossing, spots
from tests.kit.browsers import BROWSERS
from tests.kit.waiting import wait_until
from tests.kit.ways import POLICIES, page_url

# Each takes a browser half a minute; `make ways` tries them all.
ALL = bool(os.environ.get("ALL_WAYS"))
RESERVED = [("Chromium", "http"), *([("Firefox", "https")] if ALL else [])]
OPEN = [
    ("Chromium", "localhost", POLICIES[1:]),
    ("Chromium", "http", POLICIES),
    ("Firefox", "http", POLICIES[1:]),
][0 if ALL else 3 :]
ASKED = BROWSERS if ALL else ["Chromium"]

Opening = Callable[..., Crossing]


@pytest.fixture
def opening(database: Path) -> Iterator[Opening]:
    """`opening(browser, kind)` is a site of that kind and a browser, until the test ends."""
    with ExitStack() as stack:
        yield lambda *what: stack.enter_context(contextmanager(crossing)(database, *what))


def messages(browser: str, places: list[Spot], *results: str) -> set[str]:
    """The messages of which the documentation says that this comes of them."""
    return {
        spot.message(way)
        for spot in places
        for way, place, cell in documented(browser, spot.reach)
        if place == spot.place and cell[POLICIES.index(spot.policy) % len(cell)] in results
    }


@pytest.mark.parametrize(("browser", "reach"), RESERVED)
def test_where_it_is_reserved_no_page_announces(opening, browser, reach):
    places = spots([reach], ["no-referrer"])
    found = opening(browser, "reserved", messages(browser, places, "sent", "no"))
    found.attack("announcer", places)
    assert found.target.announced == []
    assert found.target.failures == []
    assert found.target.answered >= {spot.message("location") for spot in places}  # with cookies, and asked back


@pytest.mark.parametrize(("browser", "reach", "policies"), OPEN, ids=str)
def test_where_guests_may_pages_announce_as_it_is_documented(opening, browser, reach, policies):
    places = spots([reach], policies)
    found = opening(browser, "open", messages(browser, places, "sent", "no"))
    found.attack("guest", places)
    assert set(found.target.announced) == messages(browser, places, "sent")
    tab, site = found.browser.tab(), found.target.origin(reach)
    found.see(tab, f"{site}/broadcast/typed", "Broadcasting typed")
    found.see(tab, f"{found.attacker(reach)}/hop/?to={site}/broadcast/led", "Broadcasting led")
    assert found.target.announced[-2:] == ["typed", "led"]


@pytest.mark.parametrize("browser", BROWSERS)
def test_where_browsers_say_from_where_no_other_site_announces(browser):
    places = [spot for spot in spots(["https", "localhost"]) if spot.place != "own"]
    assert messages(browser, places, "sent") == set()
    assert len(messages(browser, places, "no")) > 300  # which were asked for


@pytest.mark.parametrize("browser", ASKED)
def test_who_types_the_address_is_asked_where_it_is_reserved(opening, browser):
    found = opening(browser, "reserved")
    site = found.target.origin("http")
    found.enter("announcer", ["http"])
    for url in (f"{site}/broadcast/typed", f"{found.attacker('http')}/hop/?to={site}/broadcast/led"):
        tab = found.browser.tab()
        found.see(tab, url, "Announce this?")
    assert found.target.announced == []

    framing = found.browser.tab()
    framing.go(page_url(site, way="iframe", to=site, mark="framed", policy="", attacker="", domain=""))
    wait_until(lambda: "framed.iframe" in found.target.answered)
    # A page of one's own site would be seen; in its place is the browser's own page, which says no.
    wait_until(lambda: framing.does("document.querySelector('iframe').contentDocument === null"))

    def loads() -> int:
        return found.target.log.count('"GET /broadcast/?announced=')

    tab.does("document.querySelector('[type=submit]').click()")
    wait_until(lambda: loads() == 1 and "Announced:" in tab.text())
    tab.does("void setTimeout(() => location.reload())")
    wait_until(lambda: loads() == 2 and "Announced:" in tab.text())
    assert found.target.announced == ["led"]


def test_every_place_is_documented():
    for browser in BROWSERS:
        assert {place for _, place, _ in documented(browser, "http")} == set(PLACES)
