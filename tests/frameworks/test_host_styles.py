"""The elements under other people's style sheets: nothing of theirs comes in, and nothing of the elements goes out."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, expect

from tests.site import Daphne

from .conftest import MODULES, from_npm
from .host_styles import ALL, SHEETS, put_sheets, say_all

EVERY = bool(os.environ.get("ALL_FRAMEWORKS"))
WAIT = 10_000  # milliseconds
LOOKS = [
    *(
        "background-color",
        "background-image",
        "border",
        "border-radius",
        "box-shadow",
        "box-sizing",
        "color",
        "content",
    ),
    *(
        "cursor",
        "display",
        "float",
        "font-family",
        "font-size",
        "font-style",
        "font-weight",
        "height",
        "letter-spacing",
    ),
    *("line-height", "list-style", "margin", "min-width", "opacity", "outline", "padding", "position"),
    *("scrollbar-color", "text-align", "text-decoration-line", "text-indent", "text-shadow", "text-transform"),
    *("visibility", "white-space", "width", "word-spacing", "z-index"),
]
PROBED = """([roots, looks]) => {
  const found = {};
  const look = (element, name) => {
    for (const pseudo of [null, "::before", "::after", "::marker", "::placeholder"]) {
      const style = getComputedStyle(element, pseudo);
      found[name + (pseudo ?? "")] = Object.fromEntries(looks.map((each) => [each, style.getPropertyValue(each)]));
    }
    const children = [...element.children].filter((child) => !child.matches("[data-slot], template, link, script"));
    children.forEach((child, i) => look(child, `${name} > ${child.localName}:${i}`));
  };
  for (const root of roots) {
    const host = document.querySelector(root);
    look(host.localName.includes("-") ? host.shadowRoot.querySelector("[data-frame]") : host, root);
  }
  return found;
}"""
INSIDE = ["[as=toasts]", "[as=banner]", "broadcast-bell", "broadcast-feed"]
OUTSIDE = ["body > header", "main"]

Probes = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def said(foreign_files: Path, foreign_site: Daphne) -> Daphne:
    from_npm("bootstrap", "@picocss/pico", "tailwindcss")
    put_sheets(MODULES, foreign_files)

    def say(body: str, **fields: str) -> None:
        with urlopen(f"{foreign_site.url}/say/?{urlencode({'body': body, **fields})}", timeout=20):
            pass

    say_all(say)
    return foreign_site


@pytest.fixture(scope="module")
def probe(browser: Browser, said: Daphne) -> Callable[..., dict[str, Probes]]:
    """`probe("pico")` tells the computed styles of all that is within the elements, and of all that is around them."""

    @cache
    def probed(style: str, shown: str = ALL) -> dict[str, Probes]:
        page = browser.new_page(reduced_motion="reduce")
        page.goto(f"{said.url}/host/{style}/?{urlencode({'shown': shown, 'fixed': 'yes'})}")
        if shown:
            page.wait_for_function("document.querySelector('broadcast-feed[data-state=live]')", timeout=WAIT)
            page.locator("broadcast-bell summary").click()
            expect(page.locator("broadcast-bell [data-list] > li")).to_have_count(2, timeout=WAIT)
        inside = page.evaluate(PROBED, [INSIDE, LOOKS]) if shown else {}
        outside = page.evaluate(PROBED, [OUTSIDE, LOOKS])
        page.close()
        return {"inside": inside, "outside": outside}

    return probed


def same(expected: Probes, found: Probes) -> None:
    """Fails with each element, property and two values that differ."""
    assert list(expected) == list(found)
    values = [(place, look, value, found[place][look]) for place in expected for look, value in expected[place].items()]
    differing = [f"{place} {look}: {value} became {other}" for place, look, value, other in values if value != other]
    assert not differing, "\n".join(differing)


@pytest.mark.parametrize("style", [name for name in SHEETS if name != "none"] if EVERY else ["theme"])
def test_nothing_of_a_style_sheet_comes_in(probe: Callable[..., dict[str, Probes]], style: str) -> None:
    bare = probe("none")["inside"]
    assert len(bare) > 30 * 5
    same(bare, probe(style)["inside"])


@pytest.mark.parametrize("style", list(SHEETS) if EVERY else ["theme"])
def test_nothing_of_the_elements_goes_out(probe: Callable[..., dict[str, Probes]], style: str) -> None:
    without = probe(style, shown="")["outside"]
    assert len(without) > 30 * 5
    same(without, probe(style)["outside"])
