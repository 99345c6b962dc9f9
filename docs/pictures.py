"""`python -m docs.pictures [DIRECTORY]`: pictures of each element and of the chat under other people's style sheets.

All of them go into the directory, if one is named; those that the documentation shows always go into docs/screenshots.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import product
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.chromium import QUIET, chromium_path, sign_in
from tests.frameworks.host_styles import SHEETS, put_sheets, say_all
from tests.site import ROOT, Daphne, Site

SCREENSHOTS = ROOT / "docs" / "screenshots"
SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
SCHEMES = ("light", "dark")
ELEMENTS = ("toasts", "banner", "bell", "feed", "chat")
# What documentation shows, by the picture that it is.
SHOWN = {
    "chat-desktop": "chat-none-desktop-light",
    "chat-phone": "chat-none-phone-light",
    "chat-phone-dark": "chat-none-phone-dark",
    "toasts-desktop": "toasts-bootstrap-desktop-light",
    "toasts-phone-dark": "toasts-bootstrap-phone-dark",
    "banner-desktop": "banner-pico-desktop-light",
    "bell-desktop": "bell-bootstrap-desktop-light",
    "bell-phone": "bell-theme-phone-light",
    "feed-desktop": "feed-pico-desktop-light",
    "feed-phone": "feed-tailwind-phone-light",
}
WAIT = 10_000  # milliseconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m docs.pictures", description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, help="where all pictures go")
    everything = parser.parse_args().directory
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        files = Path(directory, "files")
        files.mkdir()
        put_sheets(ROOT / "node_modules", files)
        database = Site.migrated(Path(directory))
        server = Daphne(database, DJANGO_SETTINGS_MODULE="tests.frameworks.settings", FOREIGN_FILES=str(files))
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(QUIET))
        try:
            server.shell(
                "from django.contrib.auth.models import User; User.objects.create_superuser('Ann', password='secret')"
            )
            server.start()
            say_all(lambda body, **fields: urlopen(f"{server.url}/say/?{urlencode({'body': body, **fields})}").close())
            for parts in product(ELEMENTS, SHEETS, SIZES, SCHEMES):
                name = "-".join(parts)
                targets = [SCREENSHOTS / f"{shown}.png" for shown, picture in SHOWN.items() if picture == name]
                if everything:
                    everything.mkdir(parents=True, exist_ok=True)
                    targets.append(everything / f"{name}.png")
                if targets:
                    picture = take(browser, server.url, *parts)
                    for target in targets:
                        target.write_bytes(picture)
                        print(f"{target}  {len(picture) // 1024} KiB")
        finally:
            browser.close()
            server.end()


def take(browser: Browser, url: str, element: str, style: str, size: str, scheme: str) -> bytes:
    is_phone = size == "phone"
    context = browser.new_context(
        viewport=SIZES[size], color_scheme=scheme, reduced_motion="reduce", has_touch=is_phone, is_mobile=is_phone
    )
    page = context.new_page()
    try:
        if element != "bell":  # whose list is new to each guest, and to a user only once
            sign_in(page, url, name="Ann", then="/blank/")
        if element == "chat":
            chat(page, url, style, scheme)
        else:
            bare = {"bare": "yes"} if element == "feed" else {}
            page.goto(f"{url}/host/{style}/?{urlencode({'shown': element, 'scheme': scheme, **bare})}")
            SHOW[element](page)
        return page.screenshot()
    finally:
        context.close()


def chat(page: Page, url: str, style: str, scheme: str) -> None:
    """The chat page, as a site has it that draws it within its own base template."""
    page.goto(url)
    live(page)
    if SHEETS[style]:
        page.evaluate("(scheme) => (document.documentElement.dataset.bsTheme = scheme)", scheme)
        page.evaluate(
            """(href) => new Promise((resolve) => {
              const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href, onload: resolve });
              document.head.prepend(link);
            })""",
            f"{url}/static/hosts/{style}.css",
        )


def live(page: Page) -> None:
    page.wait_for_function("document.querySelector('broadcast-feed[data-state=live]')")


def cards(page: Page) -> None:
    expect(page.locator("broadcast-announcements article").first).to_be_visible(timeout=WAIT)


def opened(page: Page) -> None:
    page.locator("broadcast-bell summary").click()
    expect(page.locator("broadcast-bell [data-list] > li")).to_have_count(2, timeout=WAIT)


SHOW = {"toasts": cards, "banner": cards, "bell": opened, "feed": live}


if __name__ == "__main__":
    main()
