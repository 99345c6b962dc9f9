"""The consumer, spoken to as a server speaks to it: bare, and behind the host site's whole stack."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY, Mock

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser, User
from django.core.management import call_command
from django.db import OperationalError
from django.urls import re_path

from broadcast import asend, asend_many, consumers
from broadcast.access.identity import draft_by
from broadcast.audiences import signed_name
from broadcast.consumers import FORBIDDEN, MAX_STRIKES, TOO_MANY_BAD_FRAMES, BroadcastConsumer
from broadcast.engine import inbox
from broadcast.engine.frames import INTERNAL_ERROR
from broadcast.engine.process import this_process
from broadcast.engine.storage import log
from broadcast.engine.transports.asgi import AsgiTransport
from broadcast.exceptions import InvalidMessage, LogUnavailable, OutcomeUnknown
from broadcast.models import Group, Message
from project.asgi import application as whole_stack
from tests.kit.log import Stranger, levels
from tests.kit.waiting import until
from tests.tabs import OPEN, WAIT, Browser, revalidator, session_headers, signed_in

WELCOME = {"author": "Server", "body": "Welcome!"}
V1 = "/ws?v=1"
REF = "00000000-0000-4000-8000-000000000001"
BARE_SCOPE = {"type": "websocket", "path": "/ws", "headers": [], "query_string": b""}


@pytest.fixture(autouse=True)
def an_open_site(settings) -> None:
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN}}
    # A new layer, for that of channels_redis.core is for one loop.
    settings.CHANNEL_LAYERS = {**settings.CHANNEL_LAYERS}


@pytest.fixture(params=["bare", "stack"])
def application(request: pytest.FixtureRequest) -> Any:
    return BroadcastConsumer.as_asgi() if request.param == "bare" else whole_stack


@pytest.fixture(params=[pytest.param("log", marks=pytest.mark.django_db(transaction=True)), "live only"])
def with_or_without_log(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def browser() -> AsyncIterator[Callable[..., Awaitable[Browser]]]:
    """`await browser(path, …)` connects one; all are gone at the end."""
    browsers: list[Browser] = []

    async def connected(path: str = "/ws", application: Any = None, **options: Any) -> Browser:
        visitor = Browser(application or BroadcastConsumer.as_asgi(), path, **options)
        browsers.append(visitor)
        await visitor.connect()
        return visitor

    yield connected
    for visitor in browsers:
        await visitor.leave()


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The app's complaints so far."""
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


# Greeting and relaying


@pytest.mark.usefixtures("with_or_without_log")
async def test_each_is_greeted_and_hears_everyone_itself_included(application, browser):
    ann, bob = await browser("/ws", application), await browser("/ws/", application)
    assert ann.welcome == bob.welcome == WELCOME
    await ann.say(author="Ann", body="hi")
    assert await ann.hear() == await bob.hear() == {"author": "Ann", "body": "hi"}
    await bob.line.send_to(text_data='{"body": "Grüße, \\ud83d\\ude00"}')
    for visitor in (ann, bob):
        assert await visitor.line.receive_from(WAIT) == '{"author":"Guest","body":"Grüße, 😀"}'


@pytest.fixture
def before_migrate(transactional_db) -> Iterator[None]:
    call_command("migrate", "broadcast", "zero", verbosity=0)
    yield
    call_command("migrate", "broadcast", verbosity=0)


@pytest.mark.parametrize("publish", ["anyone", "perm:broadcast.add_message"])
async def test_before_migrate_permissions_are_there_and_no_log(before_migrate, browser, errors, settings, publish):
    settings.BROADCAST = {"GROUPS": {"broadcast": {**OPEN, "publish": publish}}}
    for path in (V1, "/ws?v=1&after=3&epoch=abc"):
        visitor = await browser(path, user=await User.objects.acreate_superuser(path))
        assert visitor.welcome == {**visitor.welcome, "epoch": "", "offset": None, "recovered": False}
        for _ in range(3):
            assert (await visitor.ask(body="hi"))["offset"] is None
        await visitor.hears("broadcast")
        await visitor.leave()
    assert len(errors()) == 1
    assert "manage.py migrate" in errors()[0]


async def test_a_bare_scope_is_enough():
    """Type, path, headers and query string: no url_route, user, session, client or subprotocols."""
    line = ApplicationCommunicator(BroadcastConsumer.as_asgi(), BARE_SCOPE)
    await line.send_input({"type": "websocket.connect"})
    assert (await line.receive_output(WAIT))["type"] == "websocket.accept"
    assert json.loads((await line.receive_output(WAIT))["text"]) == WELCOME
    await line.send_input({"type": "websocket.disconnect", "code": 1001})
    await line.wait(WAIT)


