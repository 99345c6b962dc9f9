"""The elements under other people's style sheets: nothing of theirs comes in, and nothing of the elements goes out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, expect

from tests.site import Daphne

from .conftest import MODULES, from_npm
from .host_styles import ALL, SHEETS, put_sheets, say_all

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
def probe(browser: Browser, said: Daphne) -> Callable[..., Probes]:
    """`probe("pico", INSIDE)` tells the computed styles of all that is in there, by where it stands."""

    def probed(style: str, roots: list[str], shown: str = ALL) -> Probes:
        page = browser.new_page(reduced_motion="reduce")
        page.goto(f"{said.url}/host/{style}/?{urlencode({'shown': shown, 'fixed': 'yes'})}")
        if shown:
            page.wait_for_function("document.querySelector('broadcast-feed[data-state=live]')", timeout=WAIT)
            page.locator("broadcast-bell summary").click()
            expect(page.locator("broadcast-bell [data-list] > li")).to_have_count(2, timeout=WAIT)
        found: Probes = page.evaluate(PROBED, [roots, LOOKS])
        page.close()
        return found

    return probed


def same(expected: Probes, found: Probes) -> None:
    """Fails with each element, property and two values that differ."""
    assert list(expected) == list(found)
    values = [(place, look, value, found[place][look]) for place in expected for look, value in expected[place].items()]
    differing = [f"{place} {look}: {value} became {other}" for place, look, value, other in values if value != other]
    assert not differing, "\n".join(differing)


@pytest.fixture(scope="module")
def bare(probe: Callable[..., Probes]) -> Probes:
    """What the elements look like on a page without a style sheet."""
    return probe("none", INSIDE)


@pytest.mark.parametrize("style", [name for name in SHEETS if name != "none"])
def test_nothing_of_a_style_sheet_comes_in(probe: Callable[..., Probes], bare: Probes, style: str) -> None:
    assert len(bare) > 30 * 5
    same(bare, probe(style, INSIDE))


@pytest.mark.parametrize("style", list(SHEETS))
def test_nothing_of_the_elements_goes_out(probe: Callable[..., Probes], style: str) -> None:
    without = probe(style, OUTSIDE, shown="")
    assert len(without) > 30 * 5
    same(without, probe(style, OUTSIDE))
