"""The chat page in a real Chromium against a real daphne."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import BrowserContext, Route, expect

from tests.chromium import sign_in
from tests.kit.clients import push
from tests.site import Daphne, Site

from .conftest import Tab

OpenTab = Callable[[], Tab]

POLICY = "default-src 'self'; require-trusted-types-for 'script'"


def test_two_tabs_chat_and_a_push_appears_in_both_and_stays(server: Daphne, tab: OpenTab) -> None:
    one, two = tab().open(server.url), tab().open(server.url)
    one.name.fill("Zoë")
    one.say("Good morning")
    two.shows("Good morning")
    two.say("And to you\nall")
    push(server, "Lunch is <b>served</b> / ☕")
    for each in (one, two, tab().open(server.url)):
        each.shows("Good morning", "And to you\nall", "Lunch is <b>served</b> / ☕")
        expect(each.row("Lunch").get_by_text("announcement", exact=True)).to_be_visible()
    expect(two.row("Good morning").locator("[data-author]")).to_have_text("Zoë")
    expect(two.row("Good morning").get_by_text("guest", exact=True)).to_be_visible()
    expect(one.pending).to_have_count(0)
    one.name.fill("Zoë the cook")
    one.name.press("Tab")
    assert tab().open(server.url).name.input_value() == "Zoë the cook"


def test_a_server_that_is_killed_and_started_again_loses_and_doubles_nothing(server: Daphne, tab: OpenTab) -> None:
    one, two = tab().open(server.url), tab().open(server.url)
    said: list[str] = []
    for turn in range(2):
        said.append(f"before {turn}")
        one.say(said[-1])
        two.shows(*said)
        server.kill()
        one.becomes("reconnecting")
        for text in (f"offline {turn} a", f"offline {turn} b"):
            said.append(text)
            one.say(text)
        expect(one.pending).to_have_count(2)
        server.start()
        one.becomes("live")
        one.shows(*said)
        said.append(f"pushed {turn}")
        push(server, said[-1])
        one.shows(*said)
        two.becomes("live")
        two.shows(*said)
    expect(one.pending).to_have_count(0)
    tab().open(server.url).shows(*said)


def test_what_is_sent_between_the_page_and_its_connection_is_not_missed(server: Daphne, tab: OpenTab) -> None:
    push(server, "first")
    one = tab()

    def pushing(route: Route) -> None:
        push(server, "in between")
        route.continue_()

    one.page.route("**/broadcast/feed.js", pushing)
    one.open(server.url).shows("first", "in between")


def test_it_is_live_under_a_strict_content_security_policy(server: Daphne, tab: OpenTab) -> None:
    one = tab()
    refused: list[str] = []
    one.page.on("console", lambda said: refused.append(said.text) if "Security Policy" in said.text else None)

    def guarded(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, headers=response.headers | {"content-security-policy": POLICY})

    one.page.route(f"{server.url}/", guarded)
    one.open(f"{server.url}/")
    one.say("hello")
    push(server, "to all")
    one.shows("hello", "to all")
    assert refused == []


def test_many_at_once_keep_their_order(server: Daphne, tab: OpenTab, site: Site) -> None:
    one = tab().open(server.url)
    texts = [f"message {number}" for number in range(300)]
    site.shell(f"import broadcast; broadcast.send_many({texts})")
    one.shows(*texts)


def test_a_guest_without_the_right_reads_and_a_user_writes_under_their_name(
    daphne: Callable[..., Daphne], tab: OpenTab, site: Site, context: BrowserContext
) -> None:
    server = daphne(OPEN_DEMO="off")
    site.shell("User.objects.create_user('ann', password='secret', is_staff=True)")
    guest = tab().open(server.url)
    expect(guest.box).to_have_count(0)
    expect(guest.page.get_by_text("To write, sign in").or_(guest.page.get_by_text("Sign in to write"))).to_be_visible()

    user = Tab(context.new_page())
    sign_in(user.page, server.url)
    user.becomes("live")
    expect(user.name).to_have_count(0)
    user.say("as myself")
    guest.shows("as myself")
    expect(guest.row("as myself").locator("[data-author]")).to_have_text("ann")
    expect(guest.row("as myself").get_by_text("guest", exact=True)).to_be_hidden()
