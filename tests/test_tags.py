"""The tags: what a page has of announcements and feeds as it is served, for whom, and what their options must be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib import messages
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.contrib.messages.storage.cookie import CookieStorage
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.http import HttpRequest
from django.template import Context, RequestContext, Template, TemplateSyntaxError, engines
from django.utils import timezone, translation
from django.utils.html import format_html
from django.utils.translation import trans_real
from rest_framework.request import Request

from broadcast import send, send_many
from broadcast.elements.announcements import current_announcements
from broadcast.engine.process import this_process
from broadcast.engine.storage.records import VOID
from broadcast.models import Group, Message
from tests.kit.log import unreachable_database
from tests.kit.pages import Page

OLD_TO_NEW = range(9, 0, -1)
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


@pytest.fixture
def visit(rf) -> Callable[..., HttpRequest]:
    """`visit(ann)` is her request for a page, `visit()` a guest's."""

    def requested(user: Any = None) -> HttpRequest:
        request: HttpRequest = rf.get("/page/")
        request.user = user or AnonymousUser()
        return request

    return requested


@pytest.fixture
def page(visit) -> Callable[..., Page]:
    """`page("broadcast_feed 'lobby'", user=ann)` renders tags for a visitor."""

    def rendered(*tags: str, user: Any = None, cookie: str = "", **context: Any) -> Page:
        request = visit(user)
        request.COOKIES["broadcast_dismissed"] = cookie
        return Page(template_of(*tags).render(Context({"request": request, **context})))

    return rendered


def template_of(*tags: str) -> Template:
    return Template("{% load broadcast %}" + "".join(f"{{% {tag} %}}" for tag in tags))


def aged(message: Message, seconds: float) -> None:
    Message.objects.filter(pk=message.pk).update(sent_at=timezone.now() - timedelta(seconds=seconds))


def epoch(group: str = "broadcast") -> str:
    return Group.objects.get(name=group).epoch


# The feed


def test_a_feed_has_the_latest_messages_and_the_position_after_them(page, db):
    begun = page('broadcast_feed "lobby"').one(FEED)
    assert (begun["epoch"], begun["offset"], "texts" in begun) == (VOID, "0", False)
    send_many(["one", "two", "three"], group="lobby")
    it = page("broadcast_feed name limit=2", name="lobby")
    assert [text for text in it.texts if text in ("one", "two", "three")] == ["two", "three"]
    feed = it.one(FEED)
    assert (feed["group"], feed["epoch"], feed["offset"]) == ("lobby", epoch("lobby"), "3")
    assert (feed["socket"], feed["user"]) == ("/ws", "")


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


@pytest.mark.parametrize("tag", ["broadcast_feed reader", "broadcast_announcements group=reader personal=False"])
def test_a_users_own_group_is_shown_to_nobody_else(page, db, tag):
    ann, bob = User.objects.create_user("ann"), User.objects.create_user("bob")
    own = page(tag, user=ann, reader=ann)
    assert [each["group"] for each in own.all(FEED) + own.all(ANNOUNCEMENTS)] == [f"user.{ann.pk}"]
    said = "the user 'ann', whose own group is for that user alone. Show it on that user's own pages"
    for visitor in (bob, None):
        with pytest.raises(TemplateSyntaxError, match=said):
            page(tag, user=visitor, reader=ann)


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
    guests = page('broadcast_feed "broadcast" write=True')
    assert guests.one("a")["href"] == "/admin/login/?next=%2Fpage%2F"


def test_without_the_apps_addresses_the_form_needs_the_script(page, db, settings):
    settings.ROOT_URLCONF = "tests.test_tags"
    form = page('broadcast_feed "lobby" write=True').one("form")
    assert (form["action"], "data-scripted" in form) == ("", True)


urlpatterns: list[Any] = []


# Announcements


