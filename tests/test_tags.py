"""The tags: what a page has of announcements and feeds as it is served, for whom, and what their options must be."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.http import HttpRequest
from django.template import Context, RequestContext, Template, TemplateSyntaxError, engines
from django.utils import timezone, translation
from rest_framework.request import Request

from broadcast import send, send_many
from broadcast.engine.process import this_process
from broadcast.models import Group, Message

ANNOUNCEMENTS, FEED = "broadcast-announcements", "broadcast-feed"


@pytest.fixture(autouse=True)
def rules(settings) -> None:
    settings.BROADCAST = {
        "GROUPS": {
            "broadcast": {"subscribe": "anyone", "publish": "authenticated"},
            "lobby": {"subscribe": "anyone", "publish": "anyone"},
            "members": {"subscribe": "authenticated", "publish": "staff"},
            "user.*": {"subscribe": "self"},
        }
    }


class Page(HTMLParser):
    """The elements of a rendered template, and the texts in them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def one(self, tag: str) -> dict[str, str | None]:
        (attributes,) = self.all(tag)
        return attributes


@pytest.fixture
def page(rf) -> Callable[..., Page]:
    """`page("broadcast_feed 'lobby'", user=ann)` renders tags for a visitor."""

    def rendered(*tags: str, user: Any = None, cookie: str = "", **context: Any) -> Page:
        request = rf.get("/page/")
        request.user = user or AnonymousUser()
        request.COOKIES["broadcast_dismissed"] = cookie
        source = "{% load broadcast %}" + "".join(f"{{% {tag} %}}" for tag in tags)
        return Page(Template(source).render(Context({"request": request, **context})))

    return rendered


def aged(message: Message, seconds: float) -> None:
    Message.objects.filter(pk=message.pk).update(sent_at=timezone.now() - timedelta(seconds=seconds))


def epoch(group: str = "broadcast") -> str:
    return Group.objects.get(name=group).epoch


# The feed


def test_a_feed_has_the_latest_messages_and_the_position_after_them(page, db):
    send_many(["one", "two", "three"], group="lobby")
    it = page('broadcast_feed "lobby" limit=2')
    assert [text for text in it.texts if text in ("one", "two", "three")] == ["two", "three"]
    feed = it.one(FEED)
    assert (feed["group"], feed["epoch"], feed["offset"]) == ("lobby", epoch("lobby"), "3")
    assert (feed["socket"], feed["user"]) == ("/ws", "")


def test_a_group_that_nobody_used_begins_at_its_beginning(page, db):
    feed = page('broadcast_feed "lobby"').one(FEED)
    assert (feed["epoch"], feed["offset"]) == (epoch("lobby"), "0")


def test_the_group_may_be_a_variable(page, db):
    assert page("broadcast_feed name", name="lobby").one(FEED)["group"] == "lobby"


def test_who_may_not_read_gets_nothing(page, db):
    assert page('broadcast_feed "members"').elements == []
    assert page('broadcast_feed "nowhere"').elements == []
    ann = User.objects.create_user("ann")
    assert page('broadcast_feed "members"', user=ann).one(FEED)["user"] == "ann"


def test_an_instance_is_open_to_whom_the_view_gives_the_page(page, db):
    ann, group = User.objects.create_user("ann"), Permission.objects.all()[0]
    name = page("broadcast_feed ticket", user=ann, ticket=group).one(FEED)["group"]
    assert name.startswith(f"auth.permission.{group.pk}:")
    assert page("broadcast_feed ticket", ticket=group).one(FEED)["group"] != name
    send("hello", group=f"auth.permission.{group.pk}")
    assert "hello" in page("broadcast_feed ticket", ticket=group).texts


@pytest.mark.parametrize("tag", ["broadcast_feed", "broadcast_announcements"])
def test_a_users_own_group_is_shown_to_nobody_else(page, db, tag):
    ann, bob = User.objects.create_user("ann"), User.objects.create_user("bob")
    given = f"{tag} reader" if tag == "broadcast_feed" else f"{tag} group=reader personal=False"
    own = page(given, user=ann, reader=ann).all(FEED) + page(given, user=ann, reader=ann).all(ANNOUNCEMENTS)
    assert own[0]["group"] == f"user.{ann.pk}"
    for visitor in (bob, None):
        said = "the user 'ann', whose own group is for that user alone. Show it on that user's own pages"
        with pytest.raises(TemplateSyntaxError, match=said):
            page(given, user=visitor, reader=ann)