async def test_a_client_that_goes_away_while_it_is_written_to_ends_the_consumer_quietly():
    """Servers tell so by an OSError from ``send``."""
    events = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "{}"}]

    async def receive() -> Any:
        return events.pop(0)

    async def send(event: Any) -> None:
        if event["type"] == "websocket.send":
            raise OSError("gone")

    await BroadcastConsumer.as_asgi()(BARE_SCOPE, receive, send)
    assert events == [{"type": "websocket.receive", "text": "{}"}]


async def test_a_subclass_may_greet_and_join_otherwise(browser, settings):
    settings.BROADCAST = {"GROUPS": {"news": OPEN}}

    class News(BroadcastConsumer):
        group = "news"
        greeting = "Read all about it"

    reader = await browser("/elsewhere", News.as_asgi(), subprotocols=["broadcast.v1"])
    assert (reader.welcome["group"], reader.welcome["body"]) == ("news", "Read all about it")
    assert (await reader.ask(body="hi"))["group"] == "news"


@pytest.mark.parametrize("path", ["/ws/staff.room", "/ws/staff.room/", "/ws/staff.room?v=1"])
async def test_the_address_names_the_group(application, browser, settings, path):
    settings.BROADCAST = {"GROUPS": {"staff.room": OPEN}}
    visitor = await browser(path, application)
    await asend("elsewhere")
    await visitor.hears("staff.room")


async def test_a_route_of_the_sites_own_may_name_the_group(browser, settings):
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN, "news": OPEN}}
    routes = [re_path(path, BroadcastConsumer.as_asgi()) for path in (r"^live/(?P<group>\w+)$", r"^live$")]
    for path, group in (("/live/news?v=1", "news"), ("/live?v=1", "broadcast")):
        assert (await browser(path, URLRouter(routes))).welcome["group"] == group


# broadcast.v1; docs/protocol.md has its frames, and tests/test_protocol.py plays them


@pytest.mark.parametrize(
    ("path", "offered", "chosen", "first"),
    [
        ("/ws", ["chat", "broadcast.v1"], "broadcast.v1", "type"),
        ("/ws", ["broadcast.v1", "broadcast.v1.batch"], "broadcast.v1.batch", "type"),
        (V1, [], None, "type"),
        ("/ws?v=1&join=", [], None, "type"),
        ("/ws?v=1&join=all", [], None, "type"),
        ("/ws", ["chat"], None, "author"),
        ("/ws?v=2", [], None, "author"),
        ("/ws?v=", [], None, "author"),
    ],
)
async def test_all_join_and_v1_is_spoken_to_whoever_asks_for_it(application, browser, path, offered, chosen, first):
    visitor = await browser(path, application, subprotocols=offered)
    assert visitor.subprotocol == chosen
    assert next(iter(visitor.welcome)) == first
    assert first == "type" or visitor.welcome == WELCOME


# Resuming


async def sent(*bodies: str) -> str:
    """Sends, and returns the epoch."""
    await asend_many(bodies)
    return (await Group.objects.aget(name="broadcast")).epoch


@pytest.mark.parametrize(
    ("query", "offset", "recovered", "replayed"),
    [
        ("&after=1&epoch={epoch}", 1, True, [2, 3]),
        ("&after=3&epoch={epoch}", 3, True, []),
        ("&after=7&epoch={epoch}", 3, False, []),
        ("", 3, False, []),
    ],
)
async def test_a_position_in_the_address(application, browser, transactional_db, query, offset, recovered, replayed):
    epoch = await sent("one", "two", "three")
    visitor = await browser(V1 + query.format(epoch=epoch), application)
    welcome = visitor.welcome
    assert (welcome["epoch"], welcome["offset"], welcome["recovered"]) == (epoch, offset, recovered)
    assert [(await visitor.hear())["offset"] for _ in replayed] == replayed
    await visitor.hears_nothing()
    plain = await browser("/ws?" + query.format(epoch=epoch), application)
    assert plain.welcome == WELCOME
    assert [(await plain.hear())["body"] for _ in replayed] == ["one", "two", "three"][3 - len(replayed) :]
    await asend("four")
    assert (await visitor.hear())["offset"] == 4
    assert await plain.hear() == {"author": "Server", "body": "four"}


# Acknowledgements


async def test_a_repeated_ref_is_answered_to_its_sender_alone(browser, transactional_db):
    ann, bob = await browser(V1), await browser(V1)
    first = await ann.ask(body="hi", ref=REF)
    assert await bob.hear() == first
    assert await ann.ask(body="hi", ref=REF) == {**first, "duplicate": True}
    await ann.leave()
    back = await browser(V1)
    assert await back.ask(body="hi", ref=REF) == {**first, "duplicate": True}
    for visitor in (back, bob):
        await visitor.hears_nothing()
    assert (await back.ask(body="hi", ref=REF, author="Another"))["offset"] == 2
    assert await Message.objects.acount() == 2


