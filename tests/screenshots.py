"""`python -m tests.screenshots`: pictures of each element and of the chat, into docs/screenshots/."""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.chromium import QUIET, chromium_path, sign_in
from tests.site import ROOT, Daphne, Site

SETTINGS = "tests.pages.settings"
TARGET = ROOT / "docs" / "screenshots"
SIZES = {"desktop": {"width": 1000, "height": 640}, "phone": {"width": 390, "height": 760}}
PICTURES = {"chat": "/", "toasts": "/toasts/", "banner": "/banner/", "feed": "/feed/"}

SAYING = """
from django.contrib.auth.models import User
from broadcast import send
from broadcast.engine.storage.log import Draft
from broadcast.engine.publish import publish

ann, ben = (User.objects.create_user(name, password="secret", is_staff=True) for name in ("Ann", "Ben"))

def guest(group, body):
    publish([Draft(group, "guest", "Mira", body)])

for text, data in (
    ("The copier is out of order.", {"level": "error"}),
    ("From noon on the catalogue is read-only for an hour.", {"level": "warning", "title": "Maintenance"}),
    ("Your book is at the desk", {"level": "success", "title": "Reservation", "url": "/feed/"}),
    ("Author's evening on Friday at seven", {"url": "/feed/"}),
):
    send(text, data={**data, "timeout": 0})
for group in ("lobby", "broadcast"):
    send("Has anyone finished Salt and Iron?", group=group, author=ann)
    send("Last night. The chapter on the dock strikes alone is worth it.", group=group, author=ben)
    send("I can bring my copy on Thursday.", group=group, author=ben)
    guest(group, "Please do! I am number three on the waiting list.")
    send("Thursday it is, then.", group=group, author=ann)
    guest(group, "Thank you both.")
"""


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        server = Daphne(Site.migrated(Path(directory)), DJANGO_SETTINGS_MODULE=SETTINGS)
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(QUIET))
        try:
            server.start()
            server.manage("shell", "--command", SAYING)
            for name, path in PICTURES.items():
                take(browser, server.url, path, "desktop", "light", TARGET / f"{name}-desktop.png")
                take(browser, server.url, path, "phone", "light", TARGET / f"{name}-phone.png")
                take(browser, server.url, path, "phone", "dark", TARGET / f"{name}-phone-dark.png")
        finally:
            browser.close()
            server.end()


def take(browser: Browser, url: str, path: str, size: str, scheme: str, target: Path) -> None:
    context = browser.new_context(
        viewport=SIZES[size],
        color_scheme=scheme,
        reduced_motion="reduce",
        has_touch=size == "phone",
        is_mobile=size == "phone",
        bypass_csp=True,
    )
    page = context.new_page()
    sign_in(page, url, name="Ann")  # so that a picture shows which messages are the reader's own
    page.goto(url + path)
    page.wait_for_function("document.querySelector('[data-state=live], broadcast-announcements article')")
    page.screenshot(path=target)
    context.close()
    print(f"{target.relative_to(ROOT)}  {target.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
