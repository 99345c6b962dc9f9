"""`python -m bench.page`: what a page loads of this app, and how long it takes from opening it to being live."""

from __future__ import annotations

import argparse
import gzip
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from bench.rows import ROOT
from tests.chromium import QUIET, chromium_path
from tests.site import Daphne, Site

STATIC = ROOT / "broadcast" / "static" / "broadcast"
PAGES = {"announcements": "/toasts/", "feed": "/feed/", "chat page": "/"}
IS_LIVE = """new Promise((resolve) => {
  const look = () => {
    if (document.querySelector("broadcast-feed[data-state=live]")) resolve(performance.now());
    else requestAnimationFrame(look);
  };
  look();
})"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__)
    parser.add_argument("--loads", type=int, default=30, help="how often each page is opened (30)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        server = Daphne(Site.migrated(Path(directory)), DJANGO_SETTINGS_MODULE="tests.pages.settings")
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(QUIET))
        try:
            server.start()
            for name, path in PAGES.items():
                print(f"{name:<14} {weight(browser, server.url + path)}")
            for name, path in (("feed", "/feed/"), ("chat page", "/")):
                print(f"{name:<14} {times(browser, server.url + path, options.loads)}")
        finally:
            browser.close()
            server.end()
    everything = [path for path in STATIC.iterdir() if path.suffix in (".js", ".css")]
    print(f"everything     {sized(everything)}")


def weight(browser: Browser, url: str) -> str:
    """What a first visit to a page fetches of the app."""
    page = browser.new_page()
    fetched: set[str] = set()
    page.on("request", lambda request: fetched.add(request.url))
    with page.expect_websocket():
        page.goto(url)
    page.close()
    names = {address.partition("/static/broadcast/")[2] for address in fetched}
    return sized([STATIC / name for name in names if name.endswith((".js", ".css"))])


def sized(paths: list[Path]) -> str:
    contents = [path.read_bytes() for path in paths]
    apart = sum(len(gzip.compress(content, 9)) for content in contents)
    together = len(gzip.compress(b"".join(contents), 9))
    return f"{len(paths):2} files, {apart:6,} bytes compressed ({together:,} as one)"


def times(browser: Browser, url: str, loads: int) -> str:
    """From the beginning of the navigation until the page's feed is live, on loopback."""
    measured: dict[str, list[float]] = {"first visit": [], "again": []}
    for _ in range(loads):
        context = browser.new_context(bypass_csp=True)
        page = context.new_page()
        for taken in measured.values():
            page.goto(url, wait_until="commit")
            taken.append(page.evaluate(IS_LIVE))
        context.close()
    return "; ".join(f"{name}: {statistics.median(taken):.0f} ms" for name, taken in measured.items()) + " until live"


if __name__ == "__main__":
    main()
