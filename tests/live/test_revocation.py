"""Rights that are lost while messages go out all the time: several servers, with Redis and without any layer."""

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed

from tests.kit.clients import Browser, Client
from tests.site import Daphne, Site

pytestmark = pytest.mark.alone

WITHIN = 5.0  # seconds, as docs/audiences.md promises
SIGN_OUT, DEMOTE = "sign-out", "demotion"
CHANGES = {
    "password": "user.set_password('another'); user.save()",
    "deactivation": "user.is_active = False; user.save()",
    "deactivation behind Django's back": "User.objects.filter(pk=user.pk).update(is_active=False)",
    "deleted session": "Session.objects.filter(pk=session).delete()",
    "expired session": "Session.objects.filter(pk=session).update(expire_date=datetime(2020, 1, 1, tzinfo=UTC))",
    DEMOTE: "User.objects.filter(pk=user.pk).update(is_staff=False)",
    SIGN_OUT: "",
}
TALK = f"""
import sys, threading, django
django.setup()
from datetime import UTC, datetime
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from broadcast import send_many

users = [User.objects.create_user(name, password="secret", is_staff=True) for name in {list(CHANGES)}]
stop = threading.Event()

def talk():
    while not stop.wait(0.05):
        send_many([{{"body": "hi", "to": user}} for user in users] + [{{"body": "hi", "group": "staff"}}, "hi"])

thread = threading.Thread(target=talk)
thread.start()
print("talking", flush=True)
for line in sys.stdin:
    exec(line)
    print("changed", flush=True)
stop.set()
thread.join()
"""


class Talker:
    """A process that sends to everyone, to the staff and to each user all the time, and changes users meanwhile."""

    def __init__(self, site: Site) -> None:
        self.process = site.spawn("-c", TALK, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout
        assert self.process.stdout.readline() == "talking\n"

    def change(self, name: str, session: str) -> None:
        assert self.process.stdin
        assert self.process.stdout
        found = f"user, session = User.objects.get(username={name!r}), {session!r}"
        self.process.stdin.write(f"{found}; {CHANGES[name]}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "changed\n"


@pytest.fixture(params=["Redis", "no layer"])
def servers(request: pytest.FixtureRequest, daphne: Callable[..., Daphne], site: Site) -> tuple[Daphne, Daphne]:
    """Two servers of one site."""
    if request.param == "Redis":
        redis = request.getfixturevalue("redis_server")
        env = {"REDIS_URL": redis.url, "DJANGO_SETTINGS_MODULE": "tests.live.host_settings"}
    else:
        env = {"DJANGO_SETTINGS_MODULE": "tests.live.layerless_settings"}
    site.env |= env
    return daphne(**env), daphne(**env)


def follow(client: Client, *groups: str) -> list[str]:
    """Subscribes to groups; those that were refused."""
    refused = []
    for group in groups:
        client.say(type="subscribe", group=group)
        if client.hear_when(lambda frame: frame["type"] in ("welcome", "error"))["type"] == "error":
            refused.append(group)
    return refused


def hears(client: Client, group: str) -> None:
    client.hear_when(lambda frame: frame["type"] == "message" and frame["group"] == group)


def sent_away(client: Client, group: str) -> bool:
    """Reads to the close, which comes after a `bye`, with nothing personal after that."""
    heard = []
    with suppress(ConnectionClosed):
        while True:
            heard.append(client.hear())
    assert client.socket.close_code == 4004
    assert heard[-1]["type"] == "bye"
    return group in {frame.get("group") for frame in heard}


def test_whatever_takes_a_right_takes_it_everywhere_in_time(
    servers: tuple[Daphne, Daphne], site: Site, visit: Callable[..., Client]
) -> None:
    talker = Talker(site)

    def opened(server: Daphne, browser: Browser | None, *groups: str) -> Client:
        client = visit(server, "?v=1&join=none", additional_headers=browser.header if browser else {})
        assert follow(client, *groups) == []
        return client

    here, there = servers
    own = {name: f"user.{number}" for number, name in enumerate(CHANGES, 1)}
    browsers = {name: Browser(here, name) for name in CHANGES}
    pages = {
        name: [opened(server, browsers[name], "broadcast", own[name], "staff") for server in servers]
        for name in CHANGES
    }
    elsewhere = opened(there, Browser(there, SIGN_OUT), own[SIGN_OUT])
    guest = opened(there, None, "broadcast")
    for name, both in pages.items():
        for page in both:
            hears(page, own[name])

    begun = time.monotonic()
    for name, browser in browsers.items():
        talker.change(name, browser.cookies["sessionid"])
    browsers[SIGN_OUT].post("/admin/logout/")
    demoted = pages.pop(DEMOTE)
    for page in demoted:
        assert page.hear_when(lambda frame: frame["type"] == "error")["group"] == "staff"
    for name, both in pages.items():
        for page in both:
            assert sent_away(page, own[name]), "Nothing went out meanwhile"
    took = time.monotonic() - begun
    print(f"{took:.2f} s")
    assert took < WITHIN

    back = visit(there, "?v=1&join=none", additional_headers=browsers[SIGN_OUT].header)
    assert follow(back, "broadcast", own[SIGN_OUT]) == [own[SIGN_OUT]]
    for page, group in (
        (back, "broadcast"),
        (elsewhere, own[SIGN_OUT]),
        (guest, "broadcast"),
        (demoted[0], own[DEMOTE]),
    ):
        hears(page, group)
    assert talker.process.poll() is None
