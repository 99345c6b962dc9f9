"""The client library in a real Chromium against a real daphne."""

from __future__ import annotations

import json
from collections.abc import Callable
from inspect import signature
from typing import Any

import pytest
from daphne.server import Server as DaphneServer
from playwright.sync_api import BrowserContext, Page

from tests.chromium import sign_in
from tests.site import Daphne, Site

OpenScript = Callable[[], "Script"]

FOLLOW = """async (groups) => {
  const { connect, BroadcastError } = await import("/static/broadcast/broadcast.js");
  window.BroadcastError = BroadcastError;
  window.client = connect();
  window.heard = {};
  window.told = [];
  window.subscriptions = Object.fromEntries(groups.map((group) => {
    const subscription = client.subscribe(group);
    heard[subscription.group] = [];
    subscription.addEventListener("message", ({ detail }) => heard[subscription.group].push(detail.body));
    for (const event of ["lost", "ended"])
      subscription.addEventListener(event, ({ detail }) => told.push([event, detail.group, detail.code ?? null]));
    return [subscription.group, subscription];
  }));
}"""
SEND = """([group, body, options]) => client.send(group, body, options).then(
  (message) => [message.group, message.body, message.author, message.offset],
  (error) => [error instanceof BroadcastError, error.code, error.message],
)"""


class Script:
    """A page of the site that uses the library by hand."""

    def __init__(self, page: Page, server: Daphne) -> None:
        self.page = page
        self.sockets: list[str] = []
        self.frames: list[dict[str, Any]] = []
        page.on("websocket", self._opened)
        page.goto(f"{server.url}/static/broadcast/icon.svg")

    def _opened(self, socket: Any) -> None:
        self.sockets.append(socket.url)
        socket.on("framesent", lambda text: self.frames.append(json.loads(text)))

    def follow(self, *groups: str) -> None:
        self.page.evaluate(FOLLOW, list(groups))

    def until(self, condition: str) -> None:
        self.page.wait_for_function(condition, timeout=20_000)

    def becomes(self, state: str) -> None:
        self.until(f"client.state === {state!r}")

    def is_live(self, *groups: str) -> None:
        self.until(f"{json.dumps(groups)}.every((group) => subscriptions[group].live)")

    def hears(self, group: str, *bodies: str) -> None:
        """Waits until the group had these messages, and no others, in this order."""
        self.until(f"heard[{group!r}].length >= {len(bodies)}")
        assert self.page.evaluate("group => heard[group]", group) == list(bodies)

    def told(self) -> Any:
        return self.page.evaluate("told")

    def send(self, group: str, body: str, **options: Any) -> Any:
        return self.page.evaluate(SEND, [group, body, options])


SETTINGS = """
from project.settings import *

ANYONE = {"subscribe": "anyone", "publish": "anyone", "announce": "anyone"}
NAMES = ["broadcast", "lobby", "news", *(f"room.{number}" for number in range(20))]
BROADCAST = {
    "GROUPS": {name: ANYONE for name in NAMES}
    | {"staff": {"subscribe": "staff"}, "desk": {"publish": "anyone"}, "mine": {"subscribe": "authenticated"}}
}
"""


@pytest.fixture
def server(daphne: Callable[..., Daphne], tmp_path: Any) -> Daphne:
    """A site of many groups."""
    (tmp_path / "site_of_rooms.py").write_text(SETTINGS)
    return daphne(DJANGO_SETTINGS_MODULE="site_of_rooms", PYTHONPATH=str(tmp_path))


@pytest.fixture
def script(context: BrowserContext, server: Daphne) -> OpenScript:
    return lambda: Script(context.new_page(), server)


def announce(site: Site, group: str, *bodies: str) -> None:
    """Sends from another process."""
    site.shell(f"import broadcast; broadcast.send_many({list(bodies)!r}, group={group!r})")


def test_many_groups_share_one_socket(server: Daphne, script: OpenScript) -> None:
    names = [f"room.{number}" for number in range(20)]
    one = script()
    one.follow(*names)
    one.is_live(*names)
    assert [one.send(name, f"to {name}")[:2] for name in names] == [[name, f"to {name}"] for name in names]
    for name in names:
        one.hears(name, f"to {name}")
    assert one.sockets == [f"{server.ws_url}?v=1&join=none"]


def test_each_group_resumes_where_it_was_after_the_server_was_killed(server: Daphne, script: OpenScript) -> None:
    one, other = script(), script()
    one.follow("lobby", "news")
    one.is_live("lobby", "news")
    other.follow()
    for body in ("a", "b"):
        other.send("lobby", body)
    other.send("news", "x")
    one.hears("lobby", "a", "b")
    one.hears("news", "x")
    server.kill()
    one.becomes("reconnecting")
    one.page.evaluate("window.sent = Promise.all(['e', 'f'].map((body) => client.send('lobby', body))); 0")
    announce(server, "lobby", "c", "d")
    announce(server, "news", "y")
    server.start()
    assert one.page.evaluate("sent.then((all) => all.map(({ offset }) => offset))") == [5, 6]
    one.hears("lobby", "a", "b", "c", "d", "e", "f")
    one.hears("news", "x", "y")
    assert one.told() == []
    resumed = {frame["group"]: frame.get("after") for frame in one.frames if frame.get("type") == "subscribe"}
    assert resumed == {"lobby": 2, "news": 1}


def test_a_group_that_is_forbidden_leaves_the_others_alone(script: OpenScript) -> None:
    one = script()
    one.follow("staff", "lobby", "nowhere")
    one.is_live("lobby")
    one.until("told.length === 2")
    assert sorted(one.told()) == [["ended", "nowhere", "forbidden"], ["ended", "staff", "forbidden"]]
    one.send("lobby", "hi")
    one.hears("lobby", "hi")