def test_what_the_site_said_is_there_and_goes_on_from_there(page, db):
    send("Lunch is ready", data={"level": "success", "title": "Canteen", "url": "/menu/"})
    it = page("broadcast_announcements")
    assert it.texts == ["Canteen", "Lunch is ready"]
    assert it.one("a")["href"] == "/menu/"
    assert (it.one("article")["data-level"], it.one("article")["data-offset"]) == ("success", "1")
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
    send("To ann", to=ann)
    it = page("broadcast_announcements", user=ann)
    assert it.texts == ["To all", "To ann"]
    element = it.one(ANNOUNCEMENTS)
    assert (element["group"], element["offset"]) == (f"broadcast user.{ann.pk}", "1 1")
    assert element["epoch"] == f"{epoch()} {epoch(f'user.{ann.pk}')}"
    for visitor in (bob, None):
        assert "To ann" not in page("broadcast_announcements", user=visitor).texts
    alone = page("broadcast_announcements personal=False", user=ann)
    assert alone.one(ANNOUNCEMENTS)["group"] == "broadcast"
    own = page("broadcast_announcements group=reader", user=ann, reader=ann)  # once, though it is theirs as well
    assert (own.one(ANNOUNCEMENTS)["group"], own.texts) == (f"user.{ann.pk}", ["To ann"])


def test_what_one_element_shows_no_other_of_the_page_shows_again(page, db):
    ann = User.objects.create_user("ann")
    send("To ann", to=ann)
    send("To all")
    send("News", group="members")
    banner, toasts = 'broadcast_announcements as="banner" max=4', 'broadcast_announcements group="members"'
    it = page(banner, toasts, user=ann)
    assert it.texts == ["To ann", "To all", "News"]
    groups = [element["group"] for element in it.all(ANNOUNCEMENTS)]
    assert groups == [f"broadcast user.{ann.pk}", f"members user.{ann.pk}"]
    assert sorted(page(toasts, user=ann).texts) == ["News", "To ann"]  # the next page is another
    assert page(toasts).elements == []  # a guest may not read it


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


def test_what_matters_most_is_shown_then_the_newest_and_the_rest_waits(page, db):
    send("outage", data={"level": "error"})
    send("read this", data={"timeout": 0})
    send_many(["3", "4", "5"])
    for options, hidden in (("", [2]), ("max=2", [2, 3, 4]), ('as="banner"', [1, 2, 3, 4]), ("max=9", [])):
        it = page(f"broadcast_announcements {options}")
        assert it.texts == ["outage", "read this", "3", "4", "5"]
        assert [at for at, card in enumerate(it.all("article")) if "hidden" in card] == hidden
        assert it.buttons == [*([f"{len(hidden)} more"] if hidden else []), "Dismiss all"]


@pytest.mark.parametrize("data", [{"level": "error"}, {"timeout": 0}])
def test_what_must_be_dismissed_is_pushed_out_by_nothing(page, db, data):
    send("read this", data=data)
    send_many([f"info {number}" for number in range(30)])
    assert page("broadcast_announcements").texts[:2] == ["read this", "info 11"]
    dismissed = f"{epoch()}:" + ".".join(map(str, range(12, 32)))
    assert page("broadcast_announcements", cookie=dismissed).texts[-1] == "info 9"


@pytest.mark.parametrize("age", [11, 86_000])
def test_an_error_stays_until_it_is_dismissed(page, db, age):
    aged(send("outage", data={"level": "error"}), age)
    assert page("broadcast_announcements").one("article")["data-left-ms"] == "0"
    aged(send("hiccup", data={"level": "error", "timeout": 5}), age)
    assert page("broadcast_announcements").texts == ["outage"]


def test_django_messages_are_shown_once_in_the_same_place_even_to_who_may_hear_nothing(visit, db):
    request = visit()
    request._messages = CookieStorage(request)
    for add in (messages.debug, messages.success, messages.warning, messages.error):
        add(request, f"<{add.__name__}>")
    messages.info(request, format_html("<b>{}</b>", "bold"))
    tag = "broadcast_announcements group='members' messages=True"
    it = Page(template_of(tag, tag).render(Context({"request": request})))
    assert it.texts == ["<success>", "<warning>", "<error>", "bold"]
    assert [card["data-level"] for card in it.all("article")] == ["success", "warning", "error", "info"]


