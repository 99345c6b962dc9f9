"""The elements in pages of another site, under the strictest Content-Security-Policy, in a real Chromium."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.kit.accessibility import serious
from tests.site import ROOT, Daphne, Site

SETTINGS = "tests.pages.settings"
WAIT = 20_000  # milliseconds

Start = Callable[..., Daphne]
Open = Callable[..., Page]


@pytest.fixture
def server(daphne: Start, site: Site) -> Daphne:
    site.env["DJANGO_SETTINGS_MODULE"] = SETTINGS
    return daphne(DJANGO_SETTINGS_MODULE=SETTINGS)


@pytest.fixture
def open_page(server: Daphne, context: BrowserContext) -> Iterator[Open]:
    """`open_page("/toasts/")` opens a page; complaints of the browser fail the test.

    There is no need to wait until it is live: what is sent before that comes all the same.
    """
    complaints: list[str] = []

    def opened(path: str, page: Page | None = None) -> Page:
        if page is None:
            page = context.new_page()
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.goto(f"{server.url}{path}")
        return page

    yield opened
    assert complaints == []


@pytest.fixture
def say(server: Daphne) -> Callable[..., None]:
    """`say("hello", level="error")` announces; `group=` says where."""

    def said(body: str, group: str = "broadcast", **data: object) -> None:
        fields = {"body": body, "group": group, "announce": True, "data": data or None}
        if group != "broadcast":
            fields |= {"announce": False, "author": "Ann"}
        content = json.dumps({name: value for name, value in fields.items() if value is not None})
        request = Request(
            f"{server.url}/broadcast/", data=content.encode(), headers={"Content-Type": "application/json"}
        )
        with urlopen(request, timeout=20) as response:
            assert response.status == 201

    return said


def toasts(page: Page):
    return page.locator("broadcast-announcements article:not([hidden], [data-leaving]) [data-body]")


def test_a_toast_comes_stays_over_pages_and_is_gone_when_dismissed(open_page: Open, say) -> None:
    page = open_page("/toasts/")
    say("Lunch is ready", url="/menu/")
    expect(toasts(page)).to_have_text(["Lunch is ready"], timeout=WAIT)
    open_page("/toasts/", page)
    say("The library closes at six", level="warning")
    expect(toasts(page)).to_have_text(["Lunch is ready", "The library closes at six"], timeout=WAIT)
    page.get_by_role("region", name="Announcements").get_by_role("button", name="Dismiss: Lunch is ready").click()
    expect(toasts(page)).to_have_text(["The library closes at six"])
    open_page("/toasts/", page)
    expect(toasts(page)).to_have_text(["The library closes at six"])


def test_an_error_interrupts_and_the_rest_waits_its_turn(open_page: Open, say) -> None:
    page = open_page("/toasts/")
    say("The desk is closed", level="error")
    say("Lunch is ready")
    expect(page.get_by_role("alert").get_by_text("The desk is closed")).to_be_visible(timeout=WAIT)
    expect(page.get_by_role("status").get_by_text("Lunch is ready")).to_be_visible(timeout=WAIT)


def test_a_banner_is_part_of_the_page(open_page: Open, say) -> None:
    page = open_page("/banner/")
    say("Closed on Monday")
    expect(toasts(page)).to_have_text(["Closed on Monday"], timeout=WAIT)
    box = page.locator("article").bounding_box()
    assert (box["x"], box["y"], box["width"]) == (0, 0, page.viewport_size["width"])
    assert page.locator("body > header").bounding_box()["y"] >= box["height"]


def test_pointing_at_a_toast_keeps_it(open_page: Open, say, context: BrowserContext) -> None:
    page = context.new_page()
    page.clock.install()
    open_page("/toasts/", page)
    say("Read me", timeout=300)
    article = page.locator("article", has_text="Read me")
    article.hover(timeout=WAIT)
    page.clock.run_for(400_000)
    expect(article).to_be_visible()
    page.mouse.move(1, 1)
    page.clock.run_for(400_000)
    expect(article).to_have_count(0)


def test_several_elements_share_one_socket_and_each_shows_its_own(open_page: Open, say, context) -> None:
    page = context.new_page()
    sockets = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    open_page("/several/", page)
    feeds = page.locator("broadcast-feed")
    expect(feeds).to_have_count(2)  # the desk is not for guests
    for feed in feeds.all():
        expect(feed).to_have_attribute("data-state", "live", timeout=WAIT)
    say("to the lobby", group="lobby")
    say("to all")
    expect(feeds.nth(0).locator("[data-body]")).to_have_text(["to the lobby"], timeout=WAIT)
    expect(feeds.nth(1).locator("[data-body]")).to_have_text(["to all"], timeout=WAIT)
    expect(toasts(page)).to_have_text(["to all"], timeout=WAIT)
    assert len(sockets) == 1


def test_a_page_about_an_object_has_its_stream_without_a_rule(open_page: Open, site: Site) -> None:
    site.shell("from django.contrib.auth.models import Group; Group.objects.create(name='Ticket')")
    page = open_page("/ticket/1/")
    expect(page.locator("broadcast-feed")).to_have_attribute("data-state", "live", timeout=WAIT)
    site.manage("broadcast", "send", "It is on its way", "--group", "auth.group.1")
    expect(page.locator("[data-messages] [data-body]")).to_have_text(["It is on its way"], timeout=WAIT)


def test_elements_written_by_hand_or_made_by_a_script_as_the_docs_show(open_page: Open, say) -> None:
    (script,) = re.findall(r"```js\n(const answer .*?)```", (ROOT / "docs" / "tags.md").read_text(), re.DOTALL)
    say("Is anyone there?", group="lobby")
    page = open_page("/by_hand/")
    written = page.locator("broadcast-feed")
    expect(written).to_have_attribute("data-state", "live", timeout=WAIT)
    page.get_by_role("textbox", name="Message").fill("Good morning")
    page.get_by_role("button", name="Send").click()
    expect(written.locator("[data-messages] [data-body]").last).to_have_text("Good morning", timeout=WAIT)
    say("Lunch is ready")
    expect(toasts(page)).to_have_text(["Lunch is ready"], timeout=WAIT)
    page.evaluate(f"async () => {{ {script} }}")
    made = page.locator("broadcast-feed").last.locator("[data-messages] [data-body]")
    expect(made).to_have_text(["Is anyone there?", "Good morning"], timeout=WAIT)


WRITE_DOWN = "document.body.innerHTML"
PUT_BACK = "html => { document.body.innerHTML = html }"


def test_a_page_that_is_put_back_as_it_was_written_down_shows_everything_once(
    open_page: Open, browser: Browser, say
) -> None:
    """As the history of htmx does: it writes the body down, and reads it again when the reader comes back."""
    context = browser.new_context(bypass_csp=True)  # which asks for trusted types
    page = context.new_page()
    open_page("/feed/", page)
    bodies = page.locator("[data-messages] [data-body]")
    say("one", group="lobby")
    say("two", group="lobby")
    expect(bodies).to_have_text(["one", "two"], timeout=WAIT)
    written = page.evaluate(WRITE_DOWN)
    page.evaluate(PUT_BACK, "<p>Another page</p>")
    say("while away", group="lobby")
    page.evaluate(PUT_BACK, written)
    expect(bodies).to_have_text(["one", "two", "while away"], timeout=WAIT)
    page.evaluate(
        "document.querySelector('broadcast-feed').replaceWith(document.querySelector('broadcast-feed').cloneNode(true))"
    )
    say("three", group="lobby")
    expect(bodies).to_have_text(["one", "two", "while away", "three"], timeout=WAIT)

    open_page("/toasts/", page)
    say("Lunch is ready", timeout=0)
    say("The library closes at six", timeout=0)
    expect(toasts(page)).to_have_text(["Lunch is ready", "The library closes at six"], timeout=WAIT)
    written = page.evaluate(WRITE_DOWN)
    page.get_by_role("button", name="Dismiss").first.click()
    page.evaluate(PUT_BACK, "<p>Another page</p>")
    say("Coffee too", timeout=0)
    page.evaluate(PUT_BACK, written)
    expect(toasts(page)).to_have_text(["The library closes at six", "Coffee too"], timeout=WAIT)
    context.close()


def test_without_javascript_what_is_current_is_there_and_the_box_sends(server: Daphne, browser: Browser, say) -> None:
    say("Lunch is ready")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{server.url}/toasts/")
    expect(toasts(page)).to_have_text(["Lunch is ready"])
    page.get_by_role("button", name="Dismiss: Lunch is ready").click()
    expect(page).to_have_url(f"{server.url}/toasts/")
    expect(toasts(page)).to_have_count(0)
    page.goto(f"{server.url}/feed/")
    page.get_by_label("Your name").fill("Bob")
    page.get_by_role("textbox", name="Message").fill("Written without a script")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("[data-messages] [data-body]")).to_have_text(["Written without a script"])
    assert page.url == f"{server.url}/feed/"
    context.close()


def test_theme_direction_colours_and_motion(open_page: Open, say) -> None:
    page = open_page("/feed/")
    page.evaluate("document.documentElement.style.setProperty('--broadcast-accent', 'rgb(1, 2, 3)')")
    expect(page.get_by_role("button", name="Send")).to_have_css("background-color", "rgb(1, 2, 3)")

    open_page("/toasts/", page)
    page.evaluate("document.documentElement.dir = 'rtl'")
    say("שלום", timeout=0)
    article = page.locator("article")
    expect(article).to_be_visible(timeout=WAIT)
    box, button = article.bounding_box(), article.get_by_role("button").bounding_box()
    assert box["x"] < page.viewport_size["width"] / 4
    assert button["x"] < box["x"] + box["width"] / 4

    page.emulate_media(forced_colors="active")
    assert article.evaluate("it => getComputedStyle(it).borderStyle") == "solid"
    sign = article.locator("[data-sign]").evaluate("it => getComputedStyle(it, '::before').content")
    assert sign.startswith('"i"')

    for wanted, animation in (("reduce", "none"), ("no-preference", "broadcast-rise")):
        page.emulate_media(reduced_motion=wanted)
        name = article.evaluate("it => { it.dataset.new = ''; return getComputedStyle(it).animationName }")
        assert name == animation


AT_REST = "document.getAnimations().every((animation) => animation.playState === 'finished')"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 390)])
def test_axe_finds_nothing_serious(server: Daphne, browser: Browser, say, scheme: str, width: int) -> None:
    for level in ("info", "success", "warning", "error", "error"):
        say(f"An announcement: {level}", level=level, title=level.title(), url="/", timeout=600)
    say("Which book is it?", group="lobby")
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce", bypass_csp=True
    )
    page = context.new_page()
    found = {}
    for path in ("/", "/toasts/", "/banner/", "/bell/", "/feed/", "/reading/", "/by_hand/"):
        page.goto(f"{server.url}{path}")
        if path == "/bell/":
            page.get_by_role("button", name="Notifications", expanded=False).click()
        page.wait_for_function(AT_REST)
        found[path] = serious(page)
    assert not any(found.values()), found
    page.add_style_tag(content=":root { --broadcast-quiet: light-dark(#ddd, #333) }")
    assert "color-contrast" in serious(page)  # it does look
    context.close()


SPEAKER = """
import itertools, sys, time
from broadcast import send
start = time.monotonic()
for number in itertools.count(1):
    send(str(number), group="lobby")
    time.sleep(max(0, start + number / 50 - time.monotonic()))
"""
ROWS = "document.querySelector('broadcast-feed').shadowRoot.querySelectorAll('[data-messages] > li')"
OFFSETS = f"[...{ROWS}].map((row) => Number(row.dataset.offset))"
HAS_GONE_ON = f"document.readyState === 'complete' && {OFFSETS}.at(-1) >= (window.began ??= {OFFSETS}.at(-1)) + 15"


def test_page_and_stream_meet_without_a_gap_or_a_double(server: Daphne, site: Site, browser: Browser) -> None:
    """Fifty messages are sent each second while pages are loaded; LOADS says how many (200 have been tried)."""
    loads, abreast = int(os.environ.get("LOADS", 16)), 4
    site.spawn("manage.py", "shell", "--command", SPEAKER)
    context = browser.new_context(bypass_csp=True)  # for the waiting
    pages = [context.new_page() for _ in range(abreast)]
    for _ in range(loads // abreast):
        for page in pages:
            page.goto(f"{server.url}/feed/", wait_until="commit")
        for page in pages:
            page.wait_for_function(HAS_GONE_ON, timeout=60_000)
            offsets = page.evaluate(OFFSETS)
            assert offsets == list(range(offsets[0], offsets[-1] + 1))
    context.close()
