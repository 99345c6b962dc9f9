"""Other people's style sheets, as npm brings them, and what is said on the pages that have them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

HOSTS = Path(__file__).parent / "hosts"
SHEETS = {
    "none": None,
    "bootstrap": "bootstrap/dist/css/bootstrap.css",
    "pico": "@picocss/pico/css/pico.css",
    "tailwind": "tailwindcss/lib/css/preflight.css",
    "theme": HOSTS / "theme.css",
}
ALL = "banner bell feed toasts"

SAID = (
    ("room-toasts", "The copier is out of order.", {"level": "error"}),
    (
        "room-toasts",
        "From noon on the catalogue is read-only for an hour.",
        {"level": "warning", "title": "Maintenance"},
    ),
    ("room-toasts", "Your book is at the desk", {"level": "success", "title": "Reservation", "url": "/feed/"}),
    ("room-toasts", "Author's evening on Friday at seven", {"url": "/feed/"}),
    ("room-banner", "The library closes at six today.", {"level": "warning", "url": "/banner/"}),
    ("room-bell", "The reading room is open again.", {"title": "Reading room"}),
    ("room-bell", "The catalogue was down.", {"level": "error"}),
)
TALK = (
    ("Ben", "Has anyone finished Salt and Iron?"),
    ("Mira", "Last night. The chapter on the dock strikes alone is worth it."),
    ("Mira", "I can bring my copy on Thursday."),
    ("Ben", "Please do! I am number three on the waiting list."),
)


def put_sheets(modules: Path, target: Path) -> None:
    """Puts the style sheets where the site looks for static files; Tailwind's with its defaults filled in."""
    (target / "hosts").mkdir(exist_ok=True)
    for name, place in SHEETS.items():
        if place is not None:
            css = (modules / place).read_text()
            (target / "hosts" / f"{name}.css").write_text(re.sub(r"theme\('[^']*', ([^;]*)\);", r"\1;", css))


def say_all(say: Callable[..., None]) -> None:
    for group, body, data in SAID:
        say(body, group=group, data=json.dumps({"timeout": 0} | data))
    for group in ("room-feed", "broadcast"):
        for author, body in TALK:
            say(body, group=group, author=author)
        say("The desk opens at ten.", group=group)