@pytest.mark.parametrize(
    ("csp_nonce", "of_request", "written"), [("abc", None, "abc"), (None, 'd"f', "d&quot;f"), (None, None, None)]
)
@pytest.mark.parametrize("options", ["", " shadow=False"])
def test_the_sites_nonce_stands_in_all_that_is_loaded(visit, db, csp_nonce, of_request, written, options):
    request = visit()
    if of_request:
        request.csp_nonce = of_request
    context = {"request": request} | ({"csp_nonce": csp_nonce} if csp_nonce else {})
    html = template_of(f"broadcast_announcements{options}", f"broadcast_feed 'lobby'{options}").render(Context(context))
    loading = re.findall(r"<(?:script|link)\b[^>]*>", html)
    assert len(loading) == 4
    assert all(f' nonce="{written}"' in each if written else "nonce" not in each for each in loading)


@pytest.mark.parametrize("cookie", ["", "~", ":", "a", "~:.~..", "\udcff", "x" * 5000])
def test_what_was_dismissed_does_not_come_back_and_a_cookie_that_makes_no_sense_hides_nothing(page, db, cookie):
    send_many(["1", "2", "3"])
    assert page("broadcast_announcements", cookie=cookie).texts == ["1", "2", "3"]
    dismissed = f"other:1~{epoch()}:1.3~{cookie}"
    assert page("broadcast_announcements", cookie=dismissed[:4000]).texts == ["2"]


@pytest.mark.parametrize(
    "url", ["export/7/", "?page=2", "mailto:desk@example.org", "tel:+49123", "HTTPS://example.org/"]
)
def test_an_announcement_leads_where_links_may_lead(page, db, url):
    send("hello", data={"url": url})
    assert page("broadcast_announcements").one("a")["href"] == url


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
    assert it.texts == ["hello"]
    assert int(it.one("article")["data-left-ms"]) > 0


def test_text_is_only_ever_text_and_nothing_is_inline(page, db):
    attack = '"><script>alert(1)</script>'
    send(attack, data={"title": attack, "url": f"/{attack}", "level": "error"})
    send(attack, group="lobby")
    tags = "broadcast_announcements", 'broadcast_feed "lobby" title=title write=True'
    it = page(*tags, user=User.objects.create(username=attack), title=attack)
    assert it.one(FEED)["user"] == attack
    assert it.texts.count(attack) == 5  # the last is the name above the box
    assert it.one("h2")
    assert page('broadcast_feed "lobby" title=title', title=None).all("h2") == []
    assert all(script["src"].startswith("/static/") for script in it.all("script"))
    assert not re.search(r"<style\b|\sstyle=|javascript:|<script>|\son\w+=", it.html)


# Both


def test_style_sheet_and_script_come_once_a_page(page, db):
    feeds = 'broadcast_feed "lobby"', 'broadcast_feed "broadcast"'
    it = page("broadcast_announcements", *feeds, "broadcast_announcements")
    static = "/static/broadcast/"
    assert [script["src"] for script in it.all("script")] == [f"{static}announcements.js", f"{static}feed.js"]
    roots = ["announcements.css", "feed.css", "feed.css", "announcements.css"]  # each root has its own
    assert [link["href"] for link in it.all("link")] == [f"{static}{name}" for name in roots]
    in_page = page(*(f"{tag} shadow=False" for tag in ("broadcast_announcements", *feeds)))
    assert [link["href"] for link in in_page.all("link")] == [
        f"{static}{name}-in-page.css" for name in ("announcements", "feed")
    ]
    assert (in_page.all("template"), [it["shadow"] for it in in_page.all(FEED)]) == ([], ["none", "none"])
    assert all("defer" in script for script in it.all("script"))


def test_a_page_that_was_begun_and_given_up_takes_no_links_from_the_next(visit, db):
    """As an error page is made after a template that raised, with the same request."""
    request, template = visit(), template_of('broadcast_feed "lobby"')
    pages = [Page(template.render(Context({"request": request}))) for _ in range(2)]
    assert [len(each.all("script")) for each in pages] == [1, 1]


