"""The addresses: pushing what was typed, and the chat page."""

from collections.abc import Iterator
from html.parser import HTMLParser
from io import BytesIO
from typing import Any
from unittest.mock import ANY

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connections
from django.test import Client
from django.test.utils import override_script_prefix
from django.urls import include, path, resolve, reverse

from broadcast import send, send_many
from broadcast.access import identity
from broadcast.models import Group, Message
from broadcast.views import log_resource
from project.wsgi import application as wsgi_application

OPEN = {"subscribe": "anyone", "publish": "anyone", "announce": "anyone"}
PUSH = "/broadcast/hello"
PAGES = ["/", "/broadcast/"]


@pytest.fixture(autouse=True)
def open_to_anyone(settings) -> None:
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN}}


@pytest.fixture
def away(transactional_db, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The database cannot be reached by whoever connects to it now."""
    connections.close_all()
    with monkeypatch.context() as patch:
        patch.setitem(connections.settings["default"], "NAME", "/nowhere/db.sqlite3")
        yield
    connections.close_all()


def bodies() -> list[str]:
    return list(Message.objects.order_by("id").values_list("body", flat=True))


# Pushing


def test_what_stands_behind_the_address_goes_to_everyone(client, db):
    response = client.get(PUSH)
    assert response.status_code == 200
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response.content == b"Broadcasting hello"
    message = Message.objects.get()
    assert (message.author, message.body, message.source, message.group_id) == (
        "Server",
        "hello",
        "server",
        "broadcast",
    )


def test_it_works_without_database(client):
    assert client.get(PUSH).content == b"Broadcasting hello"


async def test_it_works_in_an_async_server(async_client, transactional_db):
    assert (await async_client.get(PUSH)).content == b"Broadcasting hello"
    assert await Message.objects.acount() == 1


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
]


@pytest.mark.parametrize(("typed", "body"), TYPED)
def test_it_arrives_as_typed(client, db, typed, body):
    response = client.get(f"/broadcast/{typed}")
    assert response.content.decode() == f"Broadcasting {body}"
    assert bodies() == [body]


def through_wsgi(path_info: bytes) -> tuple[str, bytes]:
    """What a WSGI server answers to a request for a path with its percent-escapes decoded."""
    answered: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "PATH_INFO": path_info.decode("latin-1"),
        "wsgi.input": BytesIO(),
        "wsgi.errors": BytesIO(),
        "wsgi.url_scheme": "http",
    }
    response = wsgi_application(environ, lambda status, headers: answered.append(status))
    body = b"".join(response)
    response.close()
    return answered[0], body


def test_it_works_in_a_wsgi_server(transactional_db):
    assert through_wsgi("/broadcast/Grüße 100% / one\ntwo".encode()) == (
        "200 OK",
        "Broadcasting Grüße 100% / one\ntwo".encode(),
    )
    assert bodies() == ["Grüße 100% / one\ntwo"]


def test_the_address_of_a_message_can_be_made():
    assert reverse("broadcast:log") == "/broadcast/"
    made = reverse("broadcast:announce", args=["100% a/b\nc?"])
    assert made == "/broadcast/100%25%20a/b%0Ac%3F"
    assert resolve("/broadcast/a/b\n").kwargs == {"msg": "a/b\n"}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("%20%0A%09", "The body must be text that is not empty"),
        ("x" * 4001, "The body may have 4000 characters; it came with 4001"),
    ],
)
def test_a_message_that_will_not_do_is_refused(client, db, typed, said):
    response = client.get(f"/broadcast/{typed}")
    assert response.status_code == 400
    assert said in response.content.decode()
    assert bodies() == []


def test_the_longest_message_passes(client, db):
    assert client.get("/broadcast/" + "x" * 4000).status_code == 200


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_a_get_pushes(db, method):
    response = Client(enforce_csrf_checks=True).generic(method, PUSH)
    assert (response.status_code, response["Allow"]) == (405, "GET")
    assert bodies() == []


def test_a_prefetch_pushes_nothing(client, db):
    response = client.get(PUSH, headers={"Sec-Purpose": "prefetch"})
    assert response.status_code == 403
    assert response.content == b"A prefetch announces nothing. Open the address itself.\n"
    assert bodies() == []


def test_a_page_of_another_site_pushes_nothing(client, db):
    response = client.get(PUSH, headers={"Sec-Fetch-Site": "cross-site"})
    assert response.status_code == 403
    assert response.content == b"A page of another site may not announce here. Open the address itself.\n"
    assert bodies() == []


def test_no_answer_may_be_kept_by_a_cache(client, db, settings):
    assert "no-store" in client.get(PUSH)["Cache-Control"]
    assert "no-store" in client.get("/")["Cache-Control"]
    settings.BROADCAST = {"GROUPS": {}}
    assert "no-store" in client.get(PUSH)["Cache-Control"]


# Who may push


def test_by_default_it_takes_the_permission(client, db, settings):
    settings.BROADCAST = {}
    refused = client.get(PUSH)
    assert refused.status_code == 403
    setting = 'BROADCAST["GROUPS"]["broadcast"]["announce"] is "perm:broadcast.add_message".'
    assert refused.content.decode().strip() == f"You may not announce to 'broadcast': {setting}"

    ann = User.objects.create_user("ann")
    client.force_login(ann)
    assert client.get(PUSH).status_code == 403
    ann.user_permissions.add(Permission.objects.get(codename="add_message"))
    assert client.get(PUSH).status_code == 200
    assert [message.author for message in Message.objects.all()] == ["Server"]


def test_a_group_that_the_settings_do_not_name_is_closed(client, db, settings):
    settings.BROADCAST = {"GROUPS": {"news": OPEN}}
    for address in (PUSH, *PAGES):
        response = client.get(address)
        assert response.status_code == 403
        assert b"There is no group 'broadcast' here" in response.content


def test_it_asks_for_no_user_where_the_site_knows_none(client, db, settings):
    settings.MIDDLEWARE = []
    assert client.get(PUSH).status_code == 200
    assert client.get("/").status_code == 200
    settings.BROADCAST = {}
    assert client.get(PUSH).status_code == 403
    assert client.get("/").status_code == 200


# JSON for those who ask for it

JSON = {"Accept": "application/json"}


def test_the_message_as_json(client, db):
    assert client.get(PUSH, headers=JSON).json() == {
        "type": "message",
        "author": "Server",
        "body": "hello",
        "group": "broadcast",
        "offset": 1,
        "sent_at": ANY,
        "source": "server",
        "ref": ANY,
    }


def test_the_message_as_json_without_database(client):
    message = client.get(PUSH, headers=JSON).json()
    assert (message["body"], message["offset"], message["sent_at"]) == ("hello", None, None)


def test_refusals_as_json(client, db, settings):
    assert client.get("/broadcast/%20", headers=JSON).json() == {"code": "invalid", "body": ANY}
    too_long = client.get("/broadcast/" + "x" * 4001, headers=JSON)
    assert (too_long.status_code, too_long.json()["code"]) == (400, "too_large")
    prefetch = client.get(PUSH, headers=JSON | {"Sec-Purpose": "prefetch"})
    assert (prefetch.status_code, prefetch.json()["code"]) == (403, "forbidden")
    settings.BROADCAST = {"GROUPS": {}}
    assert client.get(PUSH, headers=JSON).json()["code"] == "forbidden"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "text/plain"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/plain"),
        ("application/json, text/plain;q=0.5", "application/json"),
        ("text/plain, application/json;q=0.5", "text/plain"),
        ("image/png", "text/plain"),
        ("", "text/plain"),
    ],
)
def test_text_for_everyone_else(client, db, accept, kind):
    assert client.get(PUSH, headers={"Accept": accept})["Content-Type"].partition(";")[0] == kind


# A database that is away


@pytest.mark.usefixtures("away")
def test_a_log_that_cannot_be_written_is_said(client):
    response = client.get(PUSH)
    assert response.status_code == 503
    assert response.content.startswith(b"The message log cannot be reached")
    assert client.get(PUSH, headers=JSON).json()["code"] == "unavailable"


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("address", PAGES)
def test_a_log_that_cannot_be_read_is_said(client, address):
    response = client.get(address)
    assert response.status_code == 503
    assert response.content.startswith(b"The message log cannot be reached")


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("address", [PUSH, *PAGES])
@pytest.mark.parametrize("rule", [OPEN, {**OPEN, "subscribe": "staff", "announce": "staff"}])
def test_a_session_that_cannot_be_read_is_said(client, settings, address, rule):
    settings.BROADCAST = {"GROUPS": {"broadcast": rule}}
    client.cookies["sessionid"] = "a" * 32
    response = client.get(address)
    assert response.status_code == 503
    assert response.content.strip()


@pytest.mark.parametrize("rule", [OPEN, {**OPEN, "subscribe": "staff", "announce": "staff"}])
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
    assert response.content == b"Who you are cannot be looked up right now: no sessions today\n"


class SessionStore:
    """A session engine, found by this name, whose database is away."""

    def __init__(self, key: str | None) -> None:
        self.accessed = self.modified = False

    def __getitem__(self, key: str) -> Any:
        raise OperationalError("no sessions today")

    def is_empty(self) -> bool:
        return False


# Transactions


def test_it_is_sent_at_once_under_atomic_requests(client, transactional_db, monkeypatch):
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    response = client.get(PUSH, headers=JSON)
    assert response.json()["offset"] == 1
    assert client.get("/").status_code == 200


# The chat page


class Page(HTMLParser):
    """What a page says: its texts, its elements, and nothing that runs."""

    def __init__(self, response: Any) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.html = response.content.decode()
        self.feed(self.html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def chat(self) -> dict[str, str | None]:
        """The attributes from which the page's script starts."""
        return next(attributes for tag, attributes in self.elements if tag == "broadcast-feed")

    def offsets(self) -> list[str | None]:
        rows = [attributes for tag, attributes in self.elements if tag == "li" and attributes.get("data-offset")]
        return [row["data-offset"] for row in rows]


@pytest.mark.parametrize("address", PAGES)
def test_the_page_has_the_latest_messages_as_served(client, db, settings, address):
    settings.BROADCAST = {**settings.BROADCAST, "PAGE_MESSAGES": 3}
    send_many(["one", "two", "three", "four"])
    page = Page(client.get(address))
    assert page.offsets() == ["2", "3", "4"]
    assert [text for text in page.texts if text in ("one", "two", "three", "four")] == ["two", "three", "four"]
    chat = page.chat()
    assert (chat["group"], chat["socket"], chat["user"]) == ("broadcast", "/ws", "")
    assert (chat["epoch"], chat["offset"]) == (Group.objects.get().epoch, "4")


def test_the_page_before_anything_was_said(client, db):
    page = Page(client.get("/"))
    assert page.offsets() == []
    assert page.chat()["offset"] == "0"
    assert page.chat()["epoch"]


def test_the_page_without_database(client):
    page = Page(client.get("/"))
    assert not {"offset", "epoch"} & page.chat().keys()


def test_the_page_goes_on_from_the_end_when_all_was_pruned(client, db):
    send_many(["one", "two"])
    Message.objects.all().delete()
    Group.objects.update(floor=2)
    assert Page(client.get("/")).chat()["offset"] == "2"


def test_the_page_sequences_what_waits(client, transactional_db):
    """A message that was committed by a process that died before it got its offset."""
    send("first")
    Message.objects.create(group_id="broadcast", author="Server", body="orphan")
    page = Page(client.get("/"))
    assert page.offsets() == ["1", "2"]
    assert "orphan" in page.texts


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "</template><script>alert(1)</script>",
    "{{ settings.SECRET_KEY }}{% debug %}",
    "<!-- --!> ]]>",
    "\u202eright to left",
]


