"""The addresses: pushing what was typed, and the chat page."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from unittest.mock import ANY
from wsgiref.util import setup_testing_defaults

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase
from django.db import OperationalError
from django.test import Client
from django.test.utils import override_script_prefix
from django.urls import include, path, resolve, reverse

from broadcast import send, send_many
from broadcast.access import identity
from broadcast.models import Group, Message
from broadcast.views import log_resource
from project.wsgi import application as wsgi_application
from tests.kit.log import unreachable_database
from tests.kit.pages import Page

OPEN = {"subscribe": "anyone", "publish": "anyone", "announce": "anyone"}
CLOSED = {**OPEN, "subscribe": "staff", "announce": "staff"}
PUSH = "/broadcast/hello"
JSON = {"Accept": "application/json"}
PAGES = ["/", "/broadcast/"]


@pytest.fixture(autouse=True)
def open_to_anyone(settings) -> None:
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN}}


@pytest.fixture
def away(transactional_db) -> Iterator[None]:
    with unreachable_database():
        yield


def bodies() -> list[str]:
    return list(Message.objects.order_by("id").values_list("body", flat=True))


def page_of(response: Any) -> Page:
    return Page(response.content.decode())


def feed_of(response: Any) -> dict[str, str | None]:
    """The attributes from which the page's script starts."""
    return page_of(response).one("broadcast-feed")


def offsets(page: Page) -> list[str | None]:
    return [row["data-offset"] for row in page.all("li") if row.get("data-offset")]


# Pushing


def test_what_stands_behind_the_address_goes_to_everyone(client, db):
    response = client.get(PUSH)
    assert (response.status_code, response.content) == (200, b"Broadcasting hello")
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert "no-store" in response["Cache-Control"]
    fields = Message.objects.values_list("author", "body", "source", "group_id")
    assert list(fields) == [("Server", "hello", "server", "broadcast")]


def test_it_works_without_database(client):
    assert client.get(PUSH).content == b"Broadcasting hello"
    message = client.get(PUSH, headers=JSON).json()
    assert (message["body"], message["offset"], message["sent_at"]) == ("hello", None, None)
    assert not {"offset", "epoch"} & feed_of(client.get("/")).keys()


TYPED = [
    ("hello%20world", "hello world"),
    ("a//b/", "a//b/"),
    ("/a", "/a"),
    ("Gr%C3%BC%C3%9Fe%20%F0%9F%98%80", "Grüße 😀"),
    ("100%2525", "100%25"),
    ("one%0A", "one\n"),
    ("%0D%0ASet-Cookie:%20a=b", "\r\nSet-Cookie: a=b"),
    ("why%3F?because=1", "why?"),
    ("a%2Fb+c&d=e;f", "a/b+c&d=e;f"),
    ("%3Cscript%3Ealert(1)%3C/script%3E", "<script>alert(1)</script>"),
    ("{{ settings.SECRET_KEY }}%s%(a)s", "{{ settings.SECRET_KEY }}%s%(a)s"),
    ("..%2F..%2Fetc", "../../etc"),
    ("admin/", "admin/"),
    ("x" * 4000, "x" * 4000),
]


@pytest.mark.parametrize(("typed", "body"), TYPED)
def test_it_arrives_as_typed(client, db, typed, body):
    response = client.get(f"/broadcast/{typed}")
    assert response.content.decode() == f"Broadcasting {body}"
    assert bodies() == [body]


def test_it_works_in_a_wsgi_server(transactional_db):
    body, answered = "Grüße 100% / one\ntwo", []
    environ = {"PATH_INFO": f"/broadcast/{body}".encode().decode("latin-1"), "HTTP_HOST": "testserver"}
    setup_testing_defaults(environ)
    with closing(wsgi_application(environ, lambda status, headers: answered.append(status))) as response:
        assert b"".join(response).decode() == f"Broadcasting {body}"
    assert (answered, bodies()) == (["200 OK"], [body])


def test_the_address_of_a_message_can_be_made():
    assert reverse("broadcast:log") == "/broadcast/"
    made = reverse("broadcast:announce", args=["100% a/b\nc?"])
    assert made == "/broadcast/100%25%20a/b%0Ac%3F"
    assert resolve("/broadcast/a/b\n").kwargs == {"msg": "a/b\n"}


@pytest.mark.parametrize(
    ("typed", "headers", "status", "code", "said"),
    [
        ("%20%0A%09", {}, 400, "invalid", "The body must be text that is not empty"),
        ("x" * 4001, {}, 400, "too_large", "The body may have 4000 characters; it came with 4001"),
        ("x", {"Sec-Purpose": "prefetch"}, 403, "forbidden", "A prefetch or a part of a page announces nothing."),
        ("x", {"Sec-Fetch-Site": "cross-site"}, 403, "forbidden", "A page of another site may not announce here. Open"),
    ],
)
def test_what_is_refused_is_said_as_text_or_json(client, db, typed, headers, status, code, said):
    for accept in ({}, JSON):
        response = client.get(f"/broadcast/{typed}", headers=headers | accept)
        assert response.status_code == status
        text = response.json()["body"] if accept else response.content.decode()
        assert text.startswith(said)
    assert response.json().keys() == {"code", "body"}
    assert response.json()["code"] == code
    assert bodies() == []


@pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_a_get_or_a_post_pushes(db, method):
    response = Client(enforce_csrf_checks=True).generic(method, PUSH)
    assert (response.status_code, response["Allow"]) == (405, "GET, POST")
    assert bodies() == []


@pytest.mark.parametrize("address", [PUSH, "/broadcast/"])
def test_an_address_of_very_many_parameters_is_refused_in_a_sentence(client, db, caplog, address):
    refused = client.get(f"{address}?{'&'.join(f'{number}=' for number in range(2000))}")
    assert (refused.status_code, refused.content) == (400, b"The address has too many parameters.\n")
    assert "Traceback" not in caplog.text
    assert bodies() == []


# Who may push; tests/test_announcing.py has more


def test_who_may_not_is_told_a_fixed_sentence_and_the_log_names_the_setting(client, db, settings, caplog):
    settings.BROADCAST = {}
    refused = client.get(PUSH)
    assert refused.status_code == 403
    assert "no-store" in refused["Cache-Control"]
    said = "You may not announce to 'broadcast', or there is no such group. Sign in if you have an account."
    assert refused.content.decode().strip() == said
    setting = 'BROADCAST["GROUPS"]["broadcast"]["announce"] is "perm:broadcast.add_message".'
    assert f"Refused a guest (forbidden): {said} {setting}" in caplog.text


def test_a_group_that_the_settings_do_not_name_is_closed(client, db, settings):
    settings.BROADCAST = {"GROUPS": {"news": OPEN}}
    for address in (PUSH, *PAGES):
        response = client.get(address)
        assert response.status_code == 403
        assert b"'broadcast', or there is no such group." in response.content


def test_it_asks_for_no_user_where_the_site_knows_none(client, db, settings):
    settings.MIDDLEWARE = []
    assert client.get(PUSH).status_code == 200
    assert client.post("/broadcast/", {"body": "hi"}).json()["author"] == "Guest"
    assert client.get("/").status_code == 200
    settings.BROADCAST = {}
    assert client.get(PUSH).status_code == 403
    assert client.get("/").status_code == 200


# JSON for those who ask for it


def test_the_message_as_json(client, db):
    said = {"type": "message", "author": "Server", "body": "hello", "group": "broadcast", "source": "server"}
    assert client.get(PUSH, headers=JSON).json() == said | {"offset": 1, "sent_at": ANY, "ref": ANY}


@pytest.mark.parametrize("accept", ["*/*", "text/html,*/*;q=0.8", "text/plain, application/json;q=0.5", "a/b", ""])
def test_text_for_everyone_else(client, db, accept):
    assert client.get(PUSH, headers={"Accept": accept})["Content-Type"].startswith("text/plain;")
    preferred = client.get(PUSH, headers={"Accept": "application/json, text/plain;q=0.5"})
    assert preferred["Content-Type"] == "application/json"


# A database that is away


@pytest.mark.usefixtures("away")
def test_a_log_that_cannot_be_reached_is_said_and_its_cause_is_for_the_log(client, caplog):
    for address in (PUSH, *PAGES):
        response = client.get(address)
        assert response.status_code == 503
        assert response.content == b"Messages can neither be read nor sent right now. Try again in a moment.\n"
    in_json = [client.get(PUSH, headers=JSON), client.get(PAGES[1], headers=JSON), client.post(PAGES[1], {"body": "x"})]
    assert [answer.status_code for answer in in_json] == [503] * 3
    told = {"code": "unavailable", "body": "Messages can neither be read nor sent right now. Try again in a moment."}
    assert [answer.json() for answer in in_json] == [told] * 3
    assert "The message log cannot be reached" in caplog.text


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("rule", [OPEN, CLOSED])
def test_a_session_that_cannot_be_read_is_said(client, settings, rule):
    settings.BROADCAST = {"GROUPS": {"broadcast": rule}}
    client.cookies["sessionid"] = "a" * 32
    for response in [client.get(address) for address in (PUSH, *PAGES)]:
        assert response.status_code == 503
        assert response.content.strip()


@pytest.mark.parametrize("rule", [OPEN, CLOSED])
def test_before_migrate_whoever_has_an_old_cookie_is_a_guest(client, db, settings, monkeypatch, rule):
    settings.BROADCAST = {"GROUPS": {"broadcast": rule}}
    settings.SESSION_ENGINE = __name__
    monkeypatch.setattr(identity, "lacks_tables", lambda connection: True)
    client.cookies["sessionid"] = "a" * 32
    expected = 200 if rule is OPEN else 403
    assert [client.get(address).status_code for address in (PUSH, *PAGES)] == [expected] * 3


