"""Revalidation: what somebody has lost the right to ends, by a pass or at once by an event; the rest goes on."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from itertools import product
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group as UserGroup
from django.contrib.auth.models import Permission, User, update_last_login
from django.contrib.auth.signals import user_logged_out
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core import signing
from django.core.cache.backends.locmem import LocMemCache
from django.db import OperationalError, connection, transaction
from django.db.models import BooleanField
from django.db.transaction import TransactionManagementError
from django.test import AsyncClient
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from broadcast import asend, consumers
from broadcast.access import fingerprints, revalidation
from broadcast.access.sessions import found_in_tables
from broadcast.access.signals import REVOKE
from broadcast.access.snapshot import find_lost, identify, snapshot_of
from broadcast.audiences import signed_name
from broadcast.consumers import FORBIDDEN
from broadcast.engine.frames import UNAVAILABLE
from broadcast.engine.hints.layer import CONTROL_GROUP
from broadcast.engine.hub.hub import Hub
from broadcast.engine.process import this_process
from broadcast.engine.storage.database import reading
from broadcast.groups import channels_group
from tests.kit.streams import foreign_event
from tests.kit.waiting import until
from tests.tabs import GROUPS, Tab, after_passes, revalidator, signed_in

CONTROL = channels_group(CONTROL_GROUP)
NEVER = 3600.0  # seconds

pytestmark = pytest.mark.django_db(transaction=True)

Open = Callable[..., Awaitable[Tab]]


@pytest.fixture(autouse=True)
def passes_often(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.BROADCAST = {"GROUPS": GROUPS, "POLL_INTERVAL": 0.02}
    monkeypatch.setattr(revalidation, "PASS_SECONDS", 0.05)
    monkeypatch.setattr(revalidation, "MAX_SPREAD", 0.25)


@pytest.fixture
def events_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is found by a pass."""
    monkeypatch.setattr(revalidation, "PASS_SECONDS", NEVER)


