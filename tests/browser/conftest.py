"""Tabs of a real Chromium on a real daphne."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.chromium import QUIET, chromium_path


class Tab:
    """One person's view of the chat."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.box = page.get_by_role("textbox", name="Message", exact=True)
        self.name = page.get_by_label("Your name")
        self.rows = page.locator("[data-messages] > li")
        self.bodies = self.rows.locator("[data-body]")
        self.pending = page.locator("[data-pending] > li")

    def open(self, url: str) -> Tab:
        self.page.goto(url)
        return self.becomes("live")

    def becomes(self, state: str) -> Tab:
        expect(self.page.locator("broadcast-feed")).to_have_attribute("data-state", state, timeout=20_000)
        return self

    def say(self, text: str) -> None:
        self.box.fill(text)
        self.box.press("Enter")
        expect(self.box).to_have_value("")

    def shows(self, *texts: str) -> None:
        """Waits until the log has these messages, and no others, in this order."""
        expect(self.bodies).to_have_text(list(texts), timeout=20_000)

    def row(self, text: str) -> Locator:
        return self.rows.filter(has_text=text)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    yield context
    context.close()


@pytest.fixture
def tab(context: BrowserContext) -> Callable[[], Tab]:
    """`tab()` is a new tab of the same browser."""
    return lambda: Tab(context.new_page())


@pytest.fixture
def keeping_page(browser: Browser) -> Iterator[Page]:
    """A page of a Chromium that keeps pages to go back to, which Playwright otherwise turns off."""
    off = "--disable-back-forward-cache"
    keeping = browser.browser_type.launch(executable_path=chromium_path(), args=list(QUIET), ignore_default_args=[off])
    yield keeping.new_page()
    keeping.close()
