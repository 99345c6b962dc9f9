"""A site under attack from other sites' pages, a sibling's and its own users', with one person's browser between."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.kit.attacker import Attacker
from tests.kit.browsers import BROWSERS, Browser, Tab
from tests.kit.servers import self_made
from tests.kit.waiting import wait_until
from tests.kit.ways import ALONE, PARTS, POLICIES, page_url, slug
from tests.site import Daphne, free_port

QUIET_SECONDS = 5  # with no request, after which a browser has made all that it makes: only where nothing is known
REACHES = {"http": ("http", "site.test"), "https": ("https", "site.test"), "localhost": ("http", "localhost")}
PLACES = ("other", "sibling", "own")  # where the page is that makes the requests
HOSTS = {"other": "evil.test", "sibling": "a.site.test"}

SITES = {
    "reserved": {"DEBUG": "0", "OPEN_DEMO": "0", "SECRET_KEY": "long and random"},
    "open": {"DEBUG": "1", "OPEN_DEMO": "1"},
}
UNSURE = {each for each in PARTS if "speculation" in each or each == "prefetch"}
"""Ways that a browser takes when it has nothing better to do."""


NEVER = "\u2013"  # not asked for, or not always, and not announced


class Target(Daphne):
    """The site, over http and over https."""

    def __init__(self, database: Path, kind: str) -> None:
        hosts = {"ALLOWED_HOSTS": "site.test,localhost", "DJANGO_SETTINGS_MODULE": "tests.browser.cross_settings"}
        super().__init__(database, **hosts, **SITES[kind])
        self.tls_port = free_port()
        self.identity = self_made(database.parent)
        key, certificate = self.identity
        tls = f"ssl:{self.tls_port}:privateKey={key}:certKey={certificate}:interface=127.0.0.1"
        self.options = ("--endpoint", tls)
        self.read = 0  # of the server's log, in bytes
        self.messages = set[str]()

    def origin(self, reach: str) -> str:
        scheme, host = REACHES[reach]
        return f"{scheme}://{host}:{self.tls_port if scheme == 'https' else self.port}"

    @property
    def requested(self) -> set[str]:
        """The messages whose addresses were asked for, in whatever way; for one who asks all the time."""
        with self.log_file.open("rb") as log:
            log.seek(self.read)
            lines = log.read().rpartition(b"\n")[0]
        self.read += len(lines)
        self.messages.update(re.findall(r'"\w+ /broadcast/([\w.-]+)', lines.decode()))
        return self.messages

    @property
    def answered(self) -> set[str]:
        """Those whose addresses were answered with a page or a sentence, and not refused."""
        return set(re.findall(r'"GET /broadcast/([\w.-]+)\S*" 200', self.log))

    @property
    def announced(self) -> list[str]:
        """The messages in the log."""
        with sqlite3.connect(self.database) as connection:
            return [body for (body,) in connection.execute("SELECT body FROM broadcast_message ORDER BY id")]


@dataclass(frozen=True)
class Spot:
    """How the site is reached, where the page is that attacks it, and whether that page hides where it is."""

    reach: str
    place: str
    policy: str

    @property
    def mark(self) -> str:
        """What the messages begin with that come from here."""
        return f"{self.reach}.{self.place}.{self.policy or 'default'}"

    def message(self, way: str) -> str:
        return f"{self.mark}.{slug(way)}"


def spots(reaches: Iterable[str] = REACHES, policies: Iterable[str] = POLICIES) -> list[Spot]:
    return [Spot(reach, place, policy) for reach in reaches for place in PLACES for policy in policies]


def ways_at(place: str) -> list[str]:
    """The ways that can be tried in a place: a page of the site's own that plants cookies runs scripts there anyway."""
    return [way for way in ALONE | PARTS if way not in UNSURE and not (place == "own" and "planted" in way)]


