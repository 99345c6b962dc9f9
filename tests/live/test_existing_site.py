"""A site that has consumers, languages and a strict CSP, to which the app is added as its pages say."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect
from websockets.sync.client import ClientConnection, connect

from tests.live.reader import WAIT, Reader, announce, steps
from tests.site import ROOT, free_port

HERE = Path(__file__).parent
PAGE = "docs/existing-site.md"
SECONDS = 60  # that a socket waits, on a machine that is busy


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Reader]:
    """The site as it was, where the app is installed and not yet used."""
    shutil.copytree(HERE / "existing_site", tmp_path / "mysite")
    site = Reader(tmp_path, Path(sys.executable).parent, PYTHONPATH=str(ROOT), DJANGO_SETTINGS_MODULE="mysite.settings")
    yield site
    site.end()


def add_the_app(shop: Reader) -> list[str]:
    """Does what the README says, or what the page for sites like this one says instead. Returns the shell's lines."""
    instead = {name: (how, text) for how, name, text in steps(PAGE)}
    shell: list[str] = []
    for how, name, text in steps("README.md"):
        if how == "shell":
            shell += text.splitlines()
        elif how == "append" and name in instead:
            shop.write(instead[name][0], name, instead.pop(name)[1])
        elif how in ("append", "file", "body"):
            shop.write(how, name, text)
    assert not instead
    shop.set_up()
    return shell


def serve(shop: Reader) -> str:
    port = free_port()
    shop.serve(f"python manage.py runserver {port}", f"http://127.0.0.1:{port}/")
    return f"127.0.0.1:{port}"


def works_as_before(host: str) -> None:
    """All that is the site's own: its socket, its group, its languages, its policy."""
    with connect(f"ws://{host}/ws/echo/", open_timeout=SECONDS) as echo, connect(f"ws://{host}/ws/echo/") as other:
        echo.send('{"type": "broadcast.message", "body": "hi"}')
        assert heard(echo) == {"echo": {"type": "broadcast.message", "body": "hi"}}
        with urlopen(f"http://{host}/order/7/", timeout=SECONDS) as response:
            assert response.read() == b"Ordered."
        assert heard(echo) == heard(other) == {"order": 7}
    with urlopen(f"http://{host}/", timeout=SECONDS) as response:
        assert response.url == f"http://{host}/en/"
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")


def heard(socket: ClientConnection) -> object:
    return json.loads(socket.recv(SECONDS))


@pytest.fixture
def complaints() -> list[str]:
    """What the browser says against the pages: breaches of the policy, failed loads, errors of scripts."""
    return []


def opened(browser: Browser, complaints: list[str], address: str) -> Page:
    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "/favicon.ico" not in str(message.location):  # the site has none
            complaints.append(f"{message.text} {message.location}")

    page = browser.new_context().new_page()
    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    return page


def toasts(page: Page, text: str) -> None:
    """Waits until the page announces the text, once."""
    toast = page.locator("broadcast-announcements article [data-body]", has_text=text)
    expect(toast).to_have_count(1, timeout=WAIT)
    expect(toast).to_be_visible(timeout=WAIT)


def test_toasts_arrive_and_all_that_was_there_goes_on(shop: Reader, browser: Browser, complaints: list[str]):
    shop.run("python manage.py migrate --verbosity 0")
    works_as_before(serve(shop))
    shop.end()
    shell = add_the_app(shop)
    host = serve(shop)
    works_as_before(host)

    pages = [opened(browser, complaints, f"http://{host}/{language}/") for language in ("en", "de")]
    writer = browser.new_context().new_page()
    announce(writer, f"http://{host}", "/en/admin/", "Hello from the admin")
    for page in pages:
        toasts(page, "Hello from the admin")
    with urlopen(f"http://{host}/lunch/", timeout=SECONDS) as response:
        assert response.read() == b"Sent."
    for page in pages:
        toasts(page, "Lunch is ready")
    for command in shell:
        shop.run(command)
    for page in pages:
        toasts(page, "The site restarts at noon")

    chat = opened(browser, complaints, f"http://{host}/broadcast/")
    expect(chat.locator("broadcast-feed")).to_have_attribute("data-state", "live", timeout=WAIT)
    expect(chat.locator("[data-messages] [data-body]")).to_have_text(
        ["Hello from the admin", "Lunch is ready", "The site restarts at noon"], timeout=WAIT
    )
    works_as_before(host)
    assert complaints == []
    assert "Traceback" not in shop.log.read_text()
