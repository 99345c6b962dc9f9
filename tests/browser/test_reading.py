"""The elements wherever one reads: in several tabs and browsers, on a slow line, on paper, and without colours."""

# ruff: noqa: F811

from __future__ import annotations

from playwright.sync_api import Browser, expect

from tests.browser.test_elements import WAIT, Open, open_page, say, server  # noqa: F401 (fixtures)
from tests.browser.test_toasts import PHONE, box, dismissing, toasts
from tests.chromium import sign_in
from tests.site import Daphne, Site


def test_what_is_dismissed_is_so_in_all_tabs_and_for_a_user_in_all_browsers(
    server: Daphne, browser: Browser, site: Site, say
) -> None:
    site.shell("User.objects.create_user('ann', password='secret', is_staff=True)")
    with browser.new_context() as here, browser.new_context() as elsewhere:
        one, other, third = here.new_page(), here.new_page(), elsewhere.new_page()
        for page in (one, third):
            sign_in(page, server.url, then="/bell/")
        other.goto(f"{server.url}/bell/")
        for body in ("First", "Second"):
            say(body, timeout=0)
        for page in (one, other, third):
            expect(page.get_by_role("button", name="Notifications, 2 new")).to_be_visible(timeout=WAIT)
        with one.expect_response("**/-/dismissed"):
            dismissing(one, "First").click()
        for page in (one, other, third):
            if page is third:
                page.reload()
            expect(toasts(page)).to_have_text(["Second"])
            expect(page.get_by_role("button", name="Notifications, 1 new")).to_be_visible()


def test_messages_of_django_are_announcements_of_one_page(open_page: Open) -> None:
    page = open_page("/messages/?error=The+card+was+refused")
    card = page.get_by_role("article")
    expect(card).to_have_attribute("data-level", "error")
    expect(card.get_by_role("img", name="Error")).to_be_visible()
    dismissing(page, "The card was refused").click()
    expect(card).to_have_count(0)
    open_page("/messages/?error=Again", page)
    expect(toasts(page)).to_have_text(["Again"])
    open_page("/messages/", page)
    expect(toasts(page)).to_have_count(0)


# While it comes in, and on paper

MEASURE = """
  globalThis.shift = 0;
  const add = (list) => list.getEntries().forEach(({ value }) => { shift += value; });
  new PerformanceObserver(add).observe({ type: "layout-shift", buffered: true });
"""
SLOW = {"offline": False, "latency": 150, "downloadThroughput": 200_000, "uploadThroughput": 100_000}
LEVELS = ("info", "success", "warning", "error")


def test_nothing_moves_while_a_page_comes_in(server: Daphne, browser: Browser, say) -> None:
    for level in LEVELS:
        say("An announcement of some length", title=level.title(), level=level, timeout=0)
    for number in range(12):
        say(f"{number}: which book is it that you are reading, and until when? " * (1 + number % 3), group="lobby")
    with browser.new_context(viewport=PHONE, timezone_id="America/New_York", bypass_csp=True) as context:
        pages = {path: context.new_page() for path in ("/banner/", "/bell/", "/feed/")}
        for path, page in pages.items():
            page.add_init_script(MEASURE)
            session = context.new_cdp_session(page)
            session.send("Network.enable")
            session.send("Network.emulateNetworkConditions", SLOW)
            session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
            page.goto(f"{server.url}{path}", wait_until="commit")
        for page in pages.values():
            expect(page.locator("[data-state=live]").first).to_be_attached(timeout=WAIT)
            page.wait_for_function(
                "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
            )
        found = {path: page.evaluate("shift") for path, page in pages.items()}
    assert max(found.values()) <= 0.02, found


def test_on_paper_a_feed_has_all_its_messages_and_toasts_are_left_out(open_page: Open, say) -> None:
    say("An announcement", timeout=0)
    bodies = [f"Message {number}" for number in range(30)]
    for body in bodies:
        say(body, group="lobby")
    for path in ("/chat/", "/chat/?shadow=none"):
        page = open_page(path)
        expect(page.locator("broadcast-feed [data-body]")).to_have_text(bodies, timeout=WAIT)
        scroller = page.locator("broadcast-feed [data-scroller]")
        assert scroller.evaluate("it => it.scrollHeight > it.clientHeight")
        page.emulate_media(media="print")
        assert scroller.evaluate("it => it.scrollHeight === it.clientHeight")
        assert box(page.locator("broadcast-feed"))["height"] >= box(scroller)["height"]
        expect(page.locator("article")).to_be_hidden()
        expect(page.locator("broadcast-feed form")).to_be_hidden()


def test_levels_are_told_apart_without_colours(open_page: Open, say) -> None:
    page = open_page("/bell/")
    page.emulate_media(forced_colors="active", reduced_motion="reduce")
    for level in LEVELS:
        say(f"An announcement: {level}", level=level, timeout=0)
    sign = "it => getComputedStyle(it, '::before').content[1] + getComputedStyle(it).borderStyle"
    wanted = ["isolid", "✓solid", "!solid", "\u00d7solid"]
    for signs, expected in (
        (page.locator("article [data-sign]"), wanted),
        (page.locator("li [data-sign]"), wanted[:0:-1]),
    ):
        expect(signs).to_have_count(len(expected), timeout=WAIT)
        assert [each.evaluate(sign) for each in signs.all()] == expected
    assert page.evaluate("document.getAnimations().length") == 0
    dismissing(page, "An announcement: info").click()
    expect(toasts(page)).to_have_count(3)