def test_a_rule_may_show_a_users_own_group_to_others(page, db, settings):
    settings.BROADCAST = {"GROUPS": {"user.*": {"subscribe": "staff"}}}
    ann, boss = User.objects.create_user("ann"), User.objects.create_user("boss", is_staff=True)
    assert page("broadcast_feed reader", user=boss, reader=ann).one(FEED)["group"] == f"user.{ann.pk}"
    assert page("broadcast_feed reader", user=ann, reader=ann).elements == []


def test_a_box_is_for_those_who_may_write(page, db):
    ann, boss = User.objects.create_user("ann"), User.objects.create_user("boss", is_staff=True)
    assert page('broadcast_feed "lobby"').all("form") == []
    assert page('broadcast_feed "lobby" write=True').one("form")["action"] == "/broadcast/"
    refused = page('broadcast_feed "members" write=True', user=ann)
    assert refused.all("form") == []
    assert "You can read here, but your account may not write." in refused.texts
    assert page('broadcast_feed "members" write=True', user=boss).one("form")


def test_a_guest_is_led_to_sign_in_and_back(page, db):
    it = page('broadcast_feed "broadcast" write=True')
    assert it.one("a")["href"] == "/admin/login/?next=%2Fpage%2F"


def test_without_the_apps_addresses_the_form_needs_the_script(page, db, settings):
    settings.ROOT_URLCONF = "tests.test_tags"
    form = page('broadcast_feed "lobby" write=True').one("form")
    assert (form["action"], "data-scripted" in form) == ("", True)


urlpatterns: list[Any] = []


def test_a_title_is_a_heading(page, db):
    it = page('broadcast_feed "lobby" title="The lobby"')
    assert ("h2", {}) in it.elements
    assert page('broadcast_feed "lobby" title=title', title=None).all("h2") == []
    assert "The lobby" in it.texts


# Announcements


def test_what_the_site_said_is_there_and_goes_on_from_there(page, db):
    send("Lunch is ready", data={"level": "success", "title": "Canteen", "url": "/menu/"})
    it = page("broadcast_announcements")
    assert [text for text in it.texts if text] == ["Canteen", "Lunch is ready"]
    assert it.one("a")["href"] == "/menu/"
    assert it.one("article")["data-level"] == "success"
    assert it.one("article")["data-offset"] == "1"
    element = it.one(ANNOUNCEMENTS)
    assert (element["group"], element["epoch"], element["offset"]) == ("broadcast", epoch(), "1")
    assert (element["as"], element["timeout"], element["max"]) == ("toasts", "10.0", "4")


def test_what_visitors_say_is_no_announcement(page, db):
    ann = User.objects.create_user("ann")
    send("I am the site", author=ann)
    Message.objects.create(group_id="broadcast", author="Bob", body="I too", source="guest", offset=2)
    assert page("broadcast_announcements").all("article") == []


def test_a_user_hears_what_is_theirs_as_well(page, db):
    ann, bob = User.objects.create_user("ann"), User.objects.create_user("bob")
    send("To all")
    send("To ann", group=f"user.{ann.pk}")
    assert [text for text in page("broadcast_announcements", user=ann).texts if text] == ["To all", "To ann"]
    element = page("broadcast_announcements", user=ann).one(ANNOUNCEMENTS)
    assert element["group"] == f"broadcast user.{ann.pk}"
    assert element["epoch"] == f"{epoch()} {epoch(f'user.{ann.pk}')}"
    assert element["offset"] == "1 1"
    assert "To ann" not in page("broadcast_announcements", user=bob).texts
    assert "To ann" not in page("broadcast_announcements").texts
    alone = page("broadcast_announcements personal=False", user=ann)
    assert alone.one(ANNOUNCEMENTS)["group"] == "broadcast"


def test_a_users_own_group_is_announced_once(page, db):
    ann = User.objects.create_user("ann")
    send("To ann", to=ann)
    own = page("broadcast_announcements group=reader", user=ann, reader=ann)
    assert own.one(ANNOUNCEMENTS)["group"] == f"user.{ann.pk}"
    assert own.texts.count("To ann") == 1