@pytest.mark.parametrize("body", HOSTILE)
def test_whatever_is_written_is_only_ever_text(client, db, body):
    harmless = {tag for tag, _ in Page(client.get("/")).elements}
    send(body, author=body, data={"url": f"javascript:{body}"})
    page = Page(client.get("/"))
    assert {tag for tag, _ in page.elements} <= harmless | {"li", "small", "time"}
    assert page.texts.count(body) == 2
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert all(script.get("src", "").startswith("/static/") for script in scripts)
    handlers = [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert handlers == []


def test_a_hostile_user_name_is_only_ever_text(client, db):
    name = '"><script>alert(1)</script>'
    client.force_login(User.objects.create(username=name))
    page = Page(client.get("/"))
    assert page.chat()["user"] == name
    assert "<script>alert" not in page.html


def test_numbers_are_for_programs_whatever_the_language(client, db, settings):
    settings.LANGUAGE_CODE, settings.USE_THOUSAND_SEPARATOR = "de", True
    group = Group.objects.create(name="broadcast", epoch="e", head=1_234_567)
    send("hi")
    assert Page(client.get("/")).chat()["offset"] == str(group.head + 1)
    assert Page(client.get("/")).chat()["max-body"] == "4000"


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
    assert Page(response).chat()["socket"] == "/shop/ws"
    assert response.context["sign_in_url"] == "/shop/admin/login/?next=%2Fshop%2F"


def test_who_may_write_gets_a_form_and_who_may_not_is_led_to_sign_in(client, db, settings):
    assert ("textarea", ANY) in Page(client.get("/")).elements
    settings.BROADCAST = {}
    page = Page(client.get("/"))
    assert ("textarea", ANY) not in page.elements
    assert ("a", {"href": "/admin/login/?next=%2F"}) in page.elements
    ann = User.objects.create_user("ann")
    client.force_login(ann)
    page = Page(client.get("/"))
    assert page.chat()["user"] == "ann"
    assert ("textarea", ANY) in page.elements


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


def test_an_account_that_was_closed_is_a_guest(client, db):
    ann = User.objects.create_user("ann")
    client.force_login(ann)
    User.objects.update(is_active=False)
    assert Page(client.get("/")).chat()["user"] == ""


def test_a_site_of_ones_own_may_mount_the_addresses_elsewhere(client, db, settings):
    settings.ROOT_URLCONF = __name__
    assert client.get("/deep/down/hello").content == b"Broadcasting hello"
    assert client.get("/deep/down/").status_code == 200


urlpatterns = [
    path("deep/down/", include("broadcast.urls")),
    path("home", log_resource, name="home"),
    path("admin/", admin.site.urls),
]