async def test_a_repeated_ref_is_shown_once_to_a_plain_client(browser, transactional_db):
    ann, hi = await browser("/ws"), {"author": "Guest", "body": "hi"}
    for _ in range(2):
        await ann.say(body="hi", ref=REF)
        await ann.say(body="hi", ref=REF)
    assert await ann.hear() == hi
    await ann.hears("broadcast")
    back = await browser("/ws")
    assert await back.ask(body="hi", ref=REF) == hi
    await back.hears("broadcast")


@pytest.mark.parametrize("is_lost", [True, False])
async def test_who_begins_a_log_that_no_hub_finds_then_is_told_to_send_again(
    browser, transactional_db, monkeypatch, is_lost
):
    ann, append = await browser(V1), this_process.log.append

    def appended(*args: Any) -> Any:
        result = append(*args)
        if is_lost:  # an older backup is restored at that moment
            Message.objects.all().delete()
            Group.objects.all().delete()
        else:
            monkeypatch.setattr(this_process.log, "heads", Mock(side_effect=LogUnavailable("the database is away")))
        return result

    with monkeypatch.context() as patch:
        patch.setattr(this_process.log, "append", appended)
        answer = await ann.ask(body="hi", ref=REF)
    assert (answer["type"], answer.get("code"), answer["ref"]) == ("error", "unavailable", REF)
    assert "may or may not" in answer["body"]
    monkeypatch.undo()
    answer = await ann.ask(body="hi", ref=REF)
    assert (answer["offset"], answer["ref"]) == (1, REF)


async def test_a_ref_is_acknowledged_where_its_sender_does_not_follow_too(browser, transactional_db, settings):
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN, "desk": OPEN}}
    ann, desk = await browser(V1), await browser("/ws/desk?v=1")
    answer = await ann.ask(body="help", group="desk", ref=REF)
    assert (await desk.hear()) | {"duplicate": True} == answer
    await ann.hears_nothing()
    await ann.say(body="no answer wanted", group="desk")
    await ann.hears_nothing()


# Bad input

ONE_OF_EACH = [
    ("hi", "invalid", "A frame must be a JSON object; this is not JSON"),
    (None, "invalid", "A frame must be text; it came as binary."),
    (json.dumps({"body": "x" * 4001}), "too_large", "The body may have 4000 characters; it came with 4001."),
    ('{"body": "hi", "group": "nowhere"}', "forbidden", "You may not write to 'nowhere', or there is no such group."),
]


@pytest.mark.parametrize(("text", "code", "said"), ONE_OF_EACH)
async def test_bad_input_is_answered_and_the_connection_lives_on(application, browser, caplog, text, code, said):
    visitor, another = await browser(V1, application), await browser(V1)
    caplog.clear()
    await visitor.line.send_input({"type": "websocket.receive", "text": text, "bytes": None if text else b"{}"})
    answer = await visitor.hear()
    assert (answer["type"], answer["author"], answer["code"]) == ("error", "Server", code)
    assert answer["body"].startswith(said)
    await visitor.hears_nothing()
    await another.hears_nothing()
    [line] = caplog.messages
    who = "a guest" if "BROADCAST[" in line else "a visitor"
    assert line.startswith(f"Refused {who} ({code}): {said}")
    assert levels(caplog) == ["WARNING" if "BROADCAST[" in line else "INFO"]


async def test_plain_clients_are_told_as_a_message_of_the_server_and_get_no_pong(application, browser):
    visitor = await browser("/ws", application)
    await visitor.say(type="ping")
    await visitor.line.send_to(text_data="hi")
    assert await visitor.hear() == {"author": "Server", "body": ANY}
    assert await visitor.ask(body="hi") == {"author": "Guest", "body": "hi"}


async def test_an_error_repeats_the_ref_of_its_frame(browser):
    visitor = await browser(V1)
    for wrong in ({"body": ""}, {"group": "nowhere"}, {"author": "Server"}):
        assert (await visitor.ask(**{"body": "hi", "ref": REF, **wrong}))["ref"] == REF


# How much one client may ask for