def test_what_one_element_shows_no_other_of_the_page_shows_again(page, db):
    ann = User.objects.create_user("ann")
    send("To ann", to=ann)
    send("To all")
    send("News", group="members")
    banner, toasts = 'broadcast_announcements as="banner" max=4', 'broadcast_announcements group="members"'
    it = page(banner, toasts, user=ann)
    assert [text for text in it.texts if text] == ["To ann", "To all", "News"]
    groups = [element["group"] for element in it.all(ANNOUNCEMENTS)]
    assert groups == [f"broadcast user.{ann.pk}", f"members user.{ann.pk}"]
    assert page(toasts, user=ann).texts.count("To ann") == 1  # the next page is another


def test_another_group_may_be_announced(page, db):
    send("news", group="members")
    ann = User.objects.create_user("ann")
    assert page('broadcast_announcements group="members"').elements == []
    assert "news" in page('broadcast_announcements group="members"', user=ann).texts


@pytest.mark.parametrize(
    ("tag", "data", "age", "is_current"),
    [
        ("broadcast_announcements", {}, 9, True),
        ("broadcast_announcements", {}, 11, False),
        ("broadcast_announcements timeout=60", {}, 59, True),
        ("broadcast_announcements timeout=60", {}, 61, False),
        ("broadcast_announcements", {"timeout": 60}, 59, True),
        ("broadcast_announcements timeout=60", {"timeout": 5}, 6, False),
        ("broadcast_announcements timeout=0", {}, 86_000, True),
        ("broadcast_announcements timeout=0", {}, 86_500, False),
        ('broadcast_announcements as="banner"', {}, 86_000, True),
        ("broadcast_announcements", {"timeout": 0}, 86_000, True),
        ("broadcast_announcements", {"timeout": 10**18}, 86_500, True),
    ],
)
def test_what_is_current_is_shown(page, db, tag, data, age, is_current):
    aged(send("hello", data=data), age)
    assert len(page(tag).all("article")) == is_current


def test_what_is_left_of_its_time_is_told(page, db):
    aged(send("hello"), 4)
    assert 5_000 < int(page("broadcast_announcements").one("article")["data-left-ms"]) <= 6_000
    assert page("broadcast_announcements timeout=0").one("article")["data-left-ms"] == "0"


def test_the_newest_few_are_shown(page, db):
    send_many(["1", "2", "3", "4", "5"])
    assert [text for text in page("broadcast_announcements").texts if text] == ["2", "3", "4", "5"]
    assert [text for text in page("broadcast_announcements max=2").texts if text] == ["4", "5"]
    assert [text for text in page('broadcast_announcements as="banner"').texts if text] == ["5"]


def test_what_was_dismissed_does_not_come_back(page, db):
    send_many(["1", "2", "3"])
    cookie = f"other:1~{epoch()}:1.3~"
    assert [text for text in page("broadcast_announcements", cookie=cookie).texts if text] == ["2"]


@pytest.mark.parametrize("cookie", ["", "~", ":", "a", "~:.~..", "\udcff", "x" * 5000])
def test_a_cookie_that_makes_no_sense_hides_nothing(page, db, cookie):
    send("hello")
    assert len(page("broadcast_announcements", cookie=cookie).all("article")) == 1


def test_the_urgent_ones_are_alerts(page, db):
    for level in ("info", "success", "warning", "error"):
        send(level, data={"level": level})
    html = page("broadcast_announcements").html
    alerts, statuses = html.split('role="status"')
    assert re.findall(r'data-level="(\w+)"', alerts) == ["warning", "error"]
    assert re.findall(r'data-level="(\w+)"', statuses) == ["info", "success"]


@pytest.mark.parametrize(
    "data",
    [
        {"level": "fatal", "title": 7, "url": "javascript:alert(1)", "timeout": "soon"},
        {"level": ["error"], "title": {}, "url": "java\nscript:alert(1)", "timeout": -1},
        {"level": None, "title": None, "url": " javascript:alert(1)", "timeout": True},
        {"level": 1, "title": [], "url": "data:text/html,x", "timeout": None},
    ],
)
def test_data_that_will_not_do_counts_as_left_out(page, db, data):
    send("hello", data=data)
    it = page("broadcast_announcements")
    assert it.one("article")["data-level"] == "info"
    assert it.all("a") == []
    assert [text for text in it.texts if text] == ["hello"]
    assert int(it.one("article")["data-left-ms"]) > 0