@pytest.fixture(params=["a pass", "an event"])
def found_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The one that finds a loss, for each must do without the other."""
    if request.param == "an event":
        request.getfixturevalue("events_only")
    else:
        monkeypatch.setattr(this_process.hints, "publish_control", lambda event: None)
    return str(request.param)


@pytest.fixture
async def tab() -> AsyncIterator[Open]:
    tabs: list[Tab] = []

    async def opened(*groups: str, **options: Any) -> Tab:
        tabs.append(Tab(**options))
        return await tabs[-1].follow(*groups)

    yield opened
    for each in tabs:
        await each.leave()


@pytest.fixture
def page(tab: Open, ann: User) -> Open:
    """A page on which ann is signed in."""

    async def opened(*groups: str, name: str = "ann") -> Tab:
        return await tab(*groups, cookies=(await signed_in(name)).cookies)

    return opened


@pytest.fixture
async def ann() -> User:
    return await User.objects.acreate_user("ann", password="secret", is_staff=True)


# Rights that are given


@pytest.fixture
async def demoted(events_only: None, tab: Open, ann: User, monkeypatch: pytest.MonkeyPatch) -> Tab:
    """A page of ann, who is of the staff no more; revalidation finds nothing of what comes after that."""
    monkeypatch.setattr(revalidation, "EVENT_DELAY", NEVER)
    cookies = (await signed_in()).cookies
    await User.objects.aupdate(is_staff=False)
    return await tab("broadcast", cookies=cookies)


async def test_a_right_is_there_as_soon_as_it_is_given(demoted, ann, settings):
    settings.BROADCAST = {"GROUPS": {**GROUPS, "editors": {**GROUPS["editors"], "publish": "staff"}}}
    for group in ("editors", "staff"):
        assert (await demoted.ask(type="subscribe", group=group))["code"] == "forbidden"
    await ann.user_permissions.aadd(await permission())
    assert (await demoted.ask(type="subscribe", group="editors"))["type"] == "welcome"
    await User.objects.aupdate(is_staff=True)
    assert (await demoted.ask(body="hi", group="editors"))["body"] == "hi"
    assert (await demoted.ask(type="subscribe", group="staff"))["type"] == "welcome"


async def test_who_is_refused_again_and_again_is_not_looked_up_each_time(demoted, monkeypatch):
    monkeypatch.setattr(consumers, "RECHECKS_PER_SECOND", 0.001)
    for _ in range(consumers.RECHECKS_AT_ONCE):
        assert (await demoted.ask(type="subscribe", group="staff"))["code"] == "forbidden"
    await User.objects.aupdate(is_staff=True)
    assert (await demoted.ask(type="subscribe", group="staff"))["code"] == "forbidden"


async def test_who_was_closed_meanwhile_is_refused_and_no_more(demoted):
    for closing in (User.objects.all().aupdate(is_active=False), User.objects.all().adelete()):
        await closing
        assert (await demoted.ask(type="subscribe", group="editors"))["code"] == "forbidden"


# Who somebody is


async def save(user: User, **fields: Any) -> None:
    vars(user).update(fields)
    await user.asave()


ENGINES = ["db", "cached_db", "cache", "file", "signed_cookies"]
SIGN_OUT, NEW_PASSWORD, DELETE_SESSION, DEACTIVATE, DELETE = ACTS = {
    "sign-out": lambda client, ann: client.post("/admin/logout/"),
    "new password": lambda client, ann: save(ann, password=make_password("another")),
    "deleted session": lambda client, ann: sync_to_async(lambda: client.session.flush())(),
    "deactivated": lambda client, ann: save(ann, is_active=False),
    "deleted": lambda client, ann: ann.adelete(),
}
ENDS = [*product(ENGINES, [SIGN_OUT, NEW_PASSWORD, DELETE_SESSION]), ("db", DEACTIVATE), ("db", DELETE)]


@pytest.fixture
def engine(request: pytest.FixtureRequest, settings, tmp_path) -> str:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{request.param}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    return str(request.param)


@pytest.mark.parametrize(("engine", "act"), ENDS, indirect=["engine"])
async def test_whoever_is_no_longer_who_they_were_comes_back_as_they_are(found_by, engine, act, tab, ann):
    if found_by == "a pass" and engine == "signed_cookies" and act != NEW_PASSWORD:
        pytest.skip("Nobody but the browser knows")
    if found_by == "an event" and act == DELETE_SESSION:
        pytest.skip("Django tells nobody")
    client = await signed_in()
    personal = f"user.{ann.pk}"
    page = await tab("broadcast", personal, cookies=client.cookies)
    guest = await tab("broadcast")
    assert page.user == "ann"
    if found_by == "a pass":
        await after_passes()
    await page.hears(personal)
    await ACTS[act](client, ann)
    await page.hears_that_it_has_to_come_back()
    await guest.hears("broadcast")
    back = await tab("broadcast", cookies=client.cookies)
    if found_by == "a pass" or act == SIGN_OUT:
        assert back.user is None
        assert (await back.ask(type="subscribe", group=personal))["code"] == "forbidden"


@pytest.mark.parametrize("engine", ["db", "signed_cookies", "file"], indirect=True)
async def test_a_session_that_has_expired_ends(page, engine, settings):
    opened = await page("members")
    if engine == "db":
        await Session.objects.aupdate(expire_date=timezone.now() - timedelta(seconds=1))
    else:
        settings.SESSION_COOKIE_AGE = 0
    await opened.hears_that_it_has_to_come_back()


@pytest.mark.parametrize("engine", ["cached_db", "db", "cache"], indirect=True)
async def test_a_session_that_pages_still_know_or_nobody_can_ask_for_holds(page, engine, settings, monkeypatch):
    opened = await page("members")
    if engine == "cached_db":  # only the cache still has the session, which is enough for pages too
        await Session.objects.all().adelete()
    elif engine == "db":
        settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "a new one"
    else:
        monkeypatch.setattr(LocMemCache, "make_and_validate_key", Mock(side_effect=ConnectionError("away")))
    await after_passes()
    await opened.hears("members")


@pytest.fixture
async def two_browsers(engine: str, tab: Open, ann: User) -> tuple[list[AsyncClient], list[Tab]]:
    """Two in which ann is signed in, and the page of each."""
    clients = [await signed_in(), await signed_in()]
    return clients, [await tab("members", cookies=client.cookies) for client in clients]


@pytest.mark.parametrize("engine", ["db"], indirect=True)
async def test_in_the_browser_that_changed_the_password_the_user_just_stays(tab, two_browsers):
    (here, elsewhere), pages = two_browsers
    form = {"old_password": "secret", "new_password1": "quite another", "new_password2": "quite another"}
    assert (await here.post("/admin/password_change/", form)).status_code == 302
    for page in pages:
        await page.hears_that_it_has_to_come_back()
    assert (await tab("broadcast", cookies=here.cookies)).user == "ann"
    assert (await tab("broadcast", cookies=elsewhere.cookies)).user is None


@pytest.mark.usefixtures("events_only")
@pytest.mark.parametrize("engine", ["db", "signed_cookies"], indirect=True)
async def test_a_sign_out_in_one_browser_does_not_sign_out_the_other(tab, two_browsers, engine):
    """Where a cookie is all there is of a session, nobody can take it back, and the other has to show it again."""
    (here, elsewhere), (page, other) = two_browsers
    await here.post("/admin/logout/")
    await page.hears_that_it_has_to_come_back()
    if engine == "signed_cookies":
        await other.hears_that_it_has_to_come_back()
    else:
        await other.hears("members")
    assert (await tab("broadcast", cookies=here.cookies)).user is None
    assert (await tab("broadcast", cookies=elsewhere.cookies)).user == "ann"


async def test_what_comes_after_the_end_is_not_of_the_old_name(tab, ann, monkeypatch):
    """Neither what is said, nor a subscription that was under way."""
    client = await signed_in()
    page, guest = await tab("broadcast", cookies=client.cookies), await tab("broadcast")
    joined, sent_away = asyncio.Event(), asyncio.Event()
    join = Hub.join

    async def slow_join(*args: Any) -> Any:
        found = await join(*args)
        joined.set()
        await sent_away.wait()
        return found

    monkeypatch.setattr(Hub, "join", slow_join)
    await page.say(type="subscribe", group="members")
    await joined.wait()
    await sync_to_async(client.session.flush)()
    await page.hears_that_it_has_to_come_back()
    await page.say(body="under the old name")
    sent_away.set()
    await asend("for members", group="members")
    await guest.hears("broadcast")
    assert await page.line.receive_nothing()


# What somebody may do


async def permission() -> Permission:
    return await Permission.objects.aget(codename="add_message", content_type__model="message")


TAKEN = {
    "the user's own": lambda ann, group: ann.user_permissions.aclear(),
    "membership, from the user": lambda ann, group: ann.groups.aremove(group),
    "membership, from the group": lambda ann, group: group.user_set.aremove(ann),
    "the group's": lambda ann, group: group.permissions.aclear(),
    "the group": lambda ann, group: group.adelete(),
}


@pytest.mark.parametrize("taken", TAKEN)
async def test_a_permission_that_is_taken_away_ends_what_it_allowed(found_by, page, ann, taken):
    group = await UserGroup.objects.acreate(name="editors")
    if taken == "the user's own":
        await ann.user_permissions.aadd(await permission())
    else:
        await group.permissions.aadd(await permission())
        await ann.groups.aadd(group)
    opened = await page("editors", "members")
    if found_by == "a pass":
        await after_passes()
    await opened.hears("editors")
    await TAKEN[taken](ann, group)
    await opened.hears_that_it_lost("editors")
    await opened.hears("members")


async def test_a_staff_flag_that_is_taken_away_ends_what_it_allowed(page, settings):
    settings.BROADCAST = {"GROUPS": {**GROUPS, "broadcast": {"subscribe": "anyone", "publish": "staff"}}}
    opened = await page("staff", "members", "broadcast")
    assert (await opened.ask(body="hi"))["author"] == "ann"
    await User.objects.aupdate(is_staff=False)
    body = await opened.hears_that_it_lost("staff")
    assert body.startswith("You may not receive messages of 'staff'")
    assert (await opened.ask(body="hi"))["code"] == "forbidden"
    await opened.hears("members")
    await asend("for the staff", group="staff")
    await opened.hears("broadcast")


async def test_a_policy_that_changes_its_mind_ends_subscriptions_of_guests_too(tab, page, ann, settings):
    tickets = {"ticket.1", "ticket.2"}
    asked: list[Any] = []

    def may(user: Any, action: str, group: str) -> bool | None:
        asked.append(user)
        return group in tickets if group.startswith("ticket.") else None

    settings.BROADCAST = {"GROUPS": GROUPS, "POLICY": may}
    pages = [await tab("ticket.1", "ticket.2"), await page("ticket.1", "ticket.2")]
    tickets.remove("ticket.1")
    for each in pages:
        assert (await each.hears_that_it_lost("ticket.1")).startswith("You may not receive messages of 'ticket.1'")
    await asend("to ticket.2", group="ticket.2")
    for each in pages:
        assert (await each.hear())["body"] == "to ticket.2"
    assert {None, ann} == set(asked)


async def test_a_subscription_by_a_signed_name_ends_when_that_expires(tab, page, ann, monkeypatch):
    """Unless the group is followed by its plain name by now, and allowed so."""
    now = signing.time.time()
    opened = await page("broadcast", signed_name("ticket.1", ann), signed_name("members", ann))
    assert (await opened.ask(type="subscribe", group="members"))["type"] == "welcome"
    guest = await tab("broadcast", signed_name("ticket.1"))
    await after_passes()
    await asend("to ticket.1", group="ticket.1")
    for each in (opened, guest):
        assert (await each.hear())["body"] == "to ticket.1"
    monkeypatch.setattr(signing.time, "time", lambda: now + 24 * 3600 + 10)
    for each in (opened, guest):
        assert "has expired" in await each.hears_that_it_lost("ticket.1")
    assert (await opened.ask(type="subscribe", group=signed_name("ticket.1", ann)))["type"] == "welcome"
    await after_passes()
    for group in ("ticket.1", "members"):
        await opened.hears(group)


async def test_who_came_for_this_group_alone_is_sent_away(ann):
    cookies = (await signed_in()).cookies
    page, plain = Tab(cookies, "/ws/staff?v=1"), Tab(cookies, "/ws/staff")
    for each in (page, plain):
        await each.connect()
    await User.objects.aupdate(is_staff=False)
    bye = await page.hear()
    assert (bye["type"], bye["code"], bye["reconnect"]) == ("bye", FORBIDDEN, False)
    for each in (page, plain):
        await each.is_closed(FORBIDDEN)
        await each.leave()


# What it costs, and what does not end anything


async def test_guests_in_open_groups_are_not_looked_at(tab):
    await tab("broadcast")
    assert not revalidator().connections
    assert CONTROL not in get_channel_layer().groups


@pytest.mark.parametrize("engine", ["db", "cached_db"], indirect=True)
async def test_a_pass_over_many_takes_two_queries(page, engine):
    names = ["bob", "cyd", "dan"]
    for name in names:
        await User.objects.acreate_user(name, password="secret", is_staff=True)
    for name in ("ann", "ann", *names):
        await page("members", "staff", "broadcast", name=name)
    snapshots = [snapshot_of(each) for each in revalidator().connections]

    def judge() -> int:
        with CaptureQueriesContext(connection) as queries:
            identify(snapshots, found_in_tables(each.session for each in snapshots))
            find_lost(snapshots, {})
        return len(queries)

    assert await sync_to_async(judge)() == 2
    assert [(snapshot.is_signed_out, snapshot.lost) for snapshot in snapshots] == [(False, [])] * 5


async def test_a_database_that_is_away_ends_nothing(page, monkeypatch, caplog):
    opened = await page("members", "staff")
    with monkeypatch.context() as patch:
        patch.setattr(type(User.objects), "in_bulk", Mock(side_effect=OperationalError("away")), raising=False)
        await User.objects.aupdate(is_staff=False)
        await after_passes()
        await opened.hears("staff")
    await opened.hears_that_it_lost("staff")
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert 'BROADCAST["GROUPS"]["staff"]["subscribe"] is "staff".' in said.pop()
    assert said == [
        "Who is connected and what they may do cannot be looked up, so nothing is ended at first: "
        "The message log cannot be used right now: away",
        "Who is connected and what they may do can be looked up again",
    ]


async def test_who_goes_on_receiving_while_nobody_can_say_is_sent_away(page, ann, monkeypatch):
    """As where this process can open no more connections, and others send. Who receives nothing stays."""
    monkeypatch.setattr(revalidation, "MAX_UNJUDGED", 0.2)
    own = f"user.{ann.pk}"
    busy, quiet = await page("members", "staff"), await page(own)
    with monkeypatch.context() as patch:
        patch.setattr(revalidation, "see", Mock(side_effect=OperationalError("away")))
        await after_passes()
        await busy.hears("staff")
        bye = await busy.hear()
        assert (bye["type"], bye["code"], bye["reconnect"]) == ("bye", UNAVAILABLE, True)
        await busy.is_closed(UNAVAILABLE)
        await after_passes()
    await quiet.hears(own)
    await after_passes()
    await quiet.hears(own)


async def test_one_whose_rights_cannot_be_looked_up_costs_the_others_nothing(page, settings):
    is_failing = False

    def may(user: Any, action: str, group: str) -> bool | None:
        if is_failing and group == "ticket.1":
            raise OperationalError("it takes too long")
        return True if group.startswith("ticket.") else None

    settings.BROADCAST = {"GROUPS": GROUPS, "POLICY": may}
    await User.objects.acreate_user("bob", password="secret", is_staff=True)
    first, second = await page("staff", "ticket.1"), await page("staff", "ticket.2", name="bob")
    is_failing = True
    await User.objects.aupdate(is_staff=False)
    await second.hears_that_it_lost("staff")
    await first.hears("staff")
    is_failing = False
    await first.hears_that_it_lost("staff")


async def test_passes_end_with_the_last_connection_and_begin_with_the_next(page):
    """Also with one that comes while the control group is left."""
    for _ in range(2):
        opened = await page("members")
        await until(lambda: CONTROL in get_channel_layer().groups)
        await opened.leave()
        await until(lambda: CONTROL not in get_channel_layer().groups)
    opened = await page("members")
    await opened.leave()
    opened = await page("members")
    await User.objects.aupdate(is_active=False)
    await opened.hears_that_it_has_to_come_back()


# Events


@pytest.mark.usefixtures("events_only")
async def test_an_event_comes_with_the_commit(page, ann, monkeypatch):
    opened = await page("staff", "members")
    told = Mock(side_effect=this_process.hints.publish_control)
    monkeypatch.setattr(this_process.hints, "publish_control", told)
    ann.is_staff = False

    @sync_to_async
    @transaction.atomic
    def save() -> None:
        ann.save()
        told.assert_not_called()

    await save()
    told.assert_called_once()
    await opened.hears_that_it_lost("staff")


@pytest.mark.usefixtures("events_only")
@pytest.mark.parametrize("users", ["named", None])
async def test_an_event_crosses_the_channel_layer(page, ann, users):
    opened = await page("staff", "members")
    await until(lambda: CONTROL in get_channel_layer().groups)
    await User.objects.aupdate(is_staff=False)
    event = foreign_event(type=REVOKE, users=[str(ann.pk)] if users else None)
    await get_channel_layer().group_send(CONTROL, event)
    await opened.hears_that_it_lost("staff")


async def test_an_event_that_makes_no_sense_does_nothing(page):
    opened = await page("members")
    await until(lambda: CONTROL in get_channel_layer().groups)
    for event in ({"users": 7}, {"users": [7]}, {"users": {}}, {"users": ["7"], "signed_out": "x"}):
        await get_channel_layer().group_send(CONTROL, foreign_event(type=REVOKE, **event))
    await after_passes()
    await opened.hears("members")


def test_events_name_who_may_have_lost_something(db, monkeypatch, django_capture_on_commit_callbacks):
    told: list[Any] = []
    tell = this_process.hints
    monkeypatch.setattr(tell, "publish_control", lambda event: told.append((event["users"], event["signed_out"])))
    ann, bob = (User.objects.create_user(name) for name in ("ann", "bob"))
    group = UserGroup.objects.create(name="editors")
    acts: list[tuple[Callable[[], Any], list[Any]]] = [
        (lambda: ann.save(), [([str(ann.pk)], False)]),
        (lambda: update_last_login(None, ann), []),
        (lambda: User.objects.create_user("cyd"), []),
        (lambda: ann.groups.add(group), [([str(ann.pk)], False)]),
        (lambda: group.user_set.add(bob), [([str(bob.pk)], False)]),
        (lambda: group.user_set.clear(), [(None, False)]),
        (lambda: group.permissions.add(Permission.objects.earliest("pk")), [(None, False)]),
        (lambda: user_logged_out.send(User, user=ann, request=None), [([str(ann.pk)], True)]),
        (lambda: user_logged_out.send(User, user=None, request=None), []),
    ]
    for act, expected in acts:
        with django_capture_on_commit_callbacks(execute=True):
            act()
        assert told == expected
        told.clear()


@pytest.mark.parametrize("problem", [RuntimeError, TransactionManagementError])
def test_an_event_never_fails_what_it_is_about(monkeypatch, problem):
    """Where no database may be used, and where a site manages its transactions itself."""
    monkeypatch.setattr(transaction, "on_commit", Mock(side_effect=problem))
    told: list[Any] = []
    monkeypatch.setattr(this_process.hints, "publish_control", told.append)
    user_logged_out.send(User, user=User(pk=7), request=None)
    assert [event["users"] for event in told] == [["7"]]


# Passes over many, who are as they were


BYE = ""
LATER: dict[str, tuple[Callable[[Any], Any], str]] = {
    "deactivated": (lambda _: User.objects.filter(username="ann").update(is_active=False), BYE),
    "another password": (lambda _: User.objects.filter(username="ann").update(password=make_password("x")), BYE),
    "no such user": (lambda _: User.objects.filter(username="ann").delete(), BYE),
    "sessions deleted": (lambda _: [each.delete() for each in sessions_of("ann")], BYE),
    "sessions expired": (lambda _: sessions_of("ann", expire_date=timezone.now()), BYE),
    "of the staff no more": (lambda _: User.objects.filter(username="ann").update(is_staff=False), "staff"),
    "without a permission": (
        lambda _: User.user_permissions.through.objects.filter(user__username="ann").delete(),
        "editors",
    ),
    "other rules": (lambda settings: replace(settings, {"staff": {"subscribe": "nobody"}}), "staff"),
}


def sessions_of(name: str, **changes: Any) -> list[Session]:
    """The sessions of a user, with these changes."""
    pk = str(User.objects.get(username=name).pk)
    found = [each for each in Session.objects.all() if each.get_decoded()["_auth_user_id"] == pk]
    Session.objects.filter(pk__in=[each.pk for each in found]).update(**changes) if changes else None
    return found


def replace(settings: Any, groups: dict[str, Any]) -> None:
    settings.BROADCAST = {**settings.BROADCAST, "GROUPS": {**GROUPS, **groups}}


@pytest.mark.parametrize("is_in_row", [True, False])
@pytest.mark.parametrize("what", LATER)
async def test_what_changes_after_passes_over_many_is_found_in_each_page(page, settings, monkeypatch, what, is_in_row):
    """Without an event, and though the pages of one user are asked about one after another."""
    monkeypatch.setattr(this_process.hints, "publish_control", lambda event: None)
    monkeypatch.setattr(revalidation, "SEEN_AT_ONCE", 1)
    if not is_in_row:
        monkeypatch.setattr(fingerprints, "is_in_row", lambda model: False)
    await User.objects.acreate_user("bob", password="secret", is_staff=True)
    for name in ("ann", "bob"):
        await (await User.objects.aget(username=name)).user_permissions.aadd(await permission())
    act, lost = LATER[what]
    anns, bob = [await page(lost or "members", "broadcast") for _ in range(3)], await page("members", name="bob")
    await after_passes()
    await sync_to_async(act)(settings)
    for each in anns:
        await (each.hears_that_it_lost(lost) if lost else each.hears_that_it_has_to_come_back())
    await bob.hears("members")


async def test_a_rule_that_comes_later_and_asks_for_a_permission_is_judged_in_every_pass(page, ann, settings):
    opened = await page("members", "broadcast")
    await ann.user_permissions.aadd(await permission())
    replace(settings, {"members": GROUPS["editors"]})
    await after_passes()
    await opened.hears("members")
    await User.user_permissions.through.objects.all().adelete()
    await opened.hears_that_it_lost("members")


async def test_a_group_that_is_followed_during_a_pass_is_judged_in_the_next(page, ann, monkeypatch):
    """The other page has the group be open already: the thread that reads is held up here."""
    await User.objects.acreate_user("bob", password="secret", is_staff=True)
    opened, _ = await page("members"), await page("staff", name="bob")
    await after_passes()
    is_seen, going_on = threading.Event(), threading.Event()

    def slowly(*args: Any) -> Any:
        found = see(*args)
        is_seen.set()
        going_on.wait(10)
        return found

    see = revalidation.see
    monkeypatch.setattr(revalidation, "see", slowly)
    await until(is_seen.is_set)
    assert (await opened.ask(type="subscribe", group="staff"))["type"] == "welcome"
    await User.objects.filter(pk=ann.pk).aupdate(is_staff=False)
    going_on.set()
    await opened.hears_that_it_lost("staff")


class Reader:
    """A connection as revalidation sees it, signed in by a session in the table."""

    signed_names: dict[str, str] = {}

    def __init__(self, user: Any) -> None:
        self.user, self.session, self.sign_out, self.revoke = user, SessionStore(), AsyncMock(), AsyncMock()
        self.transport = SimpleNamespace(positions={} if isinstance(user, User) else {"staff": None})
        if isinstance(user, User):
            self.session[SESSION_KEY], self.session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
            self.session.save()


@sync_to_async
def readers(count: int) -> list[Reader]:
    return [Reader(User.objects.create(username=f"reader {number}", password="!")) for number in range(count)]


async def test_a_pass_over_a_hundred_who_are_as_they_were_takes_two_queries_and_judges_nobody(monkeypatch):
    asked: list[int] = []

    def counting(question: Callable[[], Any]) -> Any:
        with CaptureQueriesContext(connection) as queries:
            answer = reading(question)
        asked.append(len(queries))
        return answer

    monkeypatch.setattr(revalidation, "reading", counting)
    with this_process.node() as node:
        everyone, watched = await readers(100), node.part(revalidation.Revalidator)
        for each in everyone:
            watched.watch(each)
        await after_passes()
        asked.clear()
        await after_passes()
        assert {*asked} == {2}
        await User.objects.filter(pk=everyone[7].user.pk).aupdate(is_active=False)
        await until(lambda: len(watched.connections) == 99)
        await after_passes()
        assert [each for each in everyone if each.sign_out.await_count] == [everyone[7]]
        for each in everyone:
            watched.unwatch(each)


@pytest.mark.parametrize("first", ["ours", "the other"])
async def test_a_user_of_another_kind_is_not_taken_for_the_one_with_the_same_key(first):
    with this_process.node() as node:
        [ours], watched = await readers(1), node.part(revalidation.Revalidator)
        customer = Reader(SimpleNamespace(pk=ours.user.pk, is_authenticated=True, is_active=True, is_staff=True))
        for each in (ours, customer) if first == "ours" else (customer, ours):
            watched.watch(each)
        await after_passes()
        customer.user.is_staff = False
        await until(lambda: customer.revoke.await_count)
        assert not ours.revoke.await_count
        for each in (ours, customer):
            watched.unwatch(each)


class ByRoles(AbstractBaseUser):
    is_active = BooleanField()

    class Meta:
        abstract = True

    @property
    def is_staff(self) -> bool:
        raise NotImplementedError


@pytest.mark.parametrize(("model", "expected"), [(User, True), (AbstractBaseUser, False), (ByRoles, False)])
def test_only_a_row_that_says_all_is_compared(model, expected):
    """Whether somebody is active, or of the staff, may come from elsewhere."""
    assert fingerprints.is_in_row(model) is expected
    assert fingerprints.fingerprint((1, ["a"])) == fingerprints.fingerprint((1, ["a"]))
    assert fingerprints.fingerprint((1, ["a"])) != fingerprints.fingerprint((1, ["b"]))


async def test_a_right_to_write_is_read_anew_while_somebody_writes(page, ann, settings):
    """It rests on a table that is no part of the user's row."""
    settings.BROADCAST = {
        "GROUPS": {**GROUPS, "members": {**GROUPS["members"], "publish": "perm:broadcast.add_message"}},
        "POLL_INTERVAL": 0.02,
    }
    permission = await Permission.objects.aget(codename="add_message", content_type__app_label="broadcast")
    await ann.user_permissions.aadd(permission)
    opened = await page("members")
    assert (await opened.ask(body="may", group="members"))["body"] == "may"
    await after_passes()
    await User.user_permissions.through.objects.all().adelete()  # by no signal
    await after_passes()
    assert (await opened.ask(body="may not", group="members"))["code"] == "forbidden"
