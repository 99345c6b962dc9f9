"""The elements in pages of frameworks: the right group, each message once, and nothing left behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.site import Daphne

from .conftest import bundle, from_npm
from .stage import WAIT, Stage

ALL = bool(os.environ.get("ALL_FRAMEWORKS"))
PACKAGES = {
    "react": ["react", "react-dom"],
    "vue": ["vue"],
    "preact": ["preact"],
    "svelte": ["svelte"],
    "htmx2": ["htmx.org"],
    "htmx4": ["htmx4"],
    "turbo": ["@hotwired/turbo"],
    "plain": [],
}
HYPERMEDIA = ("htmx2", "htmx4", "turbo")
TURNS = 500 if ALL else 60

Case = Callable[[Stage], None]
CASES: dict[str, Case] = {}


def case(test: Case) -> Case:
    """Adds a row to the table."""
    CASES[test.__name__.replace("_", "-")] = test
    return test


def mounted(stage: Stage, *, is_first: bool = True) -> None:
    stage.open(is_first=is_first)
    stage.render(stage.room)
    if not is_first and stage.app not in HYPERMEDIA:  # theirs come with what the server drew
        stage.define()
    stage.becomes("live")
    stage.follows(stage.room, stage.news)


def works(stage: Stage) -> None:
    stage.say("Hello", group=stage.room)
    stage.shows("Hello")
    stage.type("Mine")
    stage.shows("Hello", "Mine")
    stage.say("Heard", group=stage.news)
    stage.announces("Heard")
    assert stage.log(stage.room) == ["Mine"]
    assert sorted(stage.page.evaluate("app.heard")) == ["Hello", "Mine"]


@case
def mount(stage: Stage) -> None:
    mounted(stage)
    works(stage)


@case
def mount_before(stage: Stage) -> None:
    mounted(stage, is_first=False)
    works(stage)


@case
def change(stage: Stage) -> None:
    mounted(stage)
    stage.say("Old", group=stage.room)
    stage.shows("Old")
    stage.say("Earlier", group=stage.other)
    stage.render(stage.other)
    stage.follows(stage.other, stage.news)
    stage.becomes("live")
    earlier = ["Earlier"] if stage.app in HYPERMEDIA else []  # which the server has drawn
    stage.say("Old again", group=stage.room)
    stage.say("New", group=stage.other)
    stage.shows(*earlier, "New")
    stage.type("Mine")
    stage.shows(*earlier, "New", "Mine")
    assert (stage.log(stage.room), stage.log(stage.other)) == ([], ["Mine"])


@case
def change_before(stage: Stage) -> None:
    mounted(stage, is_first=False)
    stage.render(stage.other)
    stage.follows(stage.other, stage.news)
    stage.becomes("live")
    stage.type("Mine")
    stage.shows("Mine")
    assert (stage.log(stage.room), stage.log(stage.other)) == ([], ["Mine"])


@case
def undefined(stage: Stage) -> None:
    mounted(stage)
    stage.render(None)
    stage.becomes("closed")
    stage.follows(stage.news)
    stage.say("Not for here", group="broadcast")
    stage.say("Marker", group=stage.news)
    stage.announces("Marker")
    stage.shows()
    box = stage.page.get_by_role("textbox", name="Message", exact=True)
    if box.is_visible():
        stage.type("Nowhere")
    stage.render(stage.room)
    stage.becomes("live")
    stage.say("Hello", group=stage.room)
    expect(stage.page.locator("broadcast-feed [data-body]", has_text="Hello")).to_have_count(1, timeout=WAIT)


@case
def unmount(stage: Stage) -> None:
    mounted(stage)
    stage.render(stage.room, isThere=False)
    stage.follows()
    stage.render(stage.room)
    stage.follows(stage.room, stage.news)
    works(stage)


@case
def move(stage: Stage) -> None:
    mounted(stage)
    stage.say("Before", group=stage.room)
    stage.shows("Before")
    stage.render(stage.room, isLast=True)
    assert stage.page.evaluate("document.querySelector('#root').lastElementChild.localName") == "broadcast-feed"
    stage.becomes("live")
    stage.follows(stage.room, stage.news)
    stage.say("After", group=stage.room)
    stage.shows("Before", "After")
    stage.type("Mine")
    stage.shows("Before", "After", "Mine")


@case
def clone(stage: Stage) -> None:
    mounted(stage)
    stage.say("Before", group=stage.room)
    stage.shows("Before")
    feed = "document.querySelector('#root broadcast-feed')"
    stage.page.evaluate(f"document.querySelector('#elsewhere').append({feed}.cloneNode(true))")
    stage.page.evaluate(f"document.querySelector('#elsewhere').insertAdjacentHTML('beforeend', {feed}.outerHTML)")
    stage.say("After", group=stage.room)
    for place in ("#root broadcast-feed", "#elsewhere > :nth-child(1)", "#elsewhere > :nth-child(2)"):
        stage.shows("Before", "After", within=place)
    stage.follows(stage.room, stage.news)


@case
def back(stage: Stage) -> None:
    mounted(stage)
    stage.say("Before", group=stage.room)
    stage.shows("Before")
    stage.page.evaluate("addEventListener('pageshow', (event) => (app.wasKept = event.persisted))")
    stage.page.goto(f"{stage.server.url}/blank/")
    stage.say("Meanwhile", group=stage.room)
    stage.page.go_back(wait_until="commit")
    stage.page.wait_for_function("app.wasKept === true")
    stage.shows("Before", "Meanwhile")
    stage.becomes("live")
    stage.type("Mine")
    stage.shows("Before", "Meanwhile", "Mine")


@case
def leak(stage: Stage) -> None:
    """One listener or node kept with each turn would be over the bounds."""
    mounted(stage)
    cdp = stage.page.context.new_cdp_session(stage.page)
    cdp.send("Performance.enable")

    def measured() -> dict[str, float]:
        for _ in range(2):
            cdp.send("HeapProfiler.collectGarbage")
        return {each["name"]: each["value"] for each in cdp.send("Performance.getMetrics")["metrics"]}

    def turn(count: int) -> None:
        stage.page.evaluate("([count, state]) => app.turns(count, state)", [count, stage.state])
        stage.follows()

    turn(20)
    before = measured()
    turn(TURNS)
    after = measured()
    grown = {name: after[name] - before[name] for name in ("JSEventListeners", "Nodes", "JSHeapUsedSize")}
    print(f"{stage.app}: after {TURNS} turns {grown}")
    assert grown["JSEventListeners"] < TURNS / 3
    assert grown["Nodes"] < TURNS / 3
    assert grown["JSHeapUsedSize"] < TURNS * 3000
    stage.render(stage.room)
    stage.becomes("live")
    stage.say("Still here", group=stage.room)
    expect(stage.page.locator("broadcast-feed [data-body]", has_text="Still here")).to_have_count(1, timeout=WAIT)


@case
def navigate(stage: Stage) -> None:
    only_hypermedia(stage)
    stage.walk(stage.room)
    stage.becomes("live")
    stage.say("One", group=stage.room)
    stage.shows("One")
    for _ in range(2):
        follow(stage, "hall", "hall")
        follow(stage, "back to the room", stage.room)
    stage.say("Two", group=stage.room)
    stage.shows("One", "Two")
    follow(stage, "hall", "hall")
    stage.say("Three", group=stage.room)
    stage.say("For all", group=stage.news)
    stage.announces("For all")
    stage.page.go_back(wait_until="commit")
    stage.shows("One", "Two", "Three")
    stage.announces("For all")
    stage.say("Four", group=stage.room)
    stage.shows("One", "Two", "Three", "Four")
    stage.follows(stage.room, stage.news)
    assert len(stage.sockets) == 1


@case
def refresh(stage: Stage) -> None:
    """The page is fetched again and laid over the one that is shown."""
    if stage.app not in ("htmx4", "turbo"):
        pytest.skip("has no morphing")
    stage.walk(stage.room)
    stage.becomes("live")
    stage.say("One", group=stage.room)
    stage.shows("One")
    over = "globalThis.isMorphed = true; " + (
        "Turbo.session.refresh(location.href)"
        if stage.app == "turbo"
        else "app.htmx.ajax('GET', location.href, { target: 'body', swap: 'innerMorph' })"
    )
    with stage.page.expect_response(lambda response: "/walk/" in response.url):
        stage.page.evaluate(f"() => {{ {over} }}")
    stage.say("Two", group=stage.room)
    stage.shows("One", "Two")
    stage.type("Mine")
    stage.shows("One", "Two", "Mine")
    assert stage.page.evaluate("isMorphed")
    stage.follows(stage.room, stage.news)


@case
def sign_in(stage: Stage) -> None:
    only_hypermedia(stage)
    stage.walk(stage.room)
    stage.becomes("live")
    stage.page.evaluate("globalThis.isSame = true")
    stage.page.get_by_role("button", name="Sign in").click()
    expect(stage.page.locator("#reader")).to_have_text("ann", timeout=WAIT)
    assert stage.page.evaluate("isSame")
    stage.say("For you alone", to="ann")
    stage.announces("For you alone")
    stage.becomes("live")
    stage.type("As myself")
    stage.shows("As myself")
    expect(stage.page.locator("broadcast-feed [data-author]").last).to_have_text("ann")
    assert stage.log(stage.room) == ["As myself"]


@case
def form(stage: Stage) -> None:
    """The composer stands in the page's own tree, where all forms are the library's."""
    only_hypermedia(stage)
    posts: list[str] = []
    stage.page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    stage.walk(stage.room, plain="yes")
    stage.becomes("live")
    stage.type("Once")
    stage.shows("Once")
    stage.page.get_by_role("textbox", name="Message", exact=True).fill("By the button")
    stage.page.get_by_role("button", name="Send").click()
    stage.shows("Once", "By the button")
    assert stage.log(stage.room) == ["Once", "By the button"]
    assert posts == []


def only_hypermedia(stage: Stage) -> None:
    if stage.app not in HYPERMEDIA:
        pytest.skip("has no pages of its own")


def follow(stage: Stage, link: str, room: str) -> None:
    stage.page.get_by_role("link", name=link, exact=True).click()
    expect(stage.page.get_by_role("heading", level=1)).to_have_text(room, timeout=WAIT)


SHORT = {
    "react": ("mount", "undefined", "leak"),
    "htmx2": ("clone", "sign-in", "form"),
}
CELLS = list(product(PACKAGES, CASES)) if ALL else [(app, name) for app, names in SHORT.items() for name in names]


@pytest.fixture(scope="module")
def apps(foreign_files: Path) -> None:
    names = list(dict.fromkeys(app for app, _ in CELLS))
    from_npm("esbuild", *(package for name in names for package in PACKAGES[name]))
    bundle(foreign_files, *names)


@pytest.fixture
def stage(request: pytest.FixtureRequest, apps: None, browser: Browser, foreign_site: Daphne) -> Iterator[Stage]:
    app, name = request.param
    context = browser.new_context()
    yield Stage(context.new_page(), foreign_site, app, name)
    context.close()


@pytest.mark.parametrize("stage", CELLS, indirect=True, ids=map("-".join, CELLS))
def test_a_page_of(stage: Stage) -> None:
    CASES[stage.case](stage)
    stage.is_in_order()
