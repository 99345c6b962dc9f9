"""The system's Chromium for tests: a fixture that starts it once per module, and a way to sign in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.services import do_without

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    # A page whose answer a test has changed counts as coming from elsewhere, and might not connect to loopback.
    "--disable-features=LocalNetworkAccessChecks",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",
)


def chromium_path() -> str:
    """Where Chromium is. Without one the test is skipped and says why; where ``CI`` is set, it fails."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    return path or do_without(f"needs Chromium: none of {', '.join(NAMES)} is on the PATH")


# Playwright's sync API keeps an event loop running in this thread: it has to end before the async tests of
# other modules begin.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()


def sign_in(page: Page, url: str, admin: str = "/admin/", then: str = "/", name: str = "ann") -> None:
    """Signs in on the admin's page, and ends where that is told to go on."""
    page.goto(f"{url}{admin}login/?next={then}")
    page.fill("[name=username]", name)
    page.fill("[name=password]", "secret")
    page.click("[type=submit]")
    page.wait_for_url(url + then)
