"""The elements as a site delivers them: under its policy, out of caches, from elsewhere, and without their script."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.delivering import WAIT, Elsewhere, Visitor, next_version, say
from tests.browser.delivery_site import POLICIES
from tests.site import Daphne, Site

SETTINGS = "tests.browser.delivery_settings"
COLLECT = ("collectstatic", "--no-input", "--verbosity", "0")
SWAP = """async () => {
  const page = new DOMParser().parseFromString(await (await fetch(location)).text(), "text/html");
  for (const name of ["announcements", "bell", "feed"].map((kind) => `broadcast-${kind}:not([shadow])`))
    document.querySelector(name).replaceWith(page.querySelector(name));
}"""
ADD = """(addresses) => Promise.all(addresses.map((src) => new Promise((onload, onerror) => {
  document.head.append(Object.assign(document.createElement("script"), { src, onload, onerror }));
})))"""
POLICED = [
    *(("nonces", "csp_nonce"), ("nonces", "lazy_nonce")),
    *(("strict-dynamic", "csp_nonce"), ("trusted-types", "csp_nonce")),
]

Serve = Callable[..., Daphne]


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    expect.set_options(timeout=WAIT)
    yield
    expect.set_options(timeout=None)


@pytest.fixture
def serve(daphne: Serve) -> Serve:
    return partial(daphne, DJANGO_SETTINGS_MODULE=SETTINGS)


@pytest.fixture
def visitor(context: BrowserContext) -> Iterator[Callable[[], Visitor]]:
    """`visitor()` is a new page; complaints of the browser fail the test."""
    visitors: list[Visitor] = []

    def opened() -> Visitor:
        visitors.append(Visitor(context.new_page()))
        return visitors[-1]

    yield opened
    assert [each.complaints for each in visitors] == [[] for _ in visitors]


def is_as_where_all_is_allowed(server: Daphne, visitor: Callable[[], Visitor], may_parse: bool = True) -> Visitor:
    """All elements are live and look as on a page that has no policy and its files from its own origin."""
    say(server, "served")
    free, guarded = visitor().go(f"{server.url}/free/"), visitor().go(f"{server.url}/all/")
    say(server, "heard")
    for each in (free, guarded):
        each.shows("served", "heard")
        each.is_live()
    styles = guarded.styles()
    assert styles == free.styles()
    assert styles[::2] == styles[1::2]
    if may_parse:
        guarded.page.evaluate(SWAP)
        guarded.shows("served", "heard")
        assert guarded.styles() == styles
    for shadow in ("", "none"):
        guarded.part("announcements", "article button", shadow).first.click()
        expect(guarded.part("announcements", "article [data-body]", shadow)).to_have_text(["heard"])
    return guarded


@pytest.mark.parametrize(("policy", "nonce"), POLICED)
def test_under_a_policy_all_is_live_and_looks_as_it_should(serve: Serve, visitor, policy: str, nonce: str) -> None:
    server = serve(POLICY=policy, NONCE=nonce)
    with urlopen(f"{server.url}/all/") as answer:
        expected = POLICIES[policy].replace("{nonce}", "'nonce-")
        assert answer.headers["Content-Security-Policy"].startswith(expected.partition("'nonce-")[0])
    guarded = is_as_where_all_is_allowed(server, visitor, may_parse=policy != "trusted-types")
    expect(guarded.page).to_have_title("heard")  # by the inline script, which imports the client library
    chat = visitor().go(server.url)
    chat.is_live()
    expect(chat.page.locator("[data-body]")).to_have_text(["served", "heard"])
    expect(chat.page.locator("body")).to_have_css("margin", "0px")
    expect(chat.page.locator("[data-view]")).to_have_css("display", "flex")
    chat.page.get_by_role("textbox", name="Message", exact=True).fill("written")
    chat.page.get_by_role("button", name="Send").click()
    expect(chat.page.locator("[data-messages] [data-body]").last).to_have_text("written")


# Static files of another origin


@pytest.fixture
def elsewhere() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://localhost:{server.server_port}/static/"
        server.shutdown()


def test_from_another_origin_only_the_library_needs_cors(serve: Serve, context, elsewhere: str, monkeypatch) -> None:
    server, visitors = serve(STATIC_URL=elsewhere), []

    def visitor() -> Visitor:
        visitors.append(Visitor(context.new_page()))
        return visitors[-1]

    guarded = is_as_where_all_is_allowed(server, visitor)
    expect(guarded.page).to_have_title("Delivery")
    assert visitors[0].complaints == []
    assert "CORS" in guarded.complaints[0]
    assert all(f"{elsewhere}broadcast/broadcast.js" in each or "ERR_FAILED" in each for each in guarded.complaints)
    monkeypatch.setattr(Elsewhere, "is_open", True)
    guarded.complaints.clear()
    guarded.page.reload()
    say(server, "imported")
    expect(guarded.page).to_have_title("imported")
    assert guarded.complaints == []


# Upgrades


def scripts(page: Page) -> set[str]:
    return {each.get_attribute("src") for each in page.locator("script[src]").all()}


def test_an_upgrade_under_names_that_are_kept_for_years(serve: Serve, site: Site, visitor, tmp_path: Path) -> None:
    production = {"DEBUG": "0", "SECRET_KEY": "long and random", "ALLOWED_HOSTS": "127.0.0.1"}
    production |= {"STATIC_ROOT": str(tmp_path / "static"), "KEPT": str(tmp_path / "kept.html")}
    site.env |= production | {"DJANGO_SETTINGS_MODULE": SETTINGS}
    site.manage(*COLLECT)
    server = serve(**production)
    say(server, "one")
    one = visitor().go(f"{server.url}/all/")
    one.shows("one")
    before = scripts(one.page)
    with urlopen(f"{server.url}/all/") as page, urlopen(f"{server.url}{min(before)}") as script:
        (tmp_path / "kept.html").write_bytes(page.read())
        assert "immutable" in script.headers["Cache-Control"]
    one.go(f"{server.url}/all/").shows("one")
    assert server.log.count(f'"GET {max(before)}"') == 1  # the browser keeps it

    server.env["STATIC_FILES"] = site.env["STATIC_FILES"] = str(next_version(tmp_path))
    site.manage(*COLLECT)
    server.stop()
    server.start()
    say(server, "two")
    one.shows("one", "two")  # a page that stayed open
    new, kept = (visitor().go(f"{server.url}{path}") for path in ("/all/", "/kept/"))
    for each in (new, kept):
        each.shows("one", "two")
        each.is_live()
    assert (scripts(new.page) & before, scripts(kept.page)) == (set(), before)
    kept.page.evaluate(ADD, sorted(scripts(new.page)))  # as Turbo and htmx do with what the next page has in its head
    say(server, "three")
    kept.shows("one", "two", "three")


# Requests


@pytest.mark.parametrize(("path", "most"), [("/some/", 3), ("/", 5)], ids=["announcements", "chat"])
def test_a_first_visit_takes_few_requests_and_none_to_another_host(serve: Serve, visitor, path: str, most: int) -> None:
    server, asked = serve(), []
    say(server, "one")
    first = visitor()
    for event in ("request", "websocket"):
        first.page.on(event, lambda request: asked.append(request.url))
    with first.page.expect_websocket() as socket:
        first.go(f"{server.url}{path}")
    say(server, "two")
    expect(first.page.locator("[data-body]")).to_have_text(["one", "two"])
    first.page.wait_for_load_state("networkidle")
    made = re.findall(r'"(?:GET|WSCONNECT) (\S+)', server.log)
    assert len(made) - 1 <= most, made
    assert socket.value.url in asked
    assert {urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {f"127.0.0.1:{server.port}"}


# Back and forward, and without the script


@pytest.mark.parametrize("path", ["/", "/all/"])
def test_a_page_that_the_browser_kept_goes_on_where_it_was(serve: Serve, keeping_page: Page, path: str) -> None:
    server, one = serve(), Visitor(keeping_page)
    say(server, "before")
    one.go(f"{server.url}{path}").is_live()
    box = one.page.get_by_role("textbox", name="Message", exact=True).first
    box.fill("a draft")
    one.page.evaluate("addEventListener('pageshow', ({ persisted }) => { document.body.dataset.kept = persisted })")
    one.go(f"{server.url}/some/")
    say(server, "while away")
    one.page.go_back(wait_until="commit")
    expect(one.page.locator("body")).to_have_attribute("data-kept", "true")
    one.is_live()
    say(server, "back")
    expect(box).to_have_value("a draft")
    if path == "/":
        expect(one.page.locator("[data-body]")).to_have_text(["before", "while away", "back"])
    else:
        one.shows("before", "while away", "back")
    assert one.complaints == []


def test_with_the_script_blocked_what_was_served_can_be_read_and_its_forms_sent(serve: Serve, context) -> None:
    server, page = serve(), context.new_page()
    page.route("**/*.js", lambda route: route.abort())
    say(server, "one")
    say(server, "two")
    one = Visitor(page).go(f"{server.url}/all/")
    one.shows("one", "two")
    for shadow in ("", "none"):
        one.go(f"{server.url}/all/")
        expect(one.part("feed", "[data-messages] [data-body]", shadow).last).to_be_visible()
        one.part("bell", "summary", shadow).click()
        expect(one.part("bell", "li [data-body]", shadow)).to_have_text(["two", "one"])
        expect(one.part("bell", "li", shadow).first).to_be_visible()
        one.part("bell", "summary", shadow).click()
        with page.expect_response("**/dismissed*") as response:
            one.part("announcements", "article", shadow).filter(has_text="one").get_by_role("button").click()
        assert response.value.status == 303
        expect(one.part("announcements", "article [data-body]", shadow)).to_have_text(["two"])
        one.part("feed", "textarea", shadow).fill("written")
        one.part("feed", "[type=submit]", shadow).click()
        expect(one.part("feed", "[data-messages] [data-body]", shadow)).to_have_text(["one", "two", "written"])
    one.go(server.url).page.get_by_role("textbox", name="Message", exact=True).fill("written")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("[data-messages] [data-body]")).to_have_text(["one", "two", "written"])
