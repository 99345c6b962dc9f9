"""A page on which a framework shows the elements, what goes over its socket, and the log behind it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from playwright.sync_api import Page, WebSocket, expect

from tests.site import Daphne

WAIT = int(os.environ.get("FRAMEWORKS_WAIT", "10000"))  # milliseconds


@dataclass
class Socket:
    """One WebSocket of the page: which groups it asked for and did not leave, and all that it ever asked for."""

    is_open: bool = True
    follows: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def sent(self, payload: str | bytes) -> None:
        frame = json.loads(payload)
        if frame.get("type") == "subscribe":
            self.follows.add(frame.get("group", "broadcast"))
            self.asked.append(frame.get("group", "broadcast"))
        elif frame.get("type") == "unsubscribe":
            self.follows.discard(frame.get("group", "broadcast"))

    def closed(self) -> None:
        self.is_open = False


class Stage:
    def __init__(self, page: Page, server: Daphne, app: str, case: str) -> None:
        self.page, self.server, self.app, self.case = page, server, app, case
        self.room, self.other, self.news = (f"room-{name}-{app}-{case}" for name in ("one", "two", "news"))
        self.sockets: list[Socket] = []
        self.complaints: list[str] = []
        self.state: dict[str, Any] = {}
        page.set_default_timeout(WAIT)
        page.on("websocket", self.opened)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    # The page

    def open(self, is_first: bool) -> None:
        """Opens the app's page; the elements are defined before it begins, or by the scripts that `define` adds."""
        self.page.goto(f"{self.server.url}/app/{self.app}/{'?first' if is_first else ''}")
        self.page.wait_for_function("globalThis.app")

    def define(self) -> None:
        for name in ("announcements", "feed"):
            self.page.add_script_tag(url=f"{self.server.url}/static/broadcast/{name}.js")

    def render(self, group: str | None, **state: bool) -> None:
        """Has the framework show the elements; a group of None is undefined there."""
        self.state = {"news": self.news, **state} | ({"group": group} if group is not None else {})
        missing = "" if group is not None else ", group: undefined"
        self.page.evaluate(f"(state) => app.render({{ ...state{missing} }})", self.state)

    def walk(self, room: str, **query: str) -> None:
        query = {"news": self.news, **query}
        self.page.goto(f"{self.server.url}/walk/{self.app}/{room}/?{urlencode(query)}")
        self.page.wait_for_function("globalThis.app")

    # What is there

    def shows(self, *bodies: str, within: str = "broadcast-feed") -> None:
        """Waits until the feed has these messages, each once, and no others."""
        expect(self.page.locator(f"{within} [data-messages] [data-body]")).to_have_text(list(bodies), timeout=WAIT)

    def announces(self, *bodies: str) -> None:
        expect(self.page.locator("broadcast-announcements article [data-body]")).to_have_text(
            list(bodies), timeout=WAIT
        )

    def becomes(self, state: str) -> None:
        expect(self.page.locator("broadcast-feed")).to_have_attribute("data-state", state, timeout=WAIT)

    def until(self, condition: Callable[[], Any]) -> None:
        """Waits for what the sockets' events bring, which come while the browser is spoken to."""
        self.page.wait_for_function("true")
        for _ in range(WAIT // 20):
            if condition():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(f"It did not come true; the sockets: {self.sockets}")

    def follows(self, *groups: str) -> None:
        """Waits until the page follows these groups over one socket, and no others."""
        self.until(lambda: [socket.follows for socket in self.sockets if socket.is_open] == [set(groups)])

    def opened(self, socket: WebSocket) -> None:
        seen = Socket()
        self.sockets.append(seen)
        socket.on("framesent", seen.sent)
        socket.on("close", lambda _: seen.closed())

    # What is said

    def say(self, body: str, **fields: str) -> None:
        """The site says something: `group=` or `to=` says where."""
        with urlopen(f"{self.server.url}/say/?{urlencode({'body': body, **fields})}", timeout=20):
            pass

    def type(self, body: str) -> None:
        box = self.page.get_by_role("textbox", name="Message", exact=True)
        box.fill(body, timeout=WAIT)
        box.press("Enter")

    def log(self, group: str) -> list[str]:
        """What the log of a group has, as far as visitors wrote it."""
        with urlopen(
            f"{self.server.url}/broadcast/?{urlencode({'format': 'json', 'group': group})}", timeout=20
        ) as answer:
            return [message["body"] for message in json.load(answer)["messages"] if message["source"] != "server"]

    def is_in_order(self) -> None:
        """Nothing has failed, and nothing went to the group that is meant where none is named."""
        assert self.complaints == []
        assert [socket.asked for socket in self.sockets if "broadcast" in socket.asked] == []
        assert self.log("broadcast") == []