def test_what_is_sent_is_answered_or_refused_with_the_reason(script: OpenScript) -> None:
    one = script()
    one.follow("lobby")
    assert one.send("lobby", "hi", author="Ann") == ["lobby", "hi", "Ann", 1]
    assert one.send("desk", "help") == ["desk", "help", "Guest", 1]
    empty = "The body must be text that is not empty; it came empty."
    assert one.send("lobby", "") == [True, "invalid", empty]
    refused = one.send("staff", "let me in")
    assert refused[:2] == [True, "forbidden"]
    assert "staff" in refused[2]
    one.hears("lobby", "hi")


def test_whoever_signs_in_is_someone_else_when_the_socket_comes_back(
    server: Daphne, script: OpenScript, context: BrowserContext
) -> None:
    server.shell("User.objects.create_superuser('ann', password='secret')")
    one = script()
    one.follow("lobby", "mine")
    one.is_live("lobby")
    one.until("told.length === 1")
    assert one.page.evaluate("client.user") is None

    sign_in(context.new_page(), server.url)
    server.kill()
    one.becomes("reconnecting")
    waiting = "window.waiting = client.send('lobby', 'as a guest', { author: 'Bob' }).catch(({ code }) => code); 0"
    one.page.evaluate(waiting)
    server.start()
    one.is_live("lobby")
    assert one.page.evaluate("waiting") == "user_changed"
    assert one.page.evaluate("client.user") == "ann"
    assert one.send("lobby", "as myself") == ["lobby", "as myself", "ann", 1]


def test_signing_in_without_a_load_makes_the_socket_that_of_the_user(
    server: Daphne, context: BrowserContext, script: OpenScript
) -> None:
    server.shell("User.objects.create_superuser('ann', password='secret')")
    one = script()
    one.follow("lobby")
    one.is_live("lobby")
    one.send("lobby", "as a guest")
    sign_in(context.new_page(), server.url)
    one.page.evaluate("client.expect('ann')")
    one.is_live("lobby")
    assert one.send("lobby", "as myself") == ["lobby", "as myself", "ann", 2]
    one.hears("lobby", "as a guest", "as myself")
    assert (len(one.sockets), one.page.evaluate("client.user"), one.told()) == (2, "ann", [])


def test_a_server_that_stops_says_when_to_come_back(server: Daphne, script: OpenScript) -> None:
    one = script()
    one.follow("lobby")
    one.is_live("lobby")
    server.stop()
    one.becomes("reconnecting")
    server.start()
    one.is_live("lobby")
    assert one.send("lobby", "back")[3] == 1
    assert one.told() == []


def test_a_server_that_has_had_enough_is_left_alone(script: OpenScript) -> None:
    one = script()
    one.follow("lobby")
    one.is_live("lobby")
    one.page.evaluate("for (let i = 0; i < 20; i++) client.send('lobby', '').catch(() => 0); 0")
    one.becomes("closed")
    assert "20 frames" in one.page.evaluate("client.reason")
    assert one.send("lobby", "hi")[:2] == [True, "closed"]
    assert len(one.sockets) == 1


def test_a_frame_that_is_far_too_large_is_refused_and_the_rest_goes_on(script: OpenScript) -> None:
    one = script()
    one.follow("lobby")
    one.is_live("lobby")
    assert one.send("lobby", "big", data={"image": "A" * 1_500_000})[:2] == [True, "too_large"]
    assert one.send("lobby", "less big", data={"image": "A" * 900_000})[:2] == [True, "too_large"]
    assert one.send("lobby", "small")[1] == "small"
    one.hears("lobby", "small")
    assert len(one.sockets) == 1


@pytest.mark.skipif(
    "websocket_max_message_size" not in signature(DaphneServer).parameters, reason="this daphne has no such option"
)
def test_a_frame_that_does_not_pass_is_given_up_and_the_rest_goes_on(server: Daphne, script: OpenScript) -> None:
    server.stop()
    server.options = ("--websocket-max-message-size=20000", "--websocket-max-frame-size=20000")
    server.start()
    one = script()
    one.follow("lobby")
    one.is_live("lobby")
    refused, code, _ = one.send("lobby", "big", data={"image": "A" * 1_000_000})
    assert refused
    assert code in ("too_large", "undeliverable")  # as the browser hears 1009, or is still sending when the link ends
    assert one.send("lobby", "small")[1] == "small"
    one.hears("lobby", "small")
    assert len(one.sockets) <= 3


def test_a_network_that_goes_and_returns(server: Daphne, script: OpenScript, context: BrowserContext) -> None:
    one = script()
    one.follow("lobby")
    one.is_live("lobby")
    context.set_offline(True)
    server.kill()
    server.start()
    one.becomes("reconnecting")
    announce(server, "lobby", "meanwhile")
    context.set_offline(False)
    one.is_live("lobby")
    one.hears("lobby", "meanwhile")


def test_a_page_in_the_back_forward_cache_misses_nothing(server: Daphne, keeping_page: Page) -> None:
    one = Script(keeping_page, server)
    one.follow("lobby")
    one.is_live("lobby")
    one.page.evaluate("addEventListener('pageshow', ({ persisted }) => (window.wasKept = persisted)); 0")
    one.page.goto(f"{server.url}/static/broadcast/base.css")
    announce(server, "lobby", "while away")
    one.page.go_back(wait_until="commit")
    one.until("window.wasKept === true")
    one.hears("lobby", "while away")
    assert one.told() == []