def test_text_is_only_ever_text(page, db):
    attack = '"><script>alert(1)</script>'
    send(attack, data={"title": attack, "url": f"/{attack}", "level": "error"})
    send(attack, group="lobby")
    it = page("broadcast_announcements", 'broadcast_feed "lobby" title=title', title=attack)
    assert it.texts.count(attack) == 4
    assert all(script["src"].startswith("/static/") for script in it.all("script"))


# Both


def test_style_sheet_and_script_come_once_a_page(page, db):
    it = page(
        "broadcast_announcements", 'broadcast_feed "lobby"', 'broadcast_feed "broadcast"', "broadcast_announcements"
    )
    assert [script["src"] for script in it.all("script")] == [
        "/static/broadcast/announcements.js",
        "/static/broadcast/feed.js",
    ]
    assert [link["href"] for link in it.all("link")] == [
        "/static/broadcast/announcements.css",
        "/static/broadcast/feed.css",
    ]
    assert all(script["type"] == "module" for script in it.all("script"))


def test_a_page_that_was_begun_and_given_up_takes_no_links_from_the_next(page, rf, db):
    """As an error page is made after a template that raised, with the same request."""
    request = rf.get("/")
    request.user = AnonymousUser()
    template = Template('{% load broadcast %}{% broadcast_feed "lobby" %}')
    pages = [Page(template.render(Context({"request": request}))) for _ in range(2)]
    assert [len(each.all("script")) for each in pages] == [1, 1]


def test_links_come_once_over_all_parts_of_a_page(rf, db):
    part = '{% load broadcast %}{% broadcast_feed "lobby" %}'
    request = rf.get("/")
    request.user = AnonymousUser()
    context = {"request": request, "part": Template(part)}
    whole = Template("{% include part %}{% include part with request=request only %}" + part)
    it = Page(whole.render(Context(context)))
    assert (len(it.all(FEED)), len(it.all("script"))) == (3, 1)


def test_nothing_is_inline(page, db):
    send("hello")
    send("hello", group="lobby")
    it = page("broadcast_announcements", 'broadcast_feed "lobby" write=True')
    assert not re.search(r"<style\b|\sstyle=|javascript:|<script>|\son\w+=", it.html)


@pytest.mark.parametrize("tag", ["broadcast_announcements", 'broadcast_feed "lobby"'])
@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("colour='red'", "'colour'"),
        ("True", "too many positional arguments"),
        ("group='a' group='b'", "multiple values for keyword argument 'group'"),
    ],
)
def test_an_option_that_a_tag_does_not_have_is_refused(page, tag, option, said):
    with pytest.raises(TemplateSyntaxError, match=f"'{tag.split()[0]}' .*{said}"):
        page(f"{tag} {option}")


@pytest.mark.parametrize("tag", ["broadcast_feed", "broadcast_feed write=True", 'broadcast_feed "lobby" colour="red"'])
def test_a_feed_is_refused_before_it_is_rendered(tag):
    with pytest.raises(TemplateSyntaxError, match=r"'group'|'colour'"):
        Template(f"{{% load broadcast %}}{{% {tag} %}}")