async def test_who_speaks_too_fast_is_told_when_to_go_on(application, browser, settings):
    settings.BROADCAST = {**settings.BROADCAST, "MESSAGE_RATE": 0.01, "MESSAGE_BURST": 2}
    visitor = await browser(V1, application)
    for body in ("one", "two"):
        assert (await visitor.ask(body=body))["body"] == body
    answer = await visitor.ask(body="three", ref=REF)
    assert 90_000 < answer.pop("retry_after_ms") <= 100_000
    reason = "You may send 0.01 frames a second. Wait a moment."
    assert answer == {"type": "error", "author": "Server", "body": reason, "code": "rate_limited", "ref": REF}
    for text in ("", "x", "[]", None, *["{}"] * (MAX_STRIKES - 5)):
        await visitor.line.send_input({"type": "websocket.receive", "text": text})
        assert (await visitor.hear())["code"] == "rate_limited"
    assert (await visitor.hear())["type"] == "bye"  # for refused frames count as bad ones


@pytest.mark.parametrize("path", ["/ws", V1])
async def test_twenty_bad_frames_in_a_row_are_enough(application, browser, path):
    visitor = await browser(path, application)
    for _ in range(MAX_STRIKES):
        assert (await visitor.ask(body=""))["author"] == "Server"
    if path == V1:
        reason = "20 frames in a row were not acceptable."
        bye = {"type": "bye", "code": TOO_MANY_BAD_FRAMES, "reason": reason, "reconnect": False, "after_ms": None}
        assert await visitor.hear() == bye
    await visitor.is_closed(TOO_MANY_BAD_FRAMES)
    await visitor.line.wait(WAIT)


async def test_a_message_that_is_sent_forgives_the_bad_ones_and_a_ping_one_of_them(browser, settings):
    settings.BROADCAST = {**settings.BROADCAST, "MESSAGE_BURST": 1000}
    visitor = await browser(V1)
    for _ in range(2):
        for _ in range(MAX_STRIKES - 1):
            assert (await visitor.ask(body=""))["type"] == "error"
        assert (await visitor.ask(body="hi"))["type"] == "message"
    for _ in range(MAX_STRIKES - 1):
        assert (await visitor.ask(body=""))["type"] == "error"
    await visitor.hears_nothing()
    assert [(await visitor.ask(body=""))["type"] for _ in range(2)] == ["error", "error"]
    assert (await visitor.hear())["type"] == "bye"


async def test_what_comes_with_a_message_is_not_looked_into_for_who_may_not_write(browser, settings):
    settings.BROADCAST = {"GROUPS": {"broadcast": {"subscribe": "anyone"}}}
    visitor = await browser(V1)
    assert (await visitor.ask(body="hi", data=[]))["code"] == "forbidden"
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN}}
    assert (await visitor.ask(body="hi", data=[]))["body"].startswith("The data must be a JSON object")


# Who may do what


@pytest.mark.parametrize(("user", "author"), [(None, "Ser\u200bver"), (User(pk=1, username="server"), "Ann")])
async def test_nobody_speaks_as_the_site(browser, user, author):
    visitor = await browser(V1, user=user)
    answer = await visitor.ask(body="I am the site", author=author)
    assert (answer["type"], answer["code"]) == ("error", "forbidden")
    assert "is the name under which this site speaks" in answer["body"]


@pytest.mark.parametrize("user", [None, AnonymousUser(), User(pk=1, username="ann", is_active=False)])
async def test_guests_are_marked_and_can_say_no_more_of_themselves_than_a_name(browser, user):
    visitor = await browser(V1, user=user)
    assert visitor.welcome["user"] is None
    forged = {"source": "server", "guest": False, "user": "root", "offset": 99, "sent_at": "now", "epoch": "x"}
    message = await visitor.ask(body="hi", author="Ann", type="message", duplicate=True, origin="me", **forged)
    assert (message["author"], message["source"], message["guest"]) == ("Ann", "guest", True)
    assert (message["offset"], message["sent_at"]) == (None, None)
    assert message.keys() == {"type", "author", "body", "group", "offset", "sent_at", "source", "ref", "guest"}


async def test_by_default_guests_read_and_users_write_under_their_own_name(browser, transactional_db, settings, caplog):
    """Through the whole stack, with the cookie of a real sign-in."""
    settings.BROADCAST = {}
    ann = await User.objects.acreate_user("ann", password="secret", is_staff=True)
    guest = await browser(V1, whole_stack)
    user = await browser(V1, whole_stack, headers=session_headers((await signed_in()).cookies))
    assert (guest.welcome["user"], user.welcome["user"]) == (None, "ann")
    refusal = await guest.ask(body="hi")
    assert refusal["code"] == "forbidden"
    assert refusal["body"].endswith("or there is no such group. Sign in if you have an account.")
    assert 'BROADCAST["GROUPS"]["broadcast"]["publish"] is "authenticated"' in caplog.text
    for claimed in ("bob", "Server", "root"):
        message = await user.ask(body="hi", author=claimed)
        assert (message["author"], message["source"]) == ("ann", "user")
        assert "guest" not in message
        assert await guest.hear() == message
    assert [message.user_id async for message in Message.objects.all()] == [ann.pk] * 3


