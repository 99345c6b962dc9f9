"""A visitor of the pages of `delivery_site`, what they are told, and other places for the files that they load."""

from __future__ import annotations

import json
import re
import shutil
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from urllib.request import Request, urlopen

from playwright.sync_api import ConsoleMessage, Locator, Page, expect

from tests.site import ROOT, Daphne

WAIT = 20_000  # milliseconds
GROUPS = ("broadcast", "news", "lobby")
STYLES = """() => {
  return [...document.querySelectorAll("broadcast-announcements, broadcast-bell, broadcast-feed")].map((element) =>
    [...(element.shadowRoot ?? element).querySelectorAll("[part]")].map((each) => {
      const { display, color, backgroundColor, font, padding, border, borderRadius, position } = getComputedStyle(each);
      return [each.part, display, color, backgroundColor, font, padding, border, borderRadius, position].join();
    }));
}"""


class Visitor:
    """A browser's page, and what the browser complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._said)

    def _said(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning") and "ERR_CONNECTION_REFUSED" not in said.text:  # while there is no server
            self.complaints.append(said.text)

    def go(self, url: str) -> Visitor:
        self.page.goto(url)
        return self

    def part(self, element: str, part: str, shadow: str = "") -> Locator:
        """A part of those elements of a kind that are in roots, or with `none` of those in the page's tree."""
        which = '[shadow="none"]' if shadow else ':not([shadow="none"])'
        return self.page.locator(f"broadcast-{element}{which} {part}:not([hidden])")

    def shows(self, *said: str) -> None:
        """Waits until all elements of the page show what was said in each group, once."""
        for shadow in ("", "none"):
            expect(self.part("feed", "[data-messages] [data-body]", shadow)).to_have_text([*said])
            expect(self.part("announcements", "article [data-body]", shadow)).to_have_text([*said])
            expect(self.part("bell", "[data-count]", shadow)).to_have_text(str(len(said)))

    def is_live(self) -> None:
        for element in self.page.locator("broadcast-bell, broadcast-feed").all():
            expect(element).to_have_attribute("data-state", "live")

    def styles(self) -> list[list[str]]:
        """Of all that each element has in it: one in a root, one in the page, and so on by kind."""
        return self.page.evaluate(STYLES)


def say(server: Daphne, body: str) -> None:
    """Announces in all groups, until it is dismissed."""
    for group in GROUPS:
        fields = {"body": body, "group": group, "announce": True, "data": {"timeout": 0, "level": "warning"}}
        headers = {"Content-Type": "application/json"}
        with urlopen(Request(f"{server.url}/broadcast/", json.dumps(fields).encode(), headers), timeout=20) as answer:
            assert answer.status == 201


class Elsewhere(SimpleHTTPRequestHandler):
    """Serves what is in the app, to pages of other sites as well if `is_open`."""

    is_open = False

    def __init__(self, *args: object) -> None:
        super().__init__(*args, directory=str(ROOT / "broadcast"))

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        if self.is_open:
            self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def log_message(self, *args: object) -> None:
        pass


def next_version(directory: Path) -> Path:
    """The app's static files as another version might have them: with other names within."""
    copy = Path(shutil.copytree(ROOT / "broadcast" / "static", directory / "next"))
    for script in copy.rglob("*.js"):
        text = re.sub(r"\b(establish|monitor|renew)\b", r"\1Newly", script.read_text())
        script.write_text(re.sub(r"sources \w+", "sources new", text))
    return copy