@pytest.mark.parametrize(
    ("value", "writes"),
    [("True", 1), ("False", 0), ("1", 1), ("0", 0), ("None", 0), ("missing", 0), ("things", 1), ("nothing", 0)],
)
def test_an_option_is_on_or_off_as_an_if_would_have_it(page, db, value, writes):
    assert len(page(f'broadcast_feed "lobby" write={value}', things=["x"], nothing=[]).all("form")) == writes


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ('broadcast_announcements as="popup"', "as must be one of 'toasts', 'banner'; it came as 'popup'."),
        ("broadcast_announcements as=things", "as must be one of 'toasts', 'banner'; it came as"),
        ('broadcast_announcements timeout="soon"', "timeout must be a number of seconds, or 0; it came as 'soon'."),
        ("broadcast_announcements timeout=-1", "timeout must be a number of seconds, or 0; it came as -1."),
        ("broadcast_announcements max=0", "max must be a positive whole number; it came as 0."),
        ('broadcast_feed "lobby" limit=1.5', "limit must be a positive whole number; it came as 1.5."),
        ('broadcast_feed "lobby" write="False"', "write must be True or False, without quotes; it came as 'False'."),
        ('broadcast_feed "lobby" write="yes"', "write must be True or False, without quotes; it came as 'yes'."),
        ('broadcast_announcements personal="no"', "personal must be True or False, without quotes; it came as 'no'."),
        ('broadcast_announcements personal="0"', "personal must be True or False, without quotes; it came as '0'."),
        ("broadcast_feed missing", "name"),
        ('broadcast_feed "not a name"', "'not a name'"),
        ("broadcast_feed unsaved", "saved"),
        ("broadcast_feed things", "list"),
        ("broadcast_announcements group=unsaved", "saved"),
    ],
)
def test_a_value_that_will_not_do_is_refused_with_the_reason(page, db, tag, said):
    with pytest.raises(TemplateSyntaxError, match=re.escape(said)) as caught:
        page(tag, things=["banner"], unsaved=User(username="ann"))
    assert str(caught.value).startswith(f"{{% {tag.split()[0]} %}}: ")


def test_the_request_may_come_by_the_context_alone(rf, db):
    request = rf.get("/")
    request.user = AnonymousUser()
    html = Template('{% load broadcast %}{% broadcast_feed "lobby" %}').render(RequestContext(request))
    assert Page(html).one(FEED)


def test_a_variable_named_request_may_be_something_else(rf, db):
    request = rf.get("/")
    request.user = AnonymousUser()
    template = engines["django"].from_string('{% load broadcast %}{% broadcast_feed "lobby" %}')
    assert Page(template.render({"request": Group(name="of purchase")}, request)).one(FEED)


def test_the_request_may_be_one_of_rest_framework(rf, db):
    """Its views hand their templates a request of their own, around Django's."""
    ann = User.objects.create_user("ann")
    request = Request(rf.get("/page/"))
    request.user = ann
    tags = '{% load broadcast %}{% broadcast_announcements %}{% broadcast_feed "lobby" write=True %}'
    for it in (
        Page(Template(tags).render(Context({"request": request}))),
        Page(engines["django"].from_string(tags).render({}, request)),
    ):
        assert it.one(ANNOUNCEMENTS)["group"] == f"broadcast user.{ann.pk}"
        assert it.one(FEED)["user"] == "ann"
        assert {"type": "hidden", "name": "next", "value": "/page/"} in it.all("input")


def test_a_feed_without_a_request_says_so(db):
    with pytest.raises(ImproperlyConfigured, match="render the template with the request"):
        Template('{% load broadcast %}{% broadcast_feed "lobby" %}').render(Context())


def test_a_page_without_a_request_goes_without_announcements_and_the_log_says_so(db, caplog):
    """Django makes the page of an error 500 without one, and it may well have the site's base template."""
    assert Template("{% load broadcast %}{% broadcast_announcements %}").render(Context()) == ""
    assert [record.message for record in caplog.records] == [
        "broadcast_announcements shows nothing: the template was rendered without a request"
    ]


def test_a_request_without_a_user_is_a_guests(rf, db):
    tags = '{% load broadcast %}{% broadcast_announcements %}{% broadcast_feed "members" %}'
    it = Page(Template(tags).render(Context({"request": HttpRequest()})))
    assert it.one(ANNOUNCEMENTS)["group"] == "broadcast"
    assert it.all(FEED) == []


def test_numbers_are_for_programs_whatever_the_language(page, db, settings):
    settings.USE_THOUSAND_SEPARATOR = True
    Group.objects.create(name="broadcast", epoch="e", head=1_234_567)
    send("hello")
    with translation.override("de"):
        it = page("broadcast_announcements timeout=1000.5", 'broadcast_feed "broadcast"')
    assert it.one(FEED)["offset"] == it.one(ANNOUNCEMENTS)["offset"] == it.one("article")["data-offset"] == "1234568"
    assert it.one(ANNOUNCEMENTS)["timeout"] == "1000.5"


