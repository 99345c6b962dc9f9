"""Pages of the system's Chromium on a loopback server that serves the app's files unmodified."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from .node import need_tools
from .pages import Site, chat_html, lifeless
from .samples import CHAT

OpenPage = Callable[..., Page]


def complaints_of(page: Page) -> list[str]:
    """A list that fills with the page's uncaught errors and whatever its security policy refuses."""
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if "Security Policy" in said.text else None)
    return complaints


@pytest.fixture(scope="module")
def node_tools() -> None:
    need_tools()


@pytest.fixture(scope="module")
def files() -> Iterator[Site]:
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield site
        site.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def reused_page(browser: Browser, files: Site) -> Iterator[tuple[Page, list[str]]]:
    """A page that is loaded anew for each case, and its complaints."""
    files.pages["/lifeless"] = lifeless(chat_html(CHAT))
    page = browser.new_page()
    yield page, complaints_of(page)
    page.close()


@pytest.fixture
def case_page(reused_page: tuple[Page, list[str]], files: Site) -> Iterator[Page]:
    """The chat page as served, with nothing remembered and its script left out."""
    page, complaints = reused_page
    complaints.clear()
    page.goto(f"{files.address}/lifeless")
    yield page
    page.evaluate("localStorage.clear()")
    assert complaints == []


@pytest.fixture
def chat_page(browser: Browser, files: Site) -> Iterator[OpenPage]:
    """`chat_page(offset=None)` opens the chat page as it is when the view gives it that."""
    contexts = []
    complaints: list[list[str]] = []

    def opened(*, javascript: bool = True, bypass_csp: bool = False, **given: Any) -> Page:
        files.pages["/chat"] = chat_html(CHAT | given)
        context = browser.new_context(java_script_enabled=javascript, bypass_csp=bypass_csp)
        contexts.append(context)
        page = context.new_page()
        complaints.append(complaints_of(page))
        page.goto(f"{files.address}/chat")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not any(complaints)
