"""`python -m bench.page`: what a first visit to a page fetches, the time until it is live, and how its layout shifts.

The site is served as in production: by daphne, with DEBUG off, its static files hashed and compressed by WhiteNoise.
The time is that from the beginning of the navigation until the first welcome has come over the WebSocket.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, sync_playwright

from bench.rows import ROOT
from tests.chromium import QUIET, chromium_path
from tests.site import Daphne

PAGES = {"announcements": "/toasts/", "chat page": "/"}
OF_APP = re.compile(r"/static/broadcast/.*\.(?:js|css)$")
LATENCIES = (0, 150)  # milliseconds, of each round trip
SETTLING = 1000  # milliseconds in which a page may still shift

SETTINGS = """
from tests.pages.settings import *
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = False
"""
SAYING = """
from django.contrib.auth.models import User
from broadcast import send
users = [User.objects.create_user(name) for name in ("Ann", "Ben")]
for level in ("error", "warning", "success", "info"):
    send("The copier is out of order.", data={"level": level, "title": "Notice", "timeout": 0})
for number in range(30):
    send(f"Has anyone finished chapter {number}?", author=users[number % 3 // 2])
"""
SHIFTS = """
globalThis.shifted = 0;
new PerformanceObserver((list) => list.getEntries().forEach(({ value }) => (shifted += value)))
  .observe({ type: "layout-shift", buffered: true });
"""


@dataclass
class Visit:
    """What the browser's network did from the beginning of a navigation."""

    began: float = 0
    live: float = 0
    addresses: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, float] = field(default_factory=dict)
    shifted: float = 0

    def follow(self, cdp: CDPSession) -> None:
        cdp.on("Network.requestWillBeSent", self.asked)
        cdp.on("Network.loadingFinished", self.finished)
        cdp.on("Network.webSocketFrameReceived", self.heard)

    def asked(self, event: dict[str, Any]) -> None:
        self.began = self.began or event["timestamp"]
        self.addresses[event["requestId"]] = event["request"]["url"]

    def finished(self, event: dict[str, Any]) -> None:
        self.sizes[event["requestId"]] = event["encodedDataLength"]

    def heard(self, event: dict[str, Any]) -> None:
        if '"welcome"' in event["response"]["payloadData"]:
            self.live = self.live or event["timestamp"]

    @property
    def milliseconds(self) -> float:
        return (self.live - self.began) * 1000

    def fetched(self, of_app: bool) -> tuple[int, float]:
        """How many files and bytes came: all, or those of the app, without the page's own HTML."""
        chosen = [key for key, url in self.addresses.items() if not of_app or OF_APP.search(url)]
        return len(chosen), sum(self.sizes.get(key, 0) for key in chosen)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__)
    parser.add_argument("--loads", type=int, default=10, help="how often each page is opened (10)")
    parser.add_argument("--project", type=Path, default=ROOT, help="the tree that is measured (this one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(QUIET))
        with serving(options.project.resolve(), Path(directory)) as server:
            print("| page | requests | bytes | of the app | bytes | live at 0 ms | at 150 ms | layout shift |")
            print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
            for name, path in PAGES.items():
                print(row(name, {each: visits(browser, server.url + path, each, options.loads) for each in LATENCIES}))
        browser.close()


@contextmanager
def serving(project: Path, directory: Path) -> Iterator[Daphne]:
    """A server of another tree's site, with something on its pages."""
    (directory / "measured_settings.py").write_text(SETTINGS)
    env = {"DEBUG": "false", "SECRET_KEY": "measured", "OPEN_DEMO": "true", "ALLOWED_HOSTS": "127.0.0.1"}
    places = {"PYTHONPATH": f"{directory}:{project}", "STATIC_ROOT": str(directory / "static")}
    server = Daphne(directory / "site.sqlite3", DJANGO_SETTINGS_MODULE="measured_settings", **env, **places)
    server.root = project
    for command in (("migrate", "--verbosity", "0"), ("collectstatic", "--no-input", "--verbosity", "0")):
        server.manage(*command)
    server.shell(SAYING)
    server.start()
    try:
        yield server
    finally:
        server.end()


def visits(browser: Browser, url: str, latency: int, loads: int) -> list[Visit]:
    visited = []
    for _ in range(loads):
        context = browser.new_context()
        visited.append(visit(context, context.new_page(), url, latency))
        context.close()
    return visited


def visit(context: BrowserContext, page: Page, url: str, latency: int) -> Visit:
    """A first visit, with nothing in the cache."""
    page.add_init_script(SHIFTS)
    cdp = context.new_cdp_session(page)
    cdp.send("Network.enable")
    conditions = {"offline": False, "latency": latency, "downloadThroughput": -1, "uploadThroughput": -1}
    cdp.send("Network.emulateNetworkConditions", conditions)
    seen = Visit()
    seen.follow(cdp)
    page.goto(url)
    while not seen.live:
        page.wait_for_timeout(20)
    page.wait_for_timeout(SETTLING)
    seen.shifted = page.evaluate("shifted")
    return seen


def row(name: str, seen: dict[int, list[Visit]]) -> str:
    first = seen[0][0]
    (requests, size), (own, own_size) = first.fetched(of_app=False), first.fetched(of_app=True)
    times = [f"{statistics.median(each.milliseconds for each in seen[latency]):.0f} ms" for latency in LATENCIES]
    shift = max(each.shifted for each in seen[0] + seen[150])
    return f"| {name} | {requests} | {size:,.0f} | {own} | {own_size:,.0f} | {times[0]} | {times[1]} | {shift:.3f} |"


if __name__ == "__main__":
    main()
