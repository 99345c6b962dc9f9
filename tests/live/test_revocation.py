"""Rights that are lost while messages go out all the time: several servers, with Redis and without any layer."""

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.cookiejar import CookieJar
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.services import Redis
from tests.site import ROOT, Daphne, Site

pytestmark = pytest.mark.alone

WAIT = 30  # seconds, for a machine that is busy
WITHIN = 5.0  # seconds, as docs/audiences.md promises

USERS = """
from django.contrib.auth.models import User
for name in ("ann", "bob"):
    User.objects.create_superuser(name, password="secret")
"""
TALK = """
import sys, threading, django
django.setup()
from django.contrib.auth.models import User
from broadcast import send_many
users = list(User.objects.order_by("username"))
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
number = 0
while not stop.wait(0.02):
    number += 1
    send_many([{"body": f"to {user} {number}", "to": user} for user in users] + [f"to all {number}"])
"""


class Browser:
    """Signs in on one server, and opens pages on any."""

    def __init__(self, server: Daphne) -> None:
        self.server = server
        self.jar = CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))
        self.get("/admin/login/")
        self.post("/admin/login/?next=/", username="ann", password="secret")
        assert "sessionid" in self.cookies

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.name: str(cookie.value) for cookie in self.jar}

    def get(self, path: str) -> None:
        self.opener.open(self.server.url + path, timeout=WAIT).close()

    def post(self, path: str, **fields: str) -> None:
        data = urllib.parse.urlencode({**fields, "csrfmiddlewaretoken": self.cookies["csrftoken"]}).encode()
        request = urllib.request.Request(self.server.url + path, data, {"Referer": self.server.url + path})
        self.opener.open(request, timeout=WAIT).close()

    def header(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}


class Page:
    """A page's connection: what it hears, and when."""

    def __init__(self, socket: Any, *groups: str) -> None:
        self.socket = socket
        self.refused = []
        for group in groups:
            self.socket.send(json.dumps({"type": "subscribe", "group": group}))
            frame = self.hear_until(lambda frame: frame["type"] in ("welcome", "error"))
            if frame["type"] == "error":
                self.refused.append(frame["group"])
            else:
                self.user = frame["user"]

    def hear(self) -> Any:
        return json.loads(self.socket.recv(WAIT))

    def hear_until(self, condition: Callable[[Any], bool]) -> Any:
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            frame = self.hear()
            if condition(frame):
                return frame
        raise AssertionError("It was not heard")

    def hears_messages_of(self, group: str) -> None:
        self.hear_until(lambda frame: frame["type"] == "message" and frame["group"] == group)


@pytest.fixture(params=["Redis", "no layer"])
def servers(request: pytest.FixtureRequest, daphne: Callable[..., Daphne]) -> tuple[Daphne, Daphne]:
    """Two servers of one site."""
    if request.param == "Redis":
        redis: Redis = request.getfixturevalue("redis_server")
        env = {"REDIS_URL": redis.url}
    else:
        env = {"DJANGO_SETTINGS_MODULE": "tests.live.layerless_settings"}
    return daphne(**env), daphne(**env)


@pytest.fixture
def opened() -> Iterator[Callable[..., Page]]:
    """`opened(server, browser, groups…)` opens a page; without a browser as a guest."""
    with ExitStack() as sockets:

        def open_page(server: Daphne, browser: Browser | None, *groups: str) -> Page:
            header = browser.header() if browser else {}
            options: dict[str, Any] = {"open_timeout": WAIT, "ping_interval": None, "max_queue": None}
            url = f"{server.ws_url}?v=1&join=none"
            return Page(sockets.enter_context(connect(url, additional_headers=header, **options)), *groups)

        yield open_page


@pytest.fixture
def talking(site: Site, servers: tuple[Daphne, Daphne]) -> Iterator[None]:
    """A process that sends to everyone and to each user all the time."""
    site.manage("shell", "-c", USERS)
    env = {"DJANGO_SETTINGS_MODULE": "project.settings"} | servers[0].env
    with subprocess.Popen([sys.executable, "-c", TALK], cwd=ROOT, env=env, stdin=subprocess.PIPE) as process:
        yield
        assert process.poll() is None
        assert process.stdin
        process.stdin.close()
        process.wait(WAIT)


def ends_in_time(page: Page, begun: float, personal: str) -> None:
    """Reads to the close; it comes in time, after a `bye`, and nothing personal after that."""
    heard = []
    with suppress(ConnectionClosed):
        while True:
            heard.append(page.hear())
    took = time.monotonic() - begun
    assert page.socket.close_code == 4004
    assert heard[-1]["type"] == "bye"
    assert personal in {frame.get("group") for frame in heard}, "Nothing went out meanwhile"
    assert took < WITHIN


@pytest.mark.usefixtures("talking")
def test_signing_out_in_one_tab_ends_the_other_ones_personal_messages(servers, opened):
    here, there = servers
    browser, elsewhere = Browser(here), Browser(there)
    pages = [opened(server, browser, "broadcast", "user.1") for server in servers]
    others = [opened(there, elsewhere, "user.1"), opened(there, None, "broadcast")]
    for page in pages:
        page.hears_messages_of("user.1")
    begun = time.monotonic()
    browser.post("/admin/logout/")
    for page in pages:
        ends_in_time(page, begun, "user.1")
    back = opened(there, browser, "broadcast", "user.1")
    assert (back.user, back.refused) == (None, ["user.1"])
    back.hears_messages_of("broadcast")
    others[0].hears_messages_of("user.1")
    others[1].hears_messages_of("broadcast")


CHANGES = {
    "password": "user.set_password('another'); user.save()",
    "deactivated": "user.is_active = False; user.save()",
    "deactivated behind Django's back": "User.objects.filter(pk=1).update(is_active=False)",
    "session deleted": "from django.contrib.sessions.models import Session; Session.objects.all().delete()",
    "session expired": "from django.contrib.sessions.models import Session; from datetime import datetime, UTC;"
    "Session.objects.update(expire_date=datetime(2020, 1, 1, tzinfo=UTC))",
}


@pytest.mark.usefixtures("talking")
def test_whatever_ends_a_sign_in_ends_it_everywhere_in_time(servers, opened, site):
    for change in CHANGES.values():
        site.manage("shell", "-c", RESTORE)
        browser = Browser(servers[0])
        pages = [opened(server, browser, "broadcast", "user.1") for server in servers]
        for page in pages:
            page.hears_messages_of("user.1")
        changing = site.spawn("manage.py", "shell", "-c", CHANGING.format(change=change), stdout=subprocess.PIPE)
        assert changing.stdout is not None
        assert "changed\n" in iter(changing.stdout.readline, "")
        begun = time.monotonic()
        for page in pages:
            ends_in_time(page, begun, "user.1")


RESTORE = """
from django.contrib.auth.models import User
user = User.objects.get(pk=1)
user.is_active = True
user.set_password("secret")
user.save()
"""
CHANGING = """
from django.contrib.auth.models import User
user = User.objects.get(pk=1)
{change}
print("changed", flush=True)
"""
