"""`python -m docs.ways`: every way to have a browser announce, tried in real browsers, into docs/announcing-ways.md."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import django

from tests.site import ROOT, Site

if TYPE_CHECKING:
    from tests.browser.crossing import Crossing

PAGE = ROOT / "docs" / "announcing-ways.md"

ABOUT = """# Every way to have a browser announce

Written by `python -m docs.ways`, which goes each way in real browsers on a real server.
`tests/browser/test_cross_site.py` goes them again and holds the site to this page. The rules are in
[Announcing by address](http.md#announcing-by-address).

## Where announcing is reserved

No page announces anything, in no way, from no place, whoever reads it. Tried without a `Referer`:
{tried}.

Whoever may announce and types the address, or follows a link of a mail, is asked first; so is who follows a link of a
page. Where it asks cannot be framed, its button announces once, and a reload does not announce again.

A script that runs in a page of the site itself can press that button: it is the site. What your users write must not
bring scripts along, here as everywhere.

## Where guests may announce

That is the open demo, or `"announce": "anyone"`. Who types the address announces, also if it is another site's that
leads there by a redirect. Besides, these pages had their readers announce, who had looked at the chat before and so had
its CSRF cookie:

- *other*: another site's, *sibling*: another subdomain's or another port's, *own*: the site's own, by what its users
  wrote there
- *http*: over plain http on a name other than `localhost`; *https*: over https, and on `localhost`
- **sent**: it was announced; no: it was asked for and refused; \u2013: the browser did not ask for it, or not always,
  and nothing was announced
- no / **sent**: refused as it is, announced if the page asks the browser to send no `Referer`

Over https and on `localhost` browsers say where a request comes from, and no other site's page announces. Over plain
http they do not, and with no `Referer` such a page looks like a typed address: that is what open means there.
"""
HEAD = """
### {browser}

| way | http: other | sibling | own | https: other | sibling | own |
| --- | --- | --- | --- | --- | --- | --- |
"""
ROLES = {"guest": ["http"], "user": ["http"], "announcer": ["http", "https", "localhost"]}
"""How the site is reached by whom, where announcing is reserved."""


def main() -> None:
    from tests.kit.browsers import BROWSERS

    with ProcessPoolExecutor(initializer=django.setup) as pool:
        done = list(pool.map(tried, BROWSERS))
    requests = ", ".join(f"{sum(each[role] for _, each in done)} requests of {role}s" for role in ROLES)
    PAGE.write_text(ABOUT.format(tried=requests) + "".join(table for table, _ in done))


def tried(browser: str) -> tuple[str, dict[str, int]]:
    """A browser's table, and how many requests each role made in vain where announcing is reserved."""
    from tests.browser.crossing import PLACES, REACHES, results, spots
    from tests.kit.ways import ALONE, PARTS

    with new_crossing(browser, "open") as found:
        found.attack("guest", spots())
        known, cells = found.target.requested, results(found)
    rows: dict[tuple[str, ...], list[str]] = {}
    for way in ALONE | PARTS:
        cell = {reach: tuple(cells[reach, place, way] for place in PLACES) for reach in REACHES}
        assert cell["https"] == cell["localhost"], (browser, way, cell)
        rows.setdefault(cell["http"] + cell["https"], []).append(way)
    lines = (f"| {'; '.join(ways)} | {' | '.join(row).replace('sent', '**sent**')} |\n" for row, ways in rows.items())
    requests = {}
    for role, reaches in ROLES.items():
        with new_crossing(browser, "reserved", known) as found:
            found.attack(role, spots(reaches, ["no-referrer"]))
            assert not found.target.announced, (browser, role, found.target.announced)
            requests[role] = len(found.target.requested)
    return HEAD.format(browser=browser) + "".join(lines), requests


@contextmanager
def new_crossing(browser: str, kind: str, known: set[str] | None = None) -> Iterator[Crossing]:
    """A site of a kind with a database of its own, and a browser."""
    from tests.browser.crossing import crossing

    with tempfile.TemporaryDirectory() as directory:
        yield from crossing(Site.migrated(Path(directory)), browser, kind, known)


def documented(browser: str, reach: str) -> Iterator[tuple[str, str, list[str]]]:
    """Each way and place with what the page says of it: one result, or two, without and with the referrer left out."""
    table = PAGE.read_text().split(f"### {browser}\n")[1].split("\n#")[0]
    first = 1 if reach == "http" else 4
    for line in re.findall(r"^\| (.*) \|$", table.replace("**", ""), re.MULTILINE)[2:]:
        ways, *cells = line.split(" | ")
        for way in ways.split("; "):
            for place, cell in zip(("other", "sibling", "own"), cells[first - 1 : first + 2], strict=True):
                yield way, place, cell.split(" / ")


if __name__ == "__main__":
    main()