def test_a_page_whose_visitor_cannot_be_looked_up_is_said(client, transactional_db, settings):
    """The log is there and the sessions are not, as when they are kept apart."""
    client.cookies["sessionid"] = "a" * 32
    settings.SESSION_ENGINE = __name__
    response = client.get("/")
    assert response.status_code == 503
    assert response.content == b"Who you are cannot be looked up right now. Try again in a moment.\n"


class SessionStore(SessionBase):
    """A session engine, found by this name, whose database is away."""

    def load(self) -> Any:
        raise OperationalError("no sessions today")


# The chat page


@pytest.mark.parametrize("address", PAGES)
def test_the_page_has_the_latest_messages_as_served(client, db, settings, address):
    settings.BROADCAST = {**settings.BROADCAST, "PAGE_MESSAGES": 3}
    send_many(["one", "two", "three", "four"])
    response = client.get(address)
    assert response["Cache-Control"] == "private, no-cache"
    page = page_of(response)
    assert offsets(page) == ["2", "3", "4"]
    feed = page.one("broadcast-feed")
    assert (feed["group"], feed["epoch"], feed["offset"]) == ("broadcast", Group.objects.get().epoch, "4")
    Message.objects.all().delete()
    Group.objects.update(floor=4)
    assert feed_of(client.get(address))["offset"] == "4"


HOSTILE = [
    *("<script>alert(1)</script>", '"><img src=x onerror=alert(1)><svg onload=alert(1)>', "\u202eright to left"),
    *("</template><script>alert(1)</script>", "{{ settings.SECRET_KEY }}{% debug %}", "<!-- --!> ]]>"),
]


@pytest.mark.parametrize("body", HOSTILE)
def test_whatever_is_written_is_only_ever_text(client, db, body):
    harmless = {tag for tag, _ in page_of(client.get("/")).elements}
    send(body, author=body, data={"url": f"javascript:{body}"})
    page = page_of(client.get("/"))
    assert {tag for tag, _ in page.elements} <= harmless | {"li", "small", "time"}
    assert page.texts.count(body) == 2
    assert all(script.get("src", "").startswith("/static/") for script in page.all("script"))
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


@pytest.mark.parametrize("address", PAGES)
def test_the_page_is_there_for_a_look_as_well(client, db, address):
    """Monitors and link checkers send ``HEAD``."""
    response = client.head(address)
    assert (response.status_code, response.content) == (200, b"")
    refused = client.put(address)
    assert (refused.status_code, refused["Allow"]) == (405, "GET, HEAD, POST")


def test_the_page_under_a_prefix_knows_its_addresses(client, db, settings):
    settings.BROADCAST = {}
    with override_script_prefix("/shop/"):
        response = client.get("/", SCRIPT_NAME="/shop")
    assert feed_of(response)["socket"] == "/shop/ws"
    assert response.context["sign_in_url"] == "/shop/admin/login/?next=%2Fshop%2F"


def test_who_may_write_gets_a_form_and_who_may_not_is_led_to_sign_in(client, db, settings):
    settings.BROADCAST = {}
    page = page_of(client.get("/"))
    assert page.all("textarea") == []
    assert {"href": "/admin/login/?next=%2F"} in page.all("a")
    client.force_login(User.objects.create_user("ann"))
    page = page_of(client.get("/"))
    assert (page.one("broadcast-feed")["user"], len(page.all("textarea"))) == ("ann", 1)
    User.objects.update(is_active=False)  # who was signed out by it is a guest
    assert feed_of(client.get("/"))["user"] == ""


@pytest.mark.parametrize(
    ("login_url", "link"),
    [
        ("admin:login", "/admin/login/?next=%2Fbroadcast%2F%3Fa%3Db"),
        ("/admin/login/?theme=dark", "/admin/login/?theme=dark&next=%2Fbroadcast%2F%3Fa%3Db"),
        ("https://login.example/", "https://login.example/?next=%2Fbroadcast%2F%3Fa%3Db"),
        ("/accounts/login/", ""),
        ("no-such-name", ""),
    ],
)
def test_the_way_to_sign_in(client, db, settings, login_url, link):
    settings.BROADCAST, settings.LOGIN_URL = {}, login_url
    response = client.get("/broadcast/?a=b")
    assert response.context["sign_in_url"] == link


def test_a_site_of_ones_own_may_mount_the_addresses_elsewhere(client, db, settings):
    settings.ROOT_URLCONF = __name__
    assert client.get("/deep/down/hello").content == b"Broadcasting hello"
    assert client.get("/deep/down/").status_code == 200
    assert client.post("/deep/down/", {"body": "hi"}).json()["body"] == "hi"
    assert len(client.get("/deep/down/?format=json").json()["messages"]) == 2


urlpatterns = [
    path("deep/down/", include("broadcast.urls")),
    path("home", log_resource, name="home"),
    path("admin/", admin.site.urls),
]