class Crossing:
    """The site, the attacker's servers, and a browser; ``known`` are the messages that this browser asks for."""

    def __init__(self, target: Target, browser: Browser, known: set[str] | None, stack: ExitStack) -> None:
        self.target = target
        self.browser = browser
        self.known = known
        plain, tls = stack.enter_context(Attacker()), stack.enter_context(Attacker(target.identity))
        self.ports = {"http": plain.port, "https": tls.port}

    def enter(self, role: str, reaches: Iterable[str]) -> None:
        """Signs in, unless as a guest, and looks at the chat, which leaves a CSRF cookie."""
        tab = self.browser.tab()
        for reach in reaches:
            if role != "guest":
                self.see(tab, f"{self.target.origin(reach)}/in/{role}/", f"Hello {role}")
            self.see(tab, f"{self.target.origin(reach)}/", "broadcast")

    def see(self, tab: Tab, url: str, text: str) -> None:
        tab.go(url)
        wait_until(lambda: text in tab.text())

    def attack(self, role: str, places: list[Spot]) -> None:
        """Goes every way from every spot: first the parts of pages, all at once, then one page after the other."""
        self.enter(role, dict.fromkeys(spot.reach for spot in places))
        tabs = {spot: self.browser.tab() for spot in places}
        for way in ("", *ALONE):
            going = {spot: {way} if way else set(PARTS) for spot in places}
            going = {spot: ways.intersection(ways_at(spot.place)) for spot, ways in going.items()}
            for spot in (spot for spot, ways in going.items() if ways):
                tabs[spot].go(self.url(spot, way))
            self.wait({spot.message(each) for spot, ways in going.items() for each in ways})

    def attacker(self, reach: str, place: str = "other") -> str:
        """The origin of the attacker's pages in a place."""
        if place == "own":
            return self.target.origin(reach)
        scheme, host = REACHES[reach]
        return f"{scheme}://{host if (reach, place) == ('localhost', 'sibling') else HOSTS[place]}:{self.ports[scheme]}"

    def url(self, spot: Spot, way: str) -> str:
        """The page that goes a way, or all those of parts."""
        return page_url(
            self.attacker(spot.reach, spot.place),
            to=self.target.origin(spot.reach),
            attacker=self.attacker(spot.reach),
            domain="" if spot.reach == "localhost" else REACHES[spot.reach][1],
            mark=spot.mark,
            policy=spot.policy,
            way=way,
        )

    def wait(self, messages: set[str]) -> None:
        """Waits until the browser has asked for those that it asks for; where nothing is known, until it is quiet."""
        if self.known is not None:
            expected = messages & self.known
            wait_until(lambda: self.target.requested >= expected)
            return
        seen, since = set[str](), time.monotonic()
        while not (seen >= messages) and time.monotonic() < since + QUIET_SECONDS:
            if (now := set(self.target.requested)) != seen:
                seen, since = now, time.monotonic()
            time.sleep(0.05)


def crossing(database: Path, browser: str, kind: str, known: set[str] | None = None) -> Iterator[Crossing]:
    """A site of a kind, and a browser that has been nowhere yet."""
    with ExitStack() as stack:
        target = Target(database, kind)
        stack.callback(target.end)
        target.start()
        opened = stack.enter_context(BROWSERS[browser](database.parent / browser))
        yield Crossing(target, opened, known, stack)


def results(found: Crossing) -> dict[tuple[str, str, str], str]:
    """By reach, place and way: "sent", "no" or NEVER; two where it depends on the referrer."""
    requested, announced = found.target.requested, set(found.target.announced)

    def one(message: str) -> str:
        return "sent" if message in announced else "no" if message in requested else NEVER

    def cell(reach: str, place: str, way: str) -> str:
        both = [one(Spot(reach, place, policy).message(way)) for policy in POLICIES]
        return " / ".join(dict.fromkeys(both)) if way in ways_at(place) else "sent" if "sent" in both else NEVER

    return {
        (reach, place, way): cell(reach, place, way) for reach in REACHES for place in PLACES for way in ALONE | PARTS
    }