def test_links_come_once_over_all_parts_of_a_page(visit, db):
    whole = Template("{% include part %}{% include part with request=request only %}{% include part %}")
    it = Page(whole.render(Context({"request": visit(), "part": template_of('broadcast_feed "lobby"')})))
    assert (len(it.all(FEED)), len(it.all("script"))) == (3, 1)


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
        template_of(tag)


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
        ('broadcast_feed "lobby" write="yes"', "write must be True or False, without quotes; it came as 'yes'."),
        ('broadcast_announcements personal="no"', "personal must be True or False, without quotes; it came as 'no'."),
        ('broadcast_feed "not a name"', "'not a name'"),
        ("broadcast_feed unsaved", "saved"),
        ("broadcast_announcements group=unsaved", "saved"),
    ],
)
def test_a_value_that_will_not_do_is_refused_with_the_reason(page, db, tag, said):
    with pytest.raises(TemplateSyntaxError, match=re.escape(said)) as caught:
        page(tag, things=["banner"], unsaved=User(username="ann"))
    assert str(caught.value).startswith(f"{{% {tag.split()[0]} %}}: ")


def test_the_request_may_come_by_the_context_alone_whatever_a_variable_request_is(visit, db):
    assert Page(template_of('broadcast_feed "lobby"').render(RequestContext(visit()))).one(FEED)
    template = engines["django"].from_string('{% load broadcast %}{% broadcast_feed "lobby" %}')
    assert Page(template.render({"request": Group(name="of purchase")}, visit())).one(FEED)


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


def test_a_page_without_a_request_goes_without_announcements_but_not_without_a_feed(db, caplog):
    """Django makes the page of an error 500 without one, and it may well have the site's base template."""
    assert template_of("broadcast_announcements").render(Context()) == ""
    said = "broadcast_announcements shows nothing: the template was rendered without a request"
    assert [record.message for record in caplog.records] == [said]
    with pytest.raises(ImproperlyConfigured, match="render the template with the request"):
        template_of('broadcast_feed "lobby"').render(Context())


def test_a_request_without_a_user_is_a_guests(db):
    tags = template_of("broadcast_announcements", 'broadcast_feed "members"')
    it = Page(tags.render(Context({"request": HttpRequest()})))
    assert it.one(ANNOUNCEMENTS)["group"] == "broadcast"
    assert it.all(FEED) == []


def test_numbers_are_for_programs_whatever_the_language(page, db, settings):
    settings.USE_THOUSAND_SEPARATOR = True
    Group.objects.create(name="broadcast", epoch="e", head=1_234_567)
    send("hello")
    with translation.override("de"):
        it = page("broadcast_announcements timeout=1000.5", 'broadcast_feed "broadcast"')
    assert it.one(FEED)["offset"] == it.one(ANNOUNCEMENTS)["offset"] == it.one("article")["data-offset"] == "1234568"
    assert (it.one(ANNOUNCEMENTS)["timeout"], it.one(FEED)["max-body"]) == ("1000.5", "4000")


def test_without_a_log_a_page_is_live_all_the_same(page):
    it = page("broadcast_announcements", 'broadcast_feed "lobby"')
    for tag in (ANNOUNCEMENTS, FEED):
        assert "epoch" not in it.one(tag)
        assert it.one(tag)["group"] in ("broadcast", "lobby")


def test_a_page_does_without_a_log_that_cannot_be_read(page, transactional_db, caplog):
    with unreachable_database():
        assert page("broadcast_announcements", 'broadcast_feed "lobby"').elements == []
    assert "The message log cannot be used" in caplog.text
    assert page('broadcast_feed "lobby"').one(FEED)


