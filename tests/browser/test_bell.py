"""The bell in pages of another site, in a real Chromium."""

from __future__ import annotations

from playwright.sync_api import Browser, Page, expect

from tests.browser.test_elements import WAIT, Open, open_page, say, server, toasts  # noqa: F401 (fixtures)
from tests.kit.accessibility import serious
from tests.site import Daphne


def bell(page: Page, new: int):
    """The button, which says how many are new."""
    name = f"Notifications, {new} new" if new else "Notifications"
    return page.get_by_role("button", name=name, exact=True)


def test_it_counts_in_all_tabs_and_is_read_by_opening_or_dismissing(open_page: Open, say) -> None:  # noqa: F811
    one, other = open_page("/bell/"), open_page("/bell/")
    for page in (one, other):
        expect(page.locator("broadcast-bell")).to_have_attribute("data-state", "live", timeout=WAIT)
    for body in ("Lunch is ready", "The library closes at six"):
        say(body)
    for page in (one, other):
        expect(bell(page, 2)).to_be_visible(timeout=WAIT)
    one.get_by_role("button", name="Dismiss: Lunch is ready").click()
    for page in (one, other):
        expect(bell(page, 1)).to_be_visible()
    bell(other, 1).focus()
    other.keyboard.press("Enter")
    expect(other.get_by_role("button", name="Notifications", expanded=True)).to_be_visible()
    expect(other.locator("broadcast-bell [data-body]")).to_have_text(["The library closes at six", "Lunch is ready"])
    assert serious(other) == {}
    other.keyboard.press("Escape")
    expect(bell(other, 0)).to_be_focused()
    expect(bell(one, 0)).to_be_visible()
    again = open_page("/bell/", one)
    expect(again.locator("broadcast-bell [data-body]")).to_have_count(2)
    expect(bell(again, 0)).to_be_visible()
    say("New")
    expect(bell(again, 1)).to_be_visible(timeout=WAIT)


def test_without_javascript_it_opens_and_a_button_marks_all_as_read(server: Daphne, browser: Browser, say) -> None:  # noqa: F811
    say("Lunch is ready")
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{server.url}/bell/?a=1")
        page.locator("summary").click()
        expect(page.locator("broadcast-bell [data-body]")).to_have_text(["Lunch is ready"])
        page.get_by_role("button", name="Mark all as read").click()
        expect(page).to_have_url(f"{server.url}/bell/?a=1")
        page.locator("summary").click()
        expect(page.locator("broadcast-bell [data-body]")).to_have_text(["Lunch is ready"])
        expect(page.get_by_role("button", name="Mark all as read")).to_have_count(0)
        assert page.locator("summary").get_attribute("aria-label") == "Notifications"
