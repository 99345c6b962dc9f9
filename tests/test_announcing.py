"""Announcing by address: at once where that borrows nobody's authority, else after a person's own act."""

import getpass
from io import StringIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import path

from broadcast import asend, asend_many, send, send_many
from broadcast.exceptions import InvalidMessage
from broadcast.models import Message
from broadcast.views import announce
from tests.kit.pages import Page

PUSH = "/broadcast/hello"
OPEN = {"subscribe": "anyone", "publish": "anyone", "announce": "anyone"}
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
JSON = {"Accept": "application/json"}
TOKEN = {"Authorization": "Bearer secret"}

BORROWED = [{}, {"Authorization": "Basic cm9vdDpzZWNyZXQ="}, {"Authorization": "negotiate YII="}, {"Authorization": ""}]
FROM_OWN_SITE = [
    {"Sec-Fetch-Site": "none", "Sec-Fetch-Dest": "document"},
    {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"},
    {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "document", "Referer": "http://testserver/home"},
    {"Referer": "http://testserver/home"},
]
NO_PERSONS_ACT = [
    {"Sec-Purpose": "prefetch"},
    {"X-Moz": "prefetch"},
    *({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": part} for part in ("image", "iframe", "script", "style")),
]
OF_ANOTHER_SITE = [
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Referer": "http://evil.example/page"},
]


class SignsIn:
    """A middleware that signs in whoever shows a token or a password, and otherwise a user of unknown origin."""

    user: Any = None

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.user = self.user or AnonymousUser()
        response: HttpResponse = self.get_response(request)
        return response


@pytest.fixture
def root(db, settings, monkeypatch) -> User:
    """A superuser, who makes every request that says nothing else, on a site that reserves announcing."""
    user = User.objects.create_superuser("root")
    monkeypatch.setattr(SignsIn, "user", user)
    settings.BROADCAST = {}
    settings.MIDDLEWARE = [f"{__name__}.SignsIn"]
    return user


def sent() -> list[tuple[str, str]]:
    return list(Message.objects.order_by("id").values_list("body", "by"))


# Where guests may


@pytest.mark.parametrize("headers", [{}, HTML, JSON, TOKEN, *BORROWED, *FROM_OWN_SITE, {"Cookie": "a=b"}], ids=str)
def test_where_guests_may_it_is_sent_at_once(client, db, settings, headers):
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN}}
    assert client.get(PUSH, headers=headers).status_code == 200
    client.force_login(User.objects.create_user("ann"))  # without any right of her own
    answer = client.get(PUSH, headers=headers)
    assert answer.status_code == 200
    assert sent() == [("hello", "a guest"), ("hello", "ann" if headers.get("Cookie") is None else "a guest")]


@pytest.mark.parametrize("headers", [*NO_PERSONS_ACT, *OF_ANOTHER_SITE], ids=str)
def test_not_even_there_what_a_browser_says_is_no_persons_act(client, db, settings, headers):
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN}}
    for accept in (HTML, JSON):
        assert client.get(PUSH, headers=headers | accept).status_code == 403
    assert sent() == []


def test_a_policy_is_asked_with_nobody_signed_in(client, db, settings):
    settings.BROADCAST = {"POLICY": lambda user, action, group: user is None if action == "announce" else None}
    client.force_login(User.objects.create_user("ann"))
    assert client.get(PUSH).content == b"Broadcasting hello"


def test_a_view_called_with_a_bare_request_sends(db, settings):
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN}}
    assert announce(RequestFactory().get(PUSH), "hello").content == b"Broadcasting hello"
    assert sent() == [("hello", "a guest")]


# Where it is reserved


@pytest.mark.parametrize("headers", [*BORROWED, *FROM_OWN_SITE, TOKEN | {"Cookie": "a=b"}], ids=str)
def test_by_borrowed_authority_a_get_asks_and_sends_nothing(client, root, headers):
    page = client.get(PUSH, headers=headers | HTML)
    assert (page.status_code, page["X-Frame-Options"]) == (200, "DENY")
    assert "Announce this?" in page.content.decode()
    assert "hello" in Page(page.content.decode()).texts
    for accept in ({}, {"Accept": "*/*"}, JSON):
        refused = client.get(PUSH, headers=headers | accept)
        assert refused.status_code == 403
        assert b"POST to this address" in refused.content
    assert sent() == []


@pytest.mark.parametrize("headers", [*NO_PERSONS_ACT], ids=str)
def test_nor_is_anything_asked_of_nobody(client, root, headers):
    assert client.get(PUSH, headers=headers | HTML).status_code == 403


def test_who_proves_itself_is_heard_at_once(client, root):
    assert client.get(PUSH, headers=TOKEN).content == b"Broadcasting hello"
    assert client.get(PUSH, headers=TOKEN | HTML).content == b"Broadcasting hello"
    assert client.get(PUSH, headers=TOKEN | JSON).json()["body"] == "hello"
    assert sent() == [("hello", "root")] * 3
    for headers in OF_ANOTHER_SITE:
        assert client.get(PUSH, headers=TOKEN | headers).status_code == 403
    SignsIn.user = User.objects.create_user("ann")
    assert client.get(PUSH, headers=TOKEN).status_code == 403
    assert len(sent()) == 3