def test_without_a_log_a_page_is_live_all_the_same(page):
    it = page("broadcast_announcements", 'broadcast_feed "lobby"')
    for tag in (ANNOUNCEMENTS, FEED):
        assert "epoch" not in it.one(tag)
        assert it.one(tag)["group"] in ("broadcast", "lobby")


def test_a_page_does_without_a_log_that_cannot_be_read(page, transactional_db, monkeypatch, caplog):
    connections.close_all()
    with monkeypatch.context() as patch:
        patch.setitem(connections.settings["default"], "NAME", "/nowhere/db.sqlite3")
        assert page("broadcast_announcements", 'broadcast_feed "lobby"').elements == []
    connections.close_all()
    assert "The message log cannot be used" in caplog.text
    assert page('broadcast_feed "lobby"').one(FEED)


def test_one_look_tells_where_all_groups_stand(page, db, django_assert_num_queries):
    ann = User.objects.create_user("ann")
    page("broadcast_announcements", user=ann)
    with django_assert_num_queries(3):  # the heads of both groups, and what was said in each
        page("broadcast_announcements", user=ann)


# In a transaction


def test_what_waits_is_not_sequenced_in_a_transaction_that_may_be_rolled_back(page, transactional_db):
    send("first", group="lobby")
    Message.objects.create(group_id="lobby", author="Server", body="orphan")
    with transaction.atomic():
        it = page('broadcast_feed "lobby"')
    assert it.one(FEED)["offset"] == "1"
    assert Message.objects.get(body="orphan").offset is None
    assert page('broadcast_feed "lobby"').one(FEED)["offset"] == "2"


def test_a_transaction_goes_on_after_a_new_groups_page(page, transactional_db):
    with transaction.atomic():
        assert page('broadcast_feed "lobby"').one(FEED)["offset"] == "0"
        send("hello", group="lobby")
    assert page('broadcast_feed "lobby"').one(FEED)["epoch"] == epoch("lobby")
    assert Group.objects.get(name="lobby").head == 1


def test_a_message_that_comes_between_head_and_list_is_there_once(page, transactional_db, monkeypatch):
    send("before", group="lobby")
    newest = this_process.log.newest

    def later(group: str, limit: int) -> list[Message]:
        send("between", group="lobby")
        return newest(group, limit)

    monkeypatch.setattr(this_process.log, "newest", later)
    it = page('broadcast_feed "lobby"')
    assert (it.texts.count("between"), it.one(FEED)["offset"]) == (1, "2")


# In another language


@pytest.fixture
def german(settings, tmp_path) -> Iterator[None]:
    """A site that has translated two of the texts."""
    catalog = {"": "Content-Type: text/plain; charset=UTF-8\n", "Live": "Verbunden", "Write a message": "Schreiben"}
    directory = tmp_path / "de" / "LC_MESSAGES"
    directory.mkdir(parents=True)
    (directory / "django.mo").write_bytes(compiled(catalog))
    settings.LOCALE_PATHS = [tmp_path]
    with translation.override("de"):
        yield


def compiled(catalog: dict[str, str]) -> bytes:
    """A catalog as gettext reads it (GNU gettext manual, "The Format of GNU MO Files")."""
    pairs = sorted((key.encode(), text.encode()) for key, text in catalog.items())
    count, start = len(pairs), 28 + 16 * len(pairs)
    tables, strings = [b"", b""], b""
    for column in (0, 1):
        for pair in pairs:
            tables[column] += struct.pack("<2I", len(pair[column]), start + len(strings))
            strings += pair[column] + b"\0"
    return struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0) + tables[0] + tables[1] + strings


@pytest.mark.usefixtures("german")
def test_another_language_is_told_to_the_script_too(page, db):
    it = page('broadcast_feed "lobby" write=True')
    told = json.loads(it.one(FEED)["texts"])  # with what Django itself has translated
    assert (told["live"], told["write"]) == ("Verbunden", "Schreiben")
    assert "retry" not in told
    assert it.one("textarea")["placeholder"] == "Schreiben"


def test_english_needs_not_be_told(page, db):
    assert "texts" not in page('broadcast_feed "lobby"').one(FEED)
