"""Real browsers that find the hosts `*.test` on this machine, driven alike: Chromium, and Firefox by WebDriver BiDi."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, sync_playwright
from websockets.sync.client import ClientConnection, connect

from tests.chromium import QUIET, chromium_path
from tests.kit.waiting import wait_until
from tests.services import do_without

HOSTS = ("site.test", "a.site.test", "evil.test")
WAIT = 60  # seconds, for a machine that is busy

TEXT = "document.body?.innerText ?? ''"

PREFERENCES = {
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.disable_open_during_load": False,
    "network.dns.localDomains": ",".join(HOSTS),
    "network.lna.enabled": False,
    "network.prefetch-next": True,
    "toolkit.telemetry.enabled": False,
}


class Tab(Protocol):
    """A tab of a browser."""

    def go(self, url: str) -> None:
        """Goes to an address, as if it was typed, and does not wait for what the page does then."""

    def does(self, script: str) -> Any:
        """Does something in the page, and returns what it is."""

    def text(self) -> str:
        """What is to be read in the page; nothing while one makes way for another."""


class Browser(Protocol):
    """A browser with one person's cookies."""

    def tab(self) -> Tab: ...


class ChromiumTab:
    def __init__(self, page: Page) -> None:
        self.page = page

    def go(self, url: str) -> None:
        while True:
            try:
                self.page.goto(url, wait_until="commit")
                return
            except PlaywrightError as error:  # what the page before had begun came to its end meanwhile
                if "interrupted by another navigation" not in error.message:
                    raise

    def does(self, script: str) -> Any:
        return self.page.evaluate(script)

    def text(self) -> str:
        try:
            return str(self.does(TEXT))
        except PlaywrightError:
            return ""


class Chromium:
    def __init__(self, context: Any) -> None:
        self.context = context

    def tab(self) -> ChromiumTab:
        return ChromiumTab(self.context.new_page())


@contextmanager
def chromium(_: Path) -> Iterator[Chromium]:
    path, rules = chromium_path(), ", ".join(f"MAP {host} 127.0.0.1" for host in HOSTS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*QUIET, f"--host-resolver-rules={rules}"])
        yield Chromium(browser.new_context(ignore_https_errors=True))
        browser.close()


class Failed(Exception):
    """A command to Firefox, or a script, that came to nothing."""


class FirefoxTab:
    def __init__(self, firefox: Firefox, context: str) -> None:
        self.firefox = firefox
        self.context = context

    def go(self, url: str) -> None:
        while True:
            try:
                self.firefox.ask("browsingContext.navigate", context=self.context, url=url, wait="none")
                return
            except Failed as error:  # as above
                if "NS_BINDING_ABORTED" not in str(error):
                    raise

    def does(self, script: str) -> Any:
        target = {"context": self.context}
        done = self.firefox.ask("script.evaluate", expression=script, target=target, awaitPromise=True)
        if done["type"] != "success":
            raise Failed(done)
        return done["result"].get("value")

    def text(self) -> str:
        try:
            return str(self.does(TEXT))
        except Failed:
            return ""


class Firefox:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.asked = 0
        self.ask("session.new", capabilities={"alwaysMatch": {"acceptInsecureCerts": True}})

    def ask(self, method: str, **params: Any) -> Any:
        """The answer to a command (W3C WebDriver BiDi); events that come before are passed over."""
        self.asked += 1
        self.socket.send(json.dumps({"id": self.asked, "method": method, "params": params}))
        while (answer := json.loads(self.socket.recv(WAIT))).get("id") != self.asked:
            pass
        if answer["type"] != "success":
            raise Failed(answer)
        return answer["result"]

    def tab(self) -> FirefoxTab:
        return FirefoxTab(self, self.ask("browsingContext.create", type="tab")["context"])


@contextmanager
def firefox(directory: Path) -> Iterator[Firefox]:
    path = shutil.which("firefox-esr") or shutil.which("firefox") or do_without("needs firefox-esr on the PATH")
    directory.mkdir(parents=True, exist_ok=True)
    lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items())
    (directory / "user.js").write_text("\n".join(lines))
    log = directory / "firefox.log"
    with log.open("w") as output:
        command = (path, "--headless", "--no-remote", "--profile", str(directory), "--remote-debugging-port", "0")
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        found = wait_until(lambda: re.search(r"WebDriver BiDi listening on (\S+)", log.read_text()))
        with connect(f"{found[1]}/session", max_size=None, open_timeout=WAIT, compression=None) as socket:
            yield Firefox(socket)
    finally:
        process.terminate()
        process.wait(WAIT)


BROWSERS = {"Chromium": chromium, "Firefox": firefox}
