"""What visitors may do at most, over WebSocket and HTTP together."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import Client

from broadcast import send, send_many
from broadcast.consumers import BroadcastConsumer
from broadcast.engine.process import this_process
from broadcast.models import Message
from tests.kit.waiting import until
from tests.tabs import OPEN, Browser

PEER, ANOTHER = "198.51.100.7", "198.51.100.8"
LOG, PUSH, V1 = "/broadcast/", "/broadcast/hello", "/ws?v=1"
SLOW = 0.01  # a second, which is never earned back while a test runs

Connect = Callable[..., Awaitable[Browser]]


@pytest.fixture(autouse=True)
def layers(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {}


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """`await connect(peer, user=…)` opens a WebSocket; all are gone at the end."""
    browsers: list[Browser] = []

    async def connected(peer: str = PEER, **scope: Any) -> Browser:
        browsers.append(Browser(BroadcastConsumer.as_asgi(), V1, client=[peer, 1], **scope))
        await browsers[-1].connect()
        return browsers[-1]

    yield connected
    for browser in browsers:
        await browser.leave()


def allow(settings: Any, **limits: Any) -> None:
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN, "room.*": OPEN}, "LIMITS": limits}


def posted(client: Client, peer: str = PEER, **fields: Any) -> Any:
    return client.post(LOG, {"body": "hi", **fields}, content_type="application/json", REMOTE_ADDR=peer)


# Messages


async def test_messages_of_an_address_are_counted_over_all_ways_together(settings, transactional_db, connect):
    allow(settings, MESSAGE_RATE=SLOW, MESSAGE_BURST=3)
    one, other, elsewhere = await connect(), await connect(), await connect(ANOTHER)
    assert (await one.ask(body="hi"))["type"] == (await other.hear())["type"] == "message"
    assert (await other.ask(body="hi"))["type"] == "message"
    http = sync_to_async(posted)
    assert (await http(Client())).status_code == 201
    refused = await http(Client())
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.json()["body"] == "You may send 0.01 messages a second. Wait a moment."
    assert 90 < int(refused["Retry-After"]) <= 100
    for _ in range(2):  # what others said
        await one.hear()
    told = await one.ask(body="hi", ref="00000000-0000-4000-8000-000000000001")
    assert (told["code"], told["ref"][:8]) == ("rate_limited", "00000000")
    assert 90_000 < told["retry_after_ms"] <= 100_000
    assert (await http(Client(), ANOTHER)).status_code == 201
    for _ in range(4):
        await elsewhere.hear()
    assert (await elsewhere.ask(body="hi"))["type"] == "message"
    assert await Message.objects.acount() == 5


def test_a_user_is_counted_wherever_they_come_from(settings, db):
    allow(settings, MESSAGE_RATE=SLOW, MESSAGE_BURST=2)
    ann, bob, guest = Client(), Client(), Client()
    ann.force_login(User.objects.create_user("ann"))
    bob.force_login(User.objects.create_user("bob"))
    assert [posted(ann, peer).status_code for peer in (PEER, "127.0.0.1", ANOTHER)] == [201, 201, 429]
    assert [posted(client).status_code for client in (bob, guest)] == [201, 201]


def test_what_is_refused_for_another_reason_is_not_counted(settings, db):
    allow(settings, MESSAGE_RATE=SLOW, MESSAGE_BURST=1)
    assert [posted(Client(), **wrong).status_code for wrong in ({"body": ""}, {"group": "none"}, {})][-1] == 201


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.0.0.1", ""])
def test_a_local_peer_may_be_anybody_and_is_not_limited(settings, db, peer):
    allow(settings, MESSAGE_RATE=SLOW, MESSAGE_BURST=1, ANNOUNCEMENTS_PER_MINUTE=1)
    assert [posted(Client(), peer).status_code for _ in range(3)] == [201] * 3
    assert [Client().get(PUSH, REMOTE_ADDR=peer).status_code for _ in range(3)] == [200] * 3


def test_the_sites_own_code_is_never_limited(settings, admin_client):
    allow(settings, MESSAGE_RATE=SLOW, MESSAGE_BURST=1, ANNOUNCEMENTS_PER_MINUTE=1)
    send_many(["one", "two"])
    send("three", author=User.objects.get())
    for body in ("four", "five"):
        form = {"group": "broadcast", "author": "server", "body": body}
        assert admin_client.post("/admin/broadcast/message/add/", form).status_code == 302
    assert Message.objects.count() == 5


@pytest.mark.parametrize("wrong", [None, "1", [1], 0, float("nan"), True])
def test_a_limit_that_will_not_do_is_the_default(settings, client, db, wrong):
    keys = ("MESSAGE_RATE", "MESSAGE_BURST", "ANNOUNCEMENTS_PER_MINUTE", "CONNECTIONS_PER_USER", "SUBSCRIBE_RATE")
    allow(settings, **dict.fromkeys(keys, wrong), PROXIES="1" if wrong == 0 else wrong)
    assert posted(client).status_code == 201
    assert client.get(PUSH).status_code == 200


# Announcements


def test_announcements_that_will_not_do_are_not_counted(settings, client, db):
    allow(settings, ANNOUNCEMENTS_PER_MINUTE=1)
    for _ in range(2):
        assert client.get(f"/broadcast/{'x' * 4001}", REMOTE_ADDR=PEER).status_code == 400
    assert client.get(PUSH, REMOTE_ADDR=PEER).status_code == 200


def test_announcements_are_counted_by_themselves(settings, db):
    allow(settings, MESSAGE_RATE=SLOW, MESSAGE_BURST=1, ANNOUNCEMENTS_PER_MINUTE=2)
    client = Client()
    assert client.get(PUSH, REMOTE_ADDR=PEER).status_code == 200
    assert posted(client, announce=True).status_code == 201
    refused = client.get(PUSH, REMOTE_ADDR=PEER)
    assert (refused.status_code, "Retry-After" in refused) == (429, True)
    assert "You may announce 2 times a minute." in refused.content.decode()
    assert posted(client, announce=True).status_code == 429
    assert posted(client).status_code == 201


# Connections and groups


@pytest.mark.parametrize("key", ["CONNECTIONS_PER_ADDRESS", "CONNECTIONS_PER_USER"])
async def test_one_connection_too_many_is_sent_away_until_another_has_gone(settings, transactional_db, connect, key):
    allow(settings, **{key: 2})
    user = await User.objects.acreate_user("ann") if key.endswith("USER") else None
    first, _ = await connect(user=user), await connect(user=user)
    third = await connect(user=user)
    assert third.welcome == {
        "type": "bye",
        "code": 4005,
        "reason": "You have too many connections open.",
        "reconnect": True,
        "after_ms": 30_000,
    }
    await third.is_closed(4005)
    assert (await connect(ANOTHER)).welcome["type"] == "welcome"
    await first.leave()
    again: list[str] = []
    while again[-1:] != ["welcome"]:  # the server hears of the first's end a moment later
        again.append((await connect(user=user)).welcome["type"])
    assert set(again[:-1]) <= {"bye"}


async def test_new_groups_are_counted_and_those_that_are_followed_are_not(settings, transactional_db, connect):
    allow(settings, SUBSCRIBE_RATE=SLOW, SUBSCRIBE_BURST=1, MESSAGE_BURST=1000)
    settings.BROADCAST["MAX_GROUPS"] = 4  # so many may come back at once, whatever the burst
    tab = await connect()
    for group in ("room.a", "room.b", "room.a", "room.a"):
        assert (await tab.ask(type="subscribe", group=group))["type"] == "welcome"
    await tab.say(type="unsubscribe", group="room.b")
    assert (await tab.ask(type="subscribe", group="room.c"))["type"] == "welcome"
    await tab.say(type="unsubscribe", group="room.c")
    refused = await tab.ask(type="subscribe", group="room.d")
    assert (refused["code"], refused["group"]) == ("rate_limited", "room.d")
    assert 90_000 < refused["retry_after_ms"] <= 100_000
    assert (await tab.ask(type="subscribe", group="room.a"))["type"] == "welcome"


async def test_connections_leave_nothing_behind(settings, transactional_db, connect):
    allow(settings)
    for browser in [await connect() for _ in range(3)]:
        await browser.leave()
    await until(lambda: not this_process.connections._open)


# From this machine, as whoever tries the demo comes


def test_a_thousand_announcements_in_a_row_pass(settings, client, db):
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN}}
    assert {client.get(f"/broadcast/{number}").status_code for number in range(1000)} == {200}
    assert Message.objects.count() == 1000


async def test_a_hundred_guests_say_ten_things_each_at_once(settings, transactional_db, connect):
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN}}
    guests = [await connect("127.0.0.1") for _ in range(100)]
    await asyncio.gather(*(guest.say(body=f"{number}") for guest in guests for number in range(10)))
    heard = [(await guests[0].hear())["type"] for _ in range(1000)]
    assert set(heard) == {"message"}