async def test_the_site_may_name_its_users_and_ask_the_database_for_it(browser, transactional_db, settings, caplog):
    """The name is looked up where the database may be asked, and again once revalidation has found the user anew."""
    ann = await User.objects.acreate_user("ann", last_name="Smith")
    found = {"AUTHOR": lambda user: User.objects.get(pk=user.pk).last_name, "GROUPS": {"broadcast": OPEN}}
    settings.BROADCAST = found
    visitor = await browser(V1, user=ann)
    assert visitor.welcome["user"] == (await visitor.ask(body="hi"))["author"] == "Smith"
    await User.objects.aupdate(last_name="Jones")
    revalidator().on_event({"users": None})
    await until(lambda: ann not in [each.user for each in revalidator().connections if each.user is ann])
    assert (await visitor.ask(body="hi"))["author"] == "Jones"

    settings.BROADCAST = {**found, "AUTHOR": Mock(side_effect=OperationalError("gone from db.local"))}
    stranded = await browser(V1, user=ann)
    assert stranded.welcome["reason"] == "Who you are cannot be looked up right now. Try again in a moment."
    settings.BROADCAST = {**found, "AUTHOR": "tests.no_such_module"}
    visitor = await browser(V1, user=ann)
    assert visitor.welcome["user"] == (await visitor.ask(body="hi"))["author"]
    assert visitor.welcome["user"].startswith("User ")


async def test_a_permission_that_cannot_be_looked_up_is_not_given(browser, settings):
    settings.BROADCAST = {"GROUPS": {"broadcast": {**OPEN, "publish": "perm:broadcast.add_message"}}}
    visitor = await browser(V1, user=User(pk=1, username="ann"))
    answer = await visitor.ask(body="hi", ref=REF)
    assert (answer["code"], answer["ref"], answer["retry_after_ms"]) == ("unavailable", REF, 1000)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/ws/staff?v=1", "You may not receive messages of 'staff', or there is no such group."),
        ("/ws/ticket.1:1abc:x?v=1", "The signed name of 'ticket.1' is not for you"),
        ("/ws/no%20where?v=1", "You may not receive messages of 'no where', or there is no such group."),
        ("/ws?v=1&after=-1", "In the address: The offset must be a whole number from 0 on"),
        ("/ws/staff", None),
    ],
)
async def test_a_group_that_is_closed_or_makes_no_sense_says_so_and_closes(application, browser, path, reason):
    visitor = Browser(application, path)
    await visitor.open()
    if reason:  # plain clients get the code alone
        bye = await visitor.hear()
        assert bye.pop("reason").startswith(reason)
        assert bye == {"type": "bye", "code": FORBIDDEN, "reconnect": False, "after_ms": None}
    await visitor.is_closed(FORBIDDEN)


# Several groups


@pytest.fixture
def rooms(settings) -> None:
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN, "room.*": OPEN}, "MAX_GROUPS": 2}


@pytest.mark.usefixtures("rooms", "with_or_without_log")
async def test_a_connection_may_follow_several_groups(application, browser):
    visitor = await browser(V1, application)
    welcome = await visitor.ask(type="subscribe", group="room.1")
    assert (welcome["type"], welcome["group"]) == ("welcome", "room.1")
    await visitor.hears("room.1")
    assert (await visitor.ask(body="hi", group="room.1"))["group"] == "room.1"
    assert (await visitor.ask(body="hi"))["group"] == "broadcast"
    for group in ("room.1", "room.7"):  # the one it never followed
        await visitor.say(type="unsubscribe", group=group)
        await visitor.hears_nothing()
    await asend("in the room", group="room.1")
    assert (await visitor.ask(body="hi"))["group"] == "broadcast"


@pytest.mark.usefixtures("rooms")
async def test_there_is_a_limit_to_that(browser):
    visitor = await browser(V1)
    for group, said in (("room.1", "Welcome!"), ("room.2", "A connection may follow 2 groups at a time.")) * 2:
        assert (await visitor.ask(type="subscribe", group=group))["body"] == said
    await visitor.say(type="unsubscribe", group="broadcast")
    assert (await visitor.ask(type="subscribe", group="room.2"))["type"] == "welcome"


# Coming without a group, and refused subscriptions


@pytest.mark.usefixtures("rooms", "with_or_without_log")
async def test_who_joins_nothing_hears_nothing_until_it_subscribes(application):
    visitor = Browser(application, "/ws?v=1&join=none")
    await visitor.open()
    await asend("before")
    await visitor.hears_nothing()
    welcome = await visitor.ask(type="subscribe", group="room.1")
    assert (welcome["type"], welcome["group"]) == ("welcome", "room.1")
    await asend("elsewhere")
    await visitor.hears("room.1")
    await visitor.leave()


