"""The bell, and what readers have read and dismissed: by account for users, by browser for guests."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.template import Context, Template, TemplateSyntaxError
from django.test import Client
from django.utils import timezone

from broadcast import send, send_many
from broadcast.access.signed_names import signed_name
from broadcast.elements.announcements import current_announcements, dismissed
from broadcast.elements.received import KEPT
from broadcast.elements.views import MAX_GROUPS, MAX_PLACES
from broadcast.engine.process import this_process
from broadcast.models import Group, Message, Receipt
from tests.kit.log import unreachable_database
from tests.kit.pages import Page
from tests.kit.processes import together

BELL, READ, DISMISSED, RECEIVED = (
    "broadcast-bell",
    "/broadcast/-/read",
    "/broadcast/-/dismissed",
    "/broadcast/-/received?personal=1",
)
JSON = "application/json"


@pytest.fixture(autouse=True)
def rules(settings) -> None:
    settings.BROADCAST = {
        "GROUPS": {
            "broadcast": {"subscribe": "anyone", "publish": "authenticated"},
            "members": {"subscribe": "authenticated"},
        }
    }


@pytest.fixture
def ann(db) -> User:
    return User.objects.create_user("ann")


@pytest.fixture
def page(rf) -> Callable[..., Page]:
    """`page("broadcast_bell", ann)` renders a tag for a visitor, with the cookies of `client` if there is one."""

    def rendered(tag: str, user: Any = None, client: Client | None = None, **context: Any) -> Page:
        request: HttpRequest = rf.get("/page/?a=1")
        request.user = user or AnonymousUser()
        request.COOKIES = {name: each.value for name, each in client.cookies.items()} if client else {}
        template = Template(f"{{% load broadcast %}}{{% {tag} %}}")
        return Page(template.render(Context({"request": request, **context})))

    return rendered


@pytest.fixture(params=["user", "guest"])
def reader(request, client, ann) -> User | None:
    """Who reads, signed in at `client` or not."""
    if request.param == "guest":
        return None
    client.force_login(ann)
    return ann


def place(message: Message, offset: int | None = None) -> dict[str, Any]:
    epoch = Group.objects.get(name=message.group_id).epoch
    return {"group": message.group_id, "epoch": epoch, "offset": message.offset if offset is None else offset}


def post(client: Client, url: str, body: Any, **headers: str) -> Any:
    return client.post(url, json.dumps(body), content_type=JSON, headers=headers)


def unread(client: Client) -> tuple[int, list[tuple[str, bool, bool]]]:
    found = client.get(RECEIVED).json()
    return found["unread"], [(one["body"], one["unread"], one["dismissed"]) for one in found["messages"]]


# What counts


def test_a_bell_has_what_the_site_said_and_all_that_came_to_the_reader(page, ann, client):
    bob = User.objects.create_user("bob")
    send("Lunch", data={"title": "Canteen", "url": "/menu/", "level": "success"})
    send("I am here", author=bob)
    send("To ann", to=ann, author=bob)
    send("To bob", to=bob)
    it = page("broadcast_bell", ann)
    new = [text for text in it.texts if text != "New"]
    assert it.buttons == ["Mark all as read"]
    assert new == ["2", "No notifications yet.", "To ann", "bob", "Canteen", "Lunch"]
    bell, own = it.one(BELL), f"user.{ann.pk}"
    assert (bell["group"], bell["own"], bell["user"], bell["unread"]) == (f"broadcast {own}", own, "ann", "2")
    assert (bell["offset"], bell["url"], bell["limit"]) == ("2 1", "/broadcast/-/received", "20")
    assert it.one("summary")["aria-label"] == "Notifications, 2 new"
    assert it.one("a")["href"] == "/menu/"
    assert it.one("template")["shadowrootmode"] == "open"
    guests = page("broadcast_bell shadow=False")
    assert (guests.one(BELL)["group"], guests.one(BELL)["unread"], guests.all("template")) == ("broadcast", "1", [])
    assert page('broadcast_bell group="members" ').elements == []
    client.force_login(ann)
    asked = client.get(RECEIVED).json()
    assert (asked["user"], [one["own"] for one in asked["groups"]]) == ("ann", [False, True])
    assert [one["source"] for one in asked["messages"]] == ["user", "server"]


@pytest.mark.parametrize(("is_signed_in", "queries"), [(False, 2), (True, 3)])
def test_a_bell_costs_two_queries_for_guests_and_three_for_users(
    page, ann, is_signed_in, queries, django_assert_num_queries
):
    send_many([f"{n}" for n in range(120)])
    send_many([f"to ann {n}" for n in range(3)], to=ann)
    with django_assert_num_queries(queries):
        it = page("broadcast_bell limit=5", ann if is_signed_in else None)
    assert len(it.all("li")) == 5
    assert it.one("summary")["aria-label"] == "Notifications, 99+ new"


def test_what_is_older_than_a_month_is_neither_listed_nor_new(page, db):
    send("old")
    Message.objects.update(sent_at=timezone.now() - timedelta(days=31))
    assert page("broadcast_bell").one(BELL)["unread"] == "0"
    assert page("broadcast_bell").all("li") == []


# Reading and dismissing


def test_reading_makes_read_and_dismissing_that_one(client, reader):
    first, second, third = send_many(["1", "2", "3"])
    assert unread(client) == (3, [("3", True, False), ("2", True, False), ("1", True, False)])
    assert post(client, DISMISSED, place(second)).status_code == 204
    assert unread(client) == (2, [("3", True, False), ("2", False, True), ("1", True, False)])
    assert post(client, READ, {"groups": [place(first)]}).status_code == 204
    assert unread(client) == (1, [("3", True, False), ("2", False, True), ("1", False, False)])
    post(client, READ, {"groups": [place(third)]})
    send("4")
    assert unread(client)[0] == 1
    assert Receipt.objects.exists() == (reader is not None)
    assert {"broadcast_read", "broadcast_dismissed"}.isdisjoint(client.cookies) == (reader is not None)


def test_what_was_dismissed_stays_away_from_pages_and_in_the_list(page, client, reader, django_assert_max_num_queries):
    sent = send_many(["1", "2", "3"])
    post(client, DISMISSED, {"messages": [place(each) for each in sent[:2]]})
    with django_assert_max_num_queries(2):
        gone = dismissed(client.cookies["broadcast_dismissed"].value) if reader is None else set()
        found = current_announcements(["broadcast"], 10, 9, gone, user=reader and reader.pk)
    assert [one.message.body for one in found.announcements] == ["3"]
    assert len(page("broadcast_bell", reader, client).all("li")) == 3
    assert page("broadcast_bell", reader, client).one(BELL)["unread"] == "1"
    assert page("broadcast_bell", User.objects.create_user("bob")).one(BELL)["unread"] == "3"


@pytest.mark.parametrize(
    ("following", "led"),
    [("/page/?a=1", "/page/?a=1"), ("//evil.example/", "/from/"), ("https://evil.example", "/from/"), ("", "/from/")],
)
def test_a_form_is_enough_and_leads_back(client, reader, following, led):
    send("1")
    to_members = [place(send("to members", group="members"))] if reader else []
    places = [place(send("2")), *to_members]
    form = {name: [each[name] for each in places] for name in ("group", "epoch", "offset")}
    browser = {"Accept": "text/html", "Referer": "http://testserver/from/", "Sec-Fetch-Site": "same-origin"}
    answer = client.post(READ, {**form, "next": following}, headers=browser)
    assert (answer.status_code, answer["Location"].removeprefix("http://testserver")) == (303, led)
    assert "no-store" in answer["Cache-Control"]
    assert unread(client)[0] == 0
    refused = client.post(DISMISSED, {**form, "epoch": [""] * len(places)}, headers=browser)
    assert (refused.status_code, "The epoch must be" in refused.content.decode()) == (400, True)
    assert b"as many of each" in client.post(DISMISSED, {**form, "epoch": []}, headers=browser).content


def test_the_bells_own_form_marks_all_as_read(page, client, ann):
    client.force_login(ann)
    send("1")
    send("2", to=ann)
    it = page("broadcast_bell", ann)
    form: dict[str, list[Any]] = {}
    for field in it.all("input"):
        form.setdefault(str(field["name"]), []).append(field["value"])
    answer = Client(enforce_csrf_checks=True)
    answer.force_login(ann)
    led = answer.post(str(it.one("form")["action"]), form, headers={"Accept": "text/html"})
    assert (led.status_code, led["Location"]) == (303, "/page/?a=1")
    read = page("broadcast_bell", ann)
    assert (read.one(BELL)["unread"], read.all("form"), len(read.all("li"))) == ("0", [], 2)


def test_a_guests_cookies_stay_short_and_what_makes_no_sense_in_them_says_nothing(client, db):
    group = place(send("1"))["group"]
    client.cookies["broadcast_read"] = "a b:1~:~x~" + "~".join(f"e{n}:{n}" for n in range(12))
    client.cookies["broadcast_dismissed"] = "x" * 3000
    assert unread(client)[0] == 1
    for offset in range(1, 60):
        post(client, DISMISSED, {"group": group, "epoch": "e", "offset": offset})
    post(client, READ, {"group": group, "epoch": "e3", "offset": 2})
    kept = {name: client.cookies[f"broadcast_{name}"].value for name in ("read", "dismissed")}
    assert kept["dismissed"] == "e:" + ".".join(map(str, range(30, 60)))
    assert kept["read"] == "~".join(f"e{n}:{n}" for n in (4, 5, 6, 7, 8, 9, 10, 11, 3))[5:]
    assert client.cookies["broadcast_read"]["samesite"] == "Lax"
    assert (
        Client()
        .post(READ, {"group": group, "epoch": "e", "offset": 1}, secure=True)
        .cookies["broadcast_read"]["secure"]
    )


def test_without_the_apps_addresses_a_users_browser_keeps_it(page, client, ann, settings):
    post(client, READ, place(send("1")))
    settings.ROOT_URLCONF = "tests.test_tags"
    bell = page("broadcast_bell", ann, client).one(BELL)
    assert (bell["unread"], "url" in bell) == ("0", False)


# Refusals


BAD = {"group": "broadcast", "epoch": "e", "offset": 1}


@pytest.mark.parametrize("url", [READ, DISMISSED])
@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ([], 400, "The message must be a JSON object"),
        ({"groups": "x", "messages": 1}, 400, "must be a list of 1 to"),
        ({"groups": [], "messages": []}, 400, "must be a list of 1 to"),
        ({"groups": [BAD] * (MAX_PLACES + 1), "messages": [BAD] * (MAX_PLACES + 1)}, 400, "it came as 101"),
        ({"groups": [1], "messages": [1]}, 400, "A place must be an object"),
        ({}, 400, "The epoch must be"),
        (BAD | {"epoch": "e" * 23}, 400, "The epoch must be"),
        (BAD | {"epoch": "e;f"}, 400, "The epoch must be"),
        (BAD | {"offset": True}, 400, "The offset must be"),
        (BAD | {"offset": 2**63}, 400, "The offset must be"),
        (BAD | {"group": "not a name"}, 400, "The group must be"),
        (BAD | {"group": "nowhere"}, 403, "You may not receive messages of 'nowhere'"),
        (BAD | {"group": "broadcast:x:y"}, 403, "The signed name of 'broadcast'"),
    ],
)
def test_what_will_not_do_is_refused_in_a_sentence(client, reader, url, body, status, said):
    answer = post(client, url, body)
    assert (answer.status_code, said in answer.json()["body"]) == (status, True), answer.content
    assert Receipt.objects.count() == 0


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "The limit must be"),
        ("limit=101", "The limit must be"),
        ("limit=x", "The limit must be"),
        ("&".join(f"group=g{n}" for n in range(MAX_GROUPS + 1)), "There may be 20 groups"),
        ("group=not%20a%20name", "The group must be"),
    ],
)
def test_a_list_that_cannot_be_is_refused_in_a_sentence(client, db, query, said):
    answer = client.get(f"/broadcast/-/received?{query}")
    assert (answer.status_code, said in answer.json()["body"]) == (400, True)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 204),
        ({"Sec-Fetch-Site": "same-origin"}, 204),
        ({"Origin": "http://testserver"}, 204),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://testserver"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Purpose": "prefetch"}, 403),
    ],
)
def test_another_sites_page_is_refused_and_no_token_is_asked_for(ann, headers, status):
    client = Client(enforce_csrf_checks=True)
    client.force_login(ann)
    answer = post(client, READ, place(send("1")), **headers)
    assert (answer.status_code, Receipt.objects.count()) == (status, int(status == 204))
    assert client.get(READ).status_code == client.post(RECEIVED).status_code == 405
    assert client.post("/broadcast/-/nothing").status_code == 404


def test_a_signed_name_opens_its_group(client, reader, page):
    message = send("news", group="closed")
    name = signed_name("closed", reader)
    assert post(client, READ, place(message) | {"group": name}).status_code == 204
    asked = client.get("/broadcast/-/received", {"group": name}).json()
    assert [(one["name"], one["group"], one["read"]) for one in asked["groups"]] == [(name, "closed", 1)]
    assert client.get("/broadcast/-/received?group=closed").status_code == 403


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("broadcast_bell limit=0", "limit must be a positive whole number; it came as 0."),
        ("broadcast_bell limit=101", "limit must be 100 at most; it came as 101."),
        ('broadcast_bell personal="no"', "personal must be True or False, without quotes; it came as 'no'."),
        ('broadcast_bell shadow="no"', "shadow must be True or False"),
    ],
)
def test_an_option_that_will_not_do_is_refused(page, db, tag, said):
    with pytest.raises(TemplateSyntaxError, match=said):
        page(tag)


def test_a_page_goes_without_where_the_log_cannot_be_read_or_there_is_no_request(page, transactional_db, client):
    assert Template("{% load broadcast %}{% broadcast_bell %}").render(Context()) == ""
    with unreachable_database():
        assert page("broadcast_bell").elements == []
        assert client.get(RECEIVED).status_code == 503


def test_without_a_log_there_is_a_bell_all_the_same(page, client):
    assert "epoch" not in page("broadcast_bell").one(BELL)
    assert client.get(RECEIVED).json()["messages"] == []


# The table


def test_a_later_receipt_replaces_earlier_ones_and_old_ones_go(ann, client):
    client.force_login(ann)
    bob = User.objects.create_user("bob")
    first, second = send_many(["1", "2"])
    long_ago = timezone.now() - timedelta(seconds=KEPT + 60)
    for user in (ann, bob):
        Receipt.objects.create(user=user, group="gone", epoch="e", offset=1, kind="dismissed", at=long_ago)
    for message in (first, second, second, first):
        post(client, READ, place(message))
        post(client, DISMISSED, place(first))
    post(client, READ, place(second, 99))  # no further than the log
    post(client, DISMISSED, place(second, 99))
    post(client, READ, place(second) | {"epoch": "other"})
    found = Receipt.objects.filter(user=ann).order_by("kind", "offset").values_list("kind", "offset")
    assert list(found) == [("dismissed", 1), ("read", 2)]
    assert Receipt.objects.filter(user=bob).count() == 1


def test_who_races_waits_for_nobody_and_loses_nothing(transactional_db, client):
    ann = User.objects.create_user("ann")
    client.force_login(ann)
    sent = send_many([str(n) for n in range(8)])
    places = [place(each) for each in sent]

    def act(number: int) -> set[int]:
        return {post(client, url, each).status_code for each in places[number::2] for url in (READ, DISMISSED)}

    assert together(*(partial(act, number) for number in (0, 1, 0, 1))) == [{204}] * 4
    assert set(Receipt.objects.filter(kind="dismissed").values_list("offset", flat=True)) == set(range(1, 9))
    assert unread(client)[0] == 0


def test_users_and_epochs_may_go(ann, client, page):
    client.force_login(ann)
    post(client, READ, place(send("1")))
    this_process.pruning.erase("broadcast")
    send("2")
    assert unread(client) == (1, [("2", True, False)])
    ann.delete()
    assert Receipt.objects.count() == 0