@pytest.mark.parametrize(
    ("said", "is_signed_in", "queries", "shown"),
    [
        ([], False, 1, []),
        ([], True, 1, []),
        ([("broadcast", 0, {})], False, 2, ["broadcast 0"]),
        ([("broadcast", 0, {})], True, 2, ["broadcast 0"]),
        ([("broadcast", 9, {}), ("own", 5, {"level": "error"})], True, 2, ["broadcast 9", "own 5"]),
        ([("broadcast", 20, {}), ("own", 20, {})], True, 2, []),
        (
            [("broadcast", age, {}) for age in range(9, 0, -1)],
            False,
            2,
            [f"broadcast {age}" for age in range(9, 0, -1)],
        ),
    ],
)
def test_announcements_cost_two_queries_at_most(
    page, db, django_assert_num_queries, said, is_signed_in, queries, shown
):
    ann = User.objects.create_user("ann")
    for group, age, data in said:
        to = {"to": ann} if group == "own" else {}
        aged(send(f"{group} {age}", data=data, **to), age)
    send("to nobody here", to=User.objects.create_user("bob"))
    with django_assert_num_queries(queries):
        it = page("broadcast_announcements", user=ann if is_signed_in else None)
    assert [text for text in it.texts if re.search(r"\d$", text)] == shown


def test_announcements_of_many_groups_cost_two_queries(db, django_assert_num_queries):
    groups = [f"group.{number}" for number in range(30)]
    for number, group in enumerate(groups[::2]):
        send_many([f"{number} old", f"{number} new"], group=group)
    Message.objects.create(group_id="group.0", author="Server", body="waits")
    with django_assert_num_queries(2):
        found = current_announcements(groups, 10, 100, set())
    assert [head.offset for head in found.positions] == [2, 0] * 15
    assert {one.message.body for one in found.announcements} == {
        f"{n} {age}" for n in range(15) for age in ("old", "new")
    }


def test_without_tables_announcements_cost_one_query_and_a_look_for_the_tables(
    page, transactional_db, monkeypatch, django_assert_num_queries
):
    monkeypatch.setattr(Group._meta, "db_table", "nowhere")
    monkeypatch.setattr(Message._meta, "db_table", "nowhere_either")
    with django_assert_num_queries(2):
        assert "epoch" not in page("broadcast_announcements").one(ANNOUNCEMENTS)


# In a transaction


def test_what_waits_is_not_sequenced_in_a_transaction_that_may_be_rolled_back(page, transactional_db):
    send("first", group="lobby")
    Message.objects.create(group_id="lobby", author="Server", body="orphan")
    with transaction.atomic():
        it = page('broadcast_feed "lobby"')
    assert it.one(FEED)["offset"] == "1"
    assert Message.objects.get(body="orphan").offset is None
    it = page('broadcast_feed "lobby"')
    assert (it.one(FEED)["offset"], "orphan" in it.texts) == ("2", True)


def test_a_transaction_goes_on_after_a_new_groups_page(page, transactional_db):
    with transaction.atomic():
        assert page('broadcast_feed "lobby"').one(FEED)["offset"] == "0"
        send("hello", group="lobby")
    assert page('broadcast_feed "lobby"').one(FEED)["epoch"] == epoch("lobby")
    assert Group.objects.get(name="lobby").head == 1


def test_a_message_that_comes_between_head_and_list_is_there_once(page, transactional_db, monkeypatch):
    send("before", group="lobby")
    newest = this_process.log.newest

    def later(*args: Any) -> list[Message]:
        send("between", group="lobby")
        return newest(*args)

    monkeypatch.setattr(this_process.log, "newest", later)
    it = page('broadcast_feed "lobby"')
    assert (it.texts.count("between"), it.one(FEED)["offset"]) == (1, "2")


# In another language


@pytest.fixture
def german() -> Iterator[None]:
    """A site that has translated two of the texts."""
    catalog = trans_real.translation("de")._catalog._catalogs[0]
    with translation.override("de"), patch.dict(catalog, {"Live": "Verbunden", "Write a message": "Schreiben"}):
        yield


@pytest.mark.usefixtures("german")
def test_another_language_is_told_to_the_script_too(page, db):
    it = page('broadcast_feed "lobby" write=True')
    told = json.loads(it.one(FEED)["texts"])  # with what Django itself has translated
    assert (told["live"], told["write"]) == ("Verbunden", "Schreiben")
    assert "retry" not in told
    assert it.one("textarea")["placeholder"] == "Schreiben"