@pytest.mark.usefixtures("rooms")
async def test_a_refused_subscription_is_named_and_costs_the_others_nothing(application, browser):
    visitor = await browser(V1, application)
    for group in ("elsewhere", *(f"nowhere.{number}" for number in range(MAX_STRIKES))):
        answer = await visitor.ask(type="subscribe", group=group)
        assert (answer["type"], answer["code"], answer["group"]) == ("error", "forbidden", group)
    assert (await visitor.ask(type="subscribe", group="room.1"))["type"] == "welcome"
    assert (await visitor.ask(body="hi"))["body"] == "hi"


# Signed names


def ann_of_the_staff() -> User:
    user = User(pk=7, username="ann")
    user._state.adding = False
    return user


async def test_a_signed_name_opens_its_group_for_reading_and_frames_have_the_plain_one(browser):
    ann = ann_of_the_staff()
    name = signed_name("ticket.1", ann)
    for visitor in (await browser(f"/ws/{name}?v=1", user=ann), await browser(V1, user=ann)):
        if visitor.welcome["group"] == "ticket.1":
            assert (await visitor.ask(body="hi"))["code"] == "forbidden"
        welcome = await visitor.ask(type="subscribe", group=name)
        assert (welcome["type"], welcome["group"]) == ("welcome", "ticket.1")
        await visitor.hears("ticket.1")
        assert (await visitor.ask(body="hi", group="ticket.1"))["code"] == "forbidden"
        assert (await visitor.ask(body="hi", group=name))["code"] == "invalid"
        await visitor.say(type="unsubscribe", group=name)
        await asend("closed", group="ticket.1")
        await visitor.hears_nothing()


# Origins and addresses


async def test_pages_of_this_site_are_welcome_and_those_of_others_refused(application, browser, caplog):
    host, origin = (b"host", b"testserver"), b"https://evil.example/\n" + b"x" * 9000
    assert (await browser("/ws", application, headers=[host, (b"origin", b"http://testserver")])).welcome == WELCOME
    caplog.clear()
    line = WebsocketCommunicator(application, "/ws", [host, (b"origin", origin)])
    assert await line.connect(WAIT) == (False, FORBIDDEN)
    await line.wait(WAIT)
    [line] = caplog.messages
    assert line.startswith("Refused a WebSocket from the origin https://evil.example/\\nxxx")
    assert len(line) < 300


@pytest.mark.parametrize("path", ["/", "/nope", "/ws2", "/xws", "/ws/a/b", "/WS", "/ws//", "/broadcast/"])
async def test_other_addresses_are_refused_without_a_traceback(caplog, path):
    line = WebsocketCommunicator(whole_stack, path)
    accepted, _ = await line.connect(WAIT)
    assert not accepted
    await line.wait(WAIT)
    assert caplog.records == []


# A log that cannot be used


async def test_who_tries_again_while_the_log_fails_is_not_sent_off(browser, transactional_db, monkeypatch, errors):
    ann, bob = await browser(V1), await browser(V1)
    await ann.ask(body="one")
    await bob.hear()
    with monkeypatch.context() as patch:
        patch.setattr(log, "lock", Mock(side_effect=OperationalError("the disk is full")))
        for _ in range(MAX_STRIKES + 5):
            answer = await ann.ask(body="two", ref=REF)
            assert (answer["code"], answer["ref"], answer["retry_after_ms"]) == ("unavailable", REF, 1000)
        await bob.hears_nothing()
    assert (await ann.ask(body="two", ref=REF))["offset"] == 2
    assert (await bob.hear())["ref"] == REF
    assert len(errors()) == 1


async def test_a_commit_whose_outcome_nobody_knows_is_not_called_a_failure(browser, monkeypatch):
    visitor = await browser(V1)
    monkeypatch.setattr(
        "broadcast.engine.inbox.relay", Mock(side_effect=OutcomeUnknown("the database went away during COMMIT"))
    )
    answer = await visitor.ask(body="hi", ref=REF)
    assert (answer["code"], answer["ref"], answer["retry_after_ms"]) == ("unavailable", REF, 1000)
    assert answer["body"].startswith("The message may or may not have been sent.")


# A log that is slow


