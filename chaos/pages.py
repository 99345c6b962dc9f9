"""Pages: real ones, in the system's Chromium, which follow every group by the client library."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from chaos import GROUPS
from chaos.judge.watch import Conditions

READ_EVERY = 0.5  # seconds

FOLLOW = """async (groups) => {
  const { connect } = await import("/static/broadcast/broadcast.js");
  const client = connect();
  window.chaos = [];
  const now = () => (performance.timeOrigin + performance.now()) / 1000;
  for (const group of groups) {
    const ticket = client.subscribe(group);
    const note = (kind, ref = "", offset = ticket.position.offset) =>
      window.chaos.push([kind, group, ticket.position.epoch, offset, ref, now()]);
    ticket.addEventListener("message", ({ detail }) => note("message", detail.ref, detail.offset));
    for (const kind of ["lost", "moved", "live"]) ticket.addEventListener(kind, () => note(kind));
  }
}"""
READ = "() => window.chaos.splice(0)"
SHOWN = """() => [...document.querySelectorAll("[data-messages] > li [data-body]")].map((body) => body.textContent)"""


class Event(NamedTuple):
    """What a page's subscription told: a message, a loss, another position, or that it is live; ``at`` on the wall."""

    kind: str
    group: str
    epoch: str
    offset: int | None
    ref: str
    at: float


class Page:
    """One page of one server, on which it stays."""

    def __init__(self, name: str, port: int, tab: Any) -> None:
        self.name = name
        self.port = port
        self.events: list[Event] = []
        self.places: dict[str, tuple[str, int | None]] = {}
        self.shown: list[str] = []
        self.excuses = Conditions()
        self._tab = tab
        self._kept_since: float | None = None
        self._clock = asyncio.get_running_loop().time

    async def open(self) -> None:
        await self._tab.goto(f"http://127.0.0.1:{self.port}/")
        await self._tab.evaluate(FOLLOW, list(GROUPS))

    async def read(self) -> None:
        """Takes over what the page has heard, and what it shows."""
        for event in [Event(*fields) for fields in await self._tab.evaluate(READ)]:
            self.events.append(event)
            if event.kind != "message":
                self.places[event.group] = (event.epoch, event.offset)
        self.shown = await self._tab.evaluate(SHOWN)

    # As the wards of a server

    def is_kept_from_hearing(self) -> None:
        if self._kept_since is None:
            self._kept_since = self._clock()

    def hears_again(self) -> None:
        if self._kept_since is not None:
            self.excuses.add(self._kept_since, self._clock())
            self._kept_since = None


def chromium() -> str:
    """Where Chromium is, if it can be driven here; otherwise empty."""
    try:
        import playwright.async_api  # noqa: F401

        from tests.chromium import NAMES
    except ImportError:
        return ""
    return next(filter(None, map(shutil.which, NAMES)), "")


@asynccontextmanager
async def opened(count: int, ports: Sequence[int]) -> AsyncIterator[list[Page]]:
    """So many pages, spread over the servers; none where there is no Chromium."""
    path = chromium()
    if not count or not path:
        yield []
        return
    from playwright.async_api import async_playwright

    from tests.chromium import QUIET

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(QUIET))
        try:
            context = await browser.new_context()
            pages = [
                Page(f"page{number}", ports[number % len(ports)], await context.new_page()) for number in range(count)
            ]
            await asyncio.gather(*(page.open() for page in pages))
            yield pages
        finally:
            await browser.close()


async def keep_reading(pages: Sequence[Page]) -> None:
    while True:
        await asyncio.gather(*(page.read() for page in pages))
        await asyncio.sleep(READ_EVERY)