def test_who_may_not_is_not_asked(client, db, settings):
    settings.BROADCAST = {}
    ann = User.objects.create_user("ann")
    assert client.get(PUSH, headers=HTML).status_code == 403
    client.force_login(ann)
    assert client.get(PUSH, headers=HTML).status_code == 403
    assert client.post(PUSH).status_code == 403
    ann.user_permissions.add(Permission.objects.get(codename="add_message"))
    assert client.get(PUSH, headers=HTML).status_code == 200
    assert client.post(PUSH).status_code == 200
    assert sent() == [("hello", "ann")]


def test_what_could_not_be_sent_is_not_asked(client, root):
    refused = client.get("/broadcast/%20", headers=HTML)
    assert (refused.status_code, b"it came empty" in refused.content) == (400, True)


# The form


def test_the_form_sends_once_and_leads_to_a_page_that_says_so(db, settings):
    settings.BROADCAST = {}
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    assert client.post(PUSH, headers=HTML).status_code == 403
    token = Page(client.get(PUSH, headers=HTML).content.decode()).one("input")["value"]
    led = client.post(PUSH, {"csrfmiddlewaretoken": token}, headers=HTML)
    assert led.status_code == 302
    for _ in range(2):  # a reload does not send it again
        page = client.get(led["Location"], headers=HTML)
        assert "Announced:" in page.content.decode()
        assert Page(page.content.decode()).texts.count("hello") == 2  # and in the feed
    assert sent() == [("hello", "root")]


def test_who_may_not_read_the_log_is_told_where_they_are(client, db, settings):
    settings.BROADCAST = {"GROUPS": {"broadcast": {"announce": "staff"}}}
    client.force_login(User.objects.create_superuser("root"))
    assert client.get(PUSH, headers=HTML).status_code == 200
    assert client.post(PUSH, headers=HTML).content == b"Broadcasting hello"


def test_a_site_may_mount_the_view_alone(client, root, settings):
    settings.ROOT_URLCONF = __name__
    assert "Announce this?" in client.get("/push/hello", headers=HTML).content.decode()
    assert client.post("/push/hello", headers=HTML).content == b"Broadcasting hello"


urlpatterns = [
    path("push/<path:msg>", announce),
    path("", announce, {"msg": "home"}, name="home"),
    path("admin/", admin.site.urls),
]


@pytest.mark.parametrize("headers", [*OF_ANOTHER_SITE, {"Sec-Purpose": "prefetch"}], ids=str)
def test_a_post_of_another_site_sends_nothing(client, root, headers):
    assert client.post(PUSH, headers=headers | HTML).status_code == 403
    assert sent() == []


def test_nobody_can_have_the_page_say_what_was_not_announced(client, db, settings):
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN}}
    said = send("by ann", author=User.objects.create_user("ann"))
    for ref in (str(said.ref), "", "x", "0" * 32):
        assert "Announced:" not in client.get("/broadcast/", {"announced": ref}).content.decode()
    led = parse_qs(urlsplit(client.post(PUSH, headers=HTML)["Location"]).query)
    assert led["announced"] == [str(Message.objects.latest("id").ref)]


# Addresses


@pytest.mark.parametrize("typed", ["-/", "-/metrics", "%2D/x", "-/%0A"])
def test_the_apps_own_addresses_are_no_announcements(client, db, settings, typed):
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN}}
    assert client.get(f"/broadcast/{typed}").status_code == 404
    assert client.post(f"/broadcast/{typed}").status_code == 404
    assert sent() == []


@pytest.mark.parametrize("typed", ["-", "-1", "--/", "a-/", "%20-/"])
def test_others_that_begin_alike_are(client, db, settings, typed):
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN}}
    assert client.get(f"/broadcast/{typed}").status_code == 200


# Who had it sent


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("by", "kept"), [(None, ""), ("nightly import", "nightly import"), (User(username="u" * 300), "u" * 255)]
)
def test_code_says_by_whom(by, kept):
    send("one", by=by)
    send_many(["two", {"body": "three", "by": "somebody else"}], by=by)
    async_to_sync(asend)("four", by=by)
    async_to_sync(asend_many)(["five"], by=by)
    assert [name for _, name in sent()] == [kept, kept, "somebody else", kept, kept]


@pytest.mark.parametrize("by", ["", " ", 5, User])
def test_by_nobody_is_refused(by):
    with pytest.raises(InvalidMessage, match="The name in by must be text"):
        send("one", by=by)


def test_it_is_kept_whatever_the_way(admin_client, admin_user, settings):
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN}}
    call_command("broadcast", "send", "by command", stdout=StringIO())
    admin_client.post("/admin/broadcast/message/add/", {"group": "broadcast", "author": "server", "body": "by admin"})
    admin_client.post("/admin/broadcast/message/add/", {"group": "broadcast", "author": "user", "body": "as oneself"})
    admin_client.post("/broadcast/", {"body": "over HTTP", "announce": True}, content_type="application/json")
    admin_client.post("/broadcast/", {"body": "as a user"}, content_type="application/json")
    command, *others = sent()
    assert command == ("by command", f"command: {getpass.getuser()}")
    assert others == [("by admin", "admin"), ("as oneself", ""), ("over HTTP", "admin"), ("as a user", "")]
    listed = admin_client.get("/admin/broadcast/message/", {"q": "command: "}).content.decode()
    assert "by command" in listed
    assert "as oneself" not in listed
    assert "by" not in admin_client.get("/broadcast/", {"format": "json"}).json()["messages"][0]