@pytest.fixture
def slow_log(monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> SimpleNamespace:
    """Commits wait for `.gate`, and `.batches` has their bodies. A client may `.begin` with one of an "a"."""

    async def begin(client: Browser) -> None:
        await client.say(body="a")
        await until(lambda: slow.batches)

    slow = SimpleNamespace(gate=threading.Event(), batches=[], begin=begin)
    append = this_process.log.append

    def appended(drafts: Any, *args: Any) -> Any:
        slow.batches.append([draft.body for draft in drafts])
        assert slow.gate.wait(60)
        return append(drafts, *args)

    monkeypatch.setattr(this_process.log, "append", appended)
    return slow


async def test_what_one_says_during_a_commit_is_committed_together(browser, slow_log, settings, monkeypatch):
    monkeypatch.setattr(consumers, "PONG_SECONDS", 0)
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN, "room": OPEN}}
    ann = await browser(V1)
    await slow_log.begin(ann)
    for body in "bcd":
        await ann.say(body=body)
    await ann.say(body="e", group="room", ref=REF)
    await ann.hears_nothing()  # for it is told that the connection lives
    assert slow_log.batches == [["a"]]
    await ann.say(type="subscribe", group="room")  # comes after what was said before, which is acknowledged so
    slow_log.gate.set()
    heard = [await ann.hear() for _ in range(6)]
    assert [frame["body"] for frame in heard if frame["group"] == "broadcast"] == ["a", "b", "c", "d"]
    acknowledged, welcome = (frame for frame in heard if frame["group"] == "room")
    assert (acknowledged["duplicate"], acknowledged["offset"], welcome["offset"]) == (True, 1, 1)
    assert slow_log.batches == [["a"], ["b", "c", "d", "e"]]


async def test_a_ref_that_comes_twice_in_one_commit_is_new_once(browser, slow_log, broadcasts):
    ann = await browser(V1)
    await slow_log.begin(ann)
    for body in "bbc":
        await ann.say(body=body, ref=REF if body == "b" else None)
    slow_log.gate.set()
    heard = sorted([await ann.hear() for _ in range(4)], key=lambda frame: (frame["offset"], "duplicate" in frame))
    assert [(frame["body"], frame.get("duplicate")) for frame in heard] == [
        *(("a", None), ("b", None), ("b", True)),
        ("c", None),
    ]
    assert [message.body for message in broadcasts] == ["a", "b", "c"]


async def test_who_says_more_than_the_log_takes_is_told_so_and_not_sent_off(browser, slow_log, monkeypatch):
    monkeypatch.setattr(inbox, "MAX_LAG", 0)
    slow_log.gate.set()
    await asend("what begins the log, which is looked for once more")
    slow_log.gate.clear()
    slow_log.batches.clear()
    ann = await browser(V1)
    await slow_log.begin(ann)
    for _ in range(MAX_STRIKES + 1):
        answer = await ann.ask(body="b", ref=REF)
        assert (answer["code"], answer["ref"], answer["retry_after_ms"]) == ("unavailable", REF, 1000)
    answer = await ann.ask(type="subscribe", group="broadcast")
    assert (answer["code"], answer["group"], answer["retry_after_ms"]) == ("unavailable", "broadcast", 1000)
    slow_log.gate.set()
    assert (await ann.hear())["body"] == "a"
    assert (await ann.ask(body="b", ref=REF))["offset"] == 3


async def test_of_who_says_much_only_so_much_waits(browser, slow_log, monkeypatch):
    monkeypatch.setattr(inbox, "MAX_WAITING", 3 * inbox.DRAFT_COST)
    ann = await browser(V1)
    await slow_log.begin(ann)
    for body in "bcdefg":
        await ann.say(body=body)
    slow_log.gate.set()
    assert [(await ann.hear())["body"] for _ in range(7)] == [*"abcdefg"]
    assert list(map(len, slow_log.batches)) == [1, 2, 3, 1]


@pytest.mark.parametrize("second", ["unsubscribe", "subscribe"])
async def test_who_speaks_and_leaves_at_once_is_answered(browser, transactional_db, second):
    """Between two rounds, as after a long one: what was said is yet to be delivered."""
    ann = await browser(V1)
    scheduler = this_process.node().scheduler
    await until(lambda: scheduler._next is None)
    scheduler._not_before = asyncio.get_running_loop().time() + 0.3
    await ann.say(body="hi", ref=REF)
    await ann.say(type=second, group="broadcast")
    await ann.say(type="ping")
    heard = [await ann.hear()]
    while heard[-1]["type"] != "pong":
        heard.append(await ann.hear())
    assert [(frame["ref"], frame["duplicate"]) for frame in heard if frame["type"] == "message"] == [(REF, True)]


async def test_a_message_goes_out_in_the_context_of_its_connection(browser, transactional_db):
    seen: list[str] = []
    whose = ContextVar("whose", default="")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async def sees(event: Any) -> None:
            seen.append(whose.get())
            await send(event)

        whose.set("the client's")
        await BroadcastConsumer.as_asgi()(scope, receive, sees)

    async def publish() -> None:
        whose.set("the publisher's")
        await asend("hi")

    reader = await browser(V1, application)
    await asyncio.create_task(publish())
    while (await reader.hear())["type"] != "message":
        pass
    assert set(seen) == {"the client's"}


async def test_what_was_said_before_the_end_is_sent(browser, slow_log):
    ann, bob = await browser(V1), await browser(V1)
    await slow_log.begin(ann)
    for body in "bc":
        await ann.say(body=body)
    await ann.line.send_input({"type": "websocket.disconnect", "code": 1006})
    await bob.hears_nothing()
    slow_log.gate.set()
    assert [(await bob.hear())["body"] for _ in range(3)] == ["a", "b", "c"]
    await ann.line.wait(WAIT)


@pytest.mark.parametrize("is_killed", [True, False])
async def test_what_waits_of_one_who_is_killed_or_signed_out_is_taken_back(slow_log, is_killed):
    ann = Browser(BroadcastConsumer.as_asgi(), V1, user=User(pk=1, username="ann"))
    await ann.connect()
    [consumer] = revalidator().connections
    await slow_log.begin(ann)
    for body in "bc":
        await ann.say(body=body)
    await until(lambda: len(consumer.inbox._waiting) == 2)
    if is_killed:
        ann.line.future.cancel()
    else:
        await consumer.sign_out(0)
        await ann.line.send_input({"type": "websocket.disconnect", "code": 1000})
    await asyncio.wait([ann.line.future])
    slow_log.gate.set()
    await asend("d")
    assert [message.body async for message in Message.objects.order_by("offset")] == ["a", "d"]


async def test_nothing_is_taken_that_was_looked_into_when_its_sender_was_signed_out(browser, transactional_db):
    ann = await browser(V1, user=User(pk=1, username="ann"))
    [consumer] = revalidator().connections
    asked, answer = asyncio.Event(), asyncio.Event()

    async def require(action: str, name: str) -> str:
        asked.set()
        await answer.wait()
        return name

    consumer.require = require
    await ann.say(body="late")
    await asked.wait()
    await consumer.sign_out(0)
    answer.set()
    await ann.line.send_input({"type": "websocket.disconnect", "code": 1000})
    await asyncio.wait([ann.line.future])
    await asend("d")
    assert [message.body async for message in Message.objects.order_by("offset")] == ["d"]


async def test_what_waits_is_sent_though_its_sender_cannot_be_told(browser, slow_log, monkeypatch):
    ann, bob = await browser(V1), await browser(V1)
    monkeypatch.setattr(AsgiTransport, "acknowledge", Mock(side_effect=RuntimeError("closed")))
    await slow_log.begin(ann)
    for body in "bc":
        await ann.say(body=body)
    slow_log.gate.set()
    assert [(await bob.hear())["body"] for _ in range(3)] == ["a", "b", "c"]


async def test_what_the_log_refuses_counts_like_other_bad_frames(browser, transactional_db, monkeypatch):
    monkeypatch.setattr(this_process.log, "append", Mock(side_effect=InvalidMessage("no")))
    ann = await browser(V1)
    for _ in range(MAX_STRIKES):
        assert (await ann.ask(body="hi"))["code"] == "invalid"
    assert (await ann.hear())["type"] == "bye"
    await ann.is_closed(TOO_MANY_BAD_FRAMES)


async def test_of_what_is_committed_together_one_that_will_not_do_fails_alone(browser, slow_log, monkeypatch):
    def drafted(user: Any, said: Any, group: str, name: str | None) -> Any:
        error = Stranger(InvalidMessage) if said.body == "c" else None
        return replace(draft_by(user, said, group, name), user_id=error)

    monkeypatch.setattr("broadcast.consumers.draft_by", drafted)
    ann = await browser(V1)
    await slow_log.begin(ann)
    for body in "bcd":
        await ann.say(body=body, ref=REF if body == "c" else None)
    slow_log.gate.set()
    heard = [await ann.hear() for _ in range(4)]
    assert [frame["body"] for frame in heard if frame["type"] == "message"] == ["a", "b", "d"]
    assert [(frame["code"], frame["ref"]) for frame in heard if frame["type"] == "error"] == [("invalid", REF)]


async def test_an_error_of_the_programs_own_ends_the_connection(browser, monkeypatch, errors):
    monkeypatch.setattr(inbox, "relay", Mock(side_effect=ArithmeticError))
    ann = await browser(V1)
    await ann.say(body="hi")
    await ann.is_closed(INTERNAL_ERROR)
    assert errors()[-1] == "A connection could not be written to and is closed"
