"""What somebody has lost the right to ends, by a look that needs no hint; the rest goes on."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Group as UserGroup
from django.contrib.auth.models import Permission, User, update_last_login
from django.contrib.auth.signals import user_logged_out
from django.contrib.sessions.models import Session
from django.core import signing
from django.core.cache.backends.locmem import LocMemCache
from django.db import OperationalError, connection, transaction
from django.db.transaction import TransactionManagementError
from django.test import AsyncClient
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from broadcast import asend, consumers
from broadcast.access import revalidation as revocation
from broadcast.access import signals
from broadcast.access.revalidation import revalidators, snapshot_of
from broadcast.access.snapshot import find_lost, identify
from broadcast.audiences import signed_name
from broadcast.consumers import FORBIDDEN, USER_CHANGED, BroadcastConsumer
from broadcast.engine.health import Health
from broadcast.engine.hub.hub import Hub
from tests.tabs import WAIT, Tab, after_looks, signed_in, until

GROUPS = {
    "broadcast": {"subscribe": "anyone", "publish": "authenticated"},
    "members": {"subscribe": "authenticated"},
    "editors": {"subscribe": "perm:broadcast.add_message"},
}
PERMISSION = "add_message"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def looks_often(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.BROADCAST = {"GROUPS": GROUPS}
    monkeypatch.setattr(revocation, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(revocation, "MAX_SPREAD", 0.25)
    monkeypatch.setattr(revocation, "looks_failing", Health("looks fail", "looks work"))


@pytest.fixture
async def tab() -> AsyncIterator[Callable[..., Awaitable[Tab]]]:
    tabs: list[Tab] = []

    async def opened(*groups: str, **options: Any) -> Tab:
        tabs.append(Tab(**options))
        return await tabs[-1].follow(*groups)

    yield opened
    for each in tabs:
        await each.line.disconnect(timeout=WAIT)


@pytest.fixture
async def ann() -> User:
    return await User.objects.acreate_user("ann", password="secret", is_staff=True)


# What somebody may do by now


@pytest.fixture
def no_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of a user is known without the guard's help."""
    for name in ("LOOK_EVERY", "HINT_DELAY"):
        monkeypatch.setattr(revocation, name, 1000)


async def of_no_staff(tab: Callable[..., Awaitable[Tab]]) -> Tab:
    """A page of ann, who is of the staff no more."""
    cookies = (await signed_in()).cookies
    await User.objects.aupdate(is_staff=False)
    return await tab("broadcast", cookies=cookies)


@pytest.mark.usefixtures("no_looks")
async def test_a_right_is_there_as_soon_as_it_is_given(tab, ann, settings):
    settings.BROADCAST = {"GROUPS": {**GROUPS, "editors": {**GROUPS["editors"], "publish": "staff"}}}
    page = await of_no_staff(tab)
    for group in ("editors", "staff"):
        assert (await page.ask(type="subscribe", group=group))["code"] == "forbidden"
    await ann.user_permissions.aadd(await Permission.objects.aget(codename=PERMISSION, content_type__model="message"))
    assert (await page.ask(type="subscribe", group="editors"))["type"] == "welcome"
    await User.objects.aupdate(is_staff=True)
    assert (await page.ask(body="hi", group="editors"))["body"] == "hi"
    assert (await page.ask(type="subscribe", group="staff"))["type"] == "welcome"


@pytest.mark.usefixtures("no_looks")
async def test_who_is_refused_again_and_again_is_not_looked_up_each_time(tab, ann, monkeypatch):
    monkeypatch.setattr(consumers, "LOOKS_A_SECOND", 0.001)
    page = await of_no_staff(tab)
    for _ in range(consumers.LOOKS_AT_ONCE):
        assert (await page.ask(type="subscribe", group="staff"))["code"] == "forbidden"
    await User.objects.aupdate(is_staff=True)
    assert (await page.ask(type="subscribe", group="staff"))["code"] == "forbidden"


@pytest.mark.usefixtures("no_looks")
async def test_who_was_closed_meanwhile_is_refused_and_no_more(tab, ann):
    page = await tab("broadcast", cookies=(await signed_in()).cookies)
    await User.objects.aupdate(is_active=False)
    assert (await page.ask(type="subscribe", group="editors"))["code"] == "forbidden"
    await User.objects.all().adelete()
    assert (await page.ask(type="subscribe", group="editors"))["code"] == "forbidden"


# Who somebody is

ENGINES = ["db", "cached_db", "cache", "file", "signed_cookies"]


async def sign_out(client: AsyncClient, ann: User) -> None:
    await client.post("/admin/logout/")


async def change_password(client: AsyncClient, ann: User) -> None:
    ann.set_password("another")
    await ann.asave()


async def deactivate(client: AsyncClient, ann: User) -> None:
    ann.is_active = False
    await ann.asave()


async def delete(client: AsyncClient, ann: User) -> None:
    await ann.adelete()


async def delete_sessions(client: AsyncClient, ann: User) -> None:
    await sync_to_async(lambda: client.session.flush())()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, settings, tmp_path) -> str:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{request.param}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    return request.param


@pytest.mark.parametrize("act", [sign_out, change_password, deactivate, delete, delete_sessions])
async def test_whoever_is_no_longer_who_they_were_comes_back_as_they_are(tab, ann, engine, act):
    if engine == "signed_cookies" and act in (sign_out, delete_sessions):
        pytest.skip("nobody but the browser knows; see the hints")
    client = await signed_in()
    personal = f"user.{ann.pk}"
    page = await tab("broadcast", personal, cookies=client.cookies)
    guest = await tab("broadcast")
    assert page.user == "ann"
    await after_looks()
    await page.hears(personal)
    await act(client, ann)
    await page.hears_that_it_has_to_come_back()
    await guest.hears("broadcast")
    back = await tab("broadcast", cookies=client.cookies)
    assert back.user is None
    assert (await back.ask(type="subscribe", group=personal))["code"] == "forbidden"


async def test_a_session_that_has_expired_ends(tab, ann):
    page = await tab("members", cookies=(await signed_in()).cookies)
    await Session.objects.aupdate(expire_date=timezone.now() - timedelta(seconds=1))
    await page.hears_that_it_has_to_come_back()


@pytest.mark.parametrize("engine", ["signed_cookies", "file"], indirect=True)
async def test_a_session_without_a_table_expires_too(tab, ann, engine, settings):
    page = await tab("members", cookies=(await signed_in()).cookies)
    settings.SESSION_COOKIE_AGE = 0
    await page.hears_that_it_has_to_come_back()


@pytest.mark.parametrize("engine", ["cached_db"], indirect=True)
async def test_a_session_that_only_the_cache_still_has_holds_as_it_does_for_pages(tab, ann, engine):
    client = await signed_in()
    page = await tab("members", cookies=client.cookies)
    await Session.objects.all().adelete()
    await after_looks()
    await page.hears("members")
    assert (await tab("members", cookies=client.cookies)).user == "ann"


async def test_in_the_browser_that_changed_the_password_the_user_just_stays(tab, ann):
    here, elsewhere = await signed_in(), await signed_in()
    pages = [await tab("members", cookies=client.cookies) for client in (here, elsewhere)]
    form = {"old_password": "secret", "new_password1": "quite another", "new_password2": "quite another"}
    assert (await here.post("/admin/password_change/", form)).status_code == 302
    for page in pages:
        await page.hears_that_it_has_to_come_back()
    assert (await tab("broadcast", cookies=here.cookies)).user == "ann"
    assert (await tab("broadcast", cookies=elsewhere.cookies)).user is None


async def test_a_session_under_an_earlier_secret_key_holds(tab, ann, settings):
    client = await signed_in()
    page = await tab("members", cookies=client.cookies)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a new one"
    await after_looks()
    await page.hears("members")


async def test_only_the_session_that_ended_does(tab, ann):
    here, elsewhere = await signed_in(), await signed_in()
    page, other = await tab("members", cookies=here.cookies), await tab("members", cookies=elsewhere.cookies)
    await here.post("/admin/logout/")
    await page.hears_that_it_has_to_come_back()
    await after_looks()
    await other.hears("members")


async def test_a_user_without_a_session_is_looked_after_too(tab, ann):
    line = WebsocketCommunicator(BroadcastConsumer.as_asgi(), "/ws/members?v=1")
    line.scope["user"] = ann
    assert (await line.connect(WAIT))[0]
    await line.receive_from(WAIT)
    await User.objects.aupdate(is_active=False)
    assert json.loads(await line.receive_from(WAIT))["code"] == USER_CHANGED


async def test_what_is_said_after_the_end_is_not_said_under_the_old_name(tab, ann, monkeypatch):
    client = await signed_in()
    page = await tab("broadcast", cookies=client.cookies)
    guest = await tab("broadcast")
    await sync_to_async(client.session.flush)()
    await page.hears_that_it_has_to_come_back()
    await page.line.send_to(text_data='{"body": "under the old name"}')
    await guest.hears("broadcast")


async def test_a_subscription_under_way_ends_with_the_rest(tab, ann, monkeypatch):
    client = await signed_in()
    page = await tab("broadcast", cookies=client.cookies)
    guest = await tab("broadcast")
    joined, sent_away = asyncio.Event(), asyncio.Event()
    join = Hub.join

    async def slow_join(*args: Any) -> Any:
        found = await join(*args)
        joined.set()
        await sent_away.wait()
        return found

    monkeypatch.setattr(Hub, "join", slow_join)
    await page.line.send_to(text_data=json.dumps({"type": "subscribe", "group": "members"}))
    await joined.wait()
    await sync_to_async(client.session.flush)()
    await page.hears_that_it_has_to_come_back()
    sent_away.set()
    await asend("for members", group="members")
    await guest.hears("broadcast")
    assert await page.line.receive_nothing()


# What somebody may do


async def test_a_staff_flag_that_is_taken_away_ends_what_it_allowed(tab, ann):
    page = await tab("staff", "members", "broadcast", cookies=(await signed_in()).cookies)
    await User.objects.aupdate(is_staff=False)
    body = await page.hears_that_it_lost("staff")
    assert body.startswith("You may not receive messages of 'staff'")
    await page.hears("members")
    await asend("for the staff", group="staff")
    await page.hears("broadcast")
    await User.objects.aupdate(is_staff=True)
    await after_looks()
    assert (await page.ask(type="subscribe", group="staff"))["type"] == "welcome"


async def permission() -> Permission:
    return await Permission.objects.aget(codename=PERMISSION)


async def directly(ann: User) -> Any:
    await ann.user_permissions.aadd(await permission())
    return lambda: ann.user_permissions.aclear()


async def as_a_member(ann: User) -> Any:
    group = await UserGroup.objects.acreate(name="editors")
    await group.permissions.aadd(await permission())
    await ann.groups.aadd(group)
    return lambda: ann.groups.aremove(group)


async def by_a_group(ann: User) -> Any:
    await as_a_member(ann)
    group = await UserGroup.objects.aget()
    return lambda: group.permissions.aclear()


async def by_a_group_that_goes(ann: User) -> Any:
    await as_a_member(ann)
    return lambda: UserGroup.objects.all().adelete()


@pytest.mark.parametrize("grant", [directly, as_a_member, by_a_group, by_a_group_that_goes])
async def test_a_permission_that_is_taken_away_ends_what_it_allowed(tab, ann, grant):
    take_away = await grant(ann)
    page = await tab("editors", "members", cookies=(await signed_in()).cookies)
    await after_looks()
    await page.hears("editors")
    await take_away()
    await page.hears_that_it_lost("editors")
    await page.hears("members")


async def test_who_writes_is_asked_as_they_are_now(tab, ann, settings):
    settings.BROADCAST = {"GROUPS": {"broadcast": {"subscribe": "anyone", "publish": "staff"}}}
    page = await tab("broadcast", cookies=(await signed_in()).cookies)
    assert (await page.ask(body="hi"))["author"] == "ann"
    await User.objects.aupdate(is_staff=False)
    await after_looks()
    assert (await page.ask(body="hi"))["code"] == "forbidden"


async def test_a_policy_that_changes_its_mind_ends_subscriptions_of_guests_too(tab, ann, settings):
    tickets = {"ticket.1", "ticket.2"}
    asked: list[Any] = []

    def may(user: Any, action: str, group: str) -> bool | None:
        asked.append(user)
        return group in tickets if group.startswith("ticket.") else None

    settings.BROADCAST = {"GROUPS": GROUPS, "POLICY": may}
    pages = [await tab("ticket.1", "ticket.2"), await tab("ticket.1", "ticket.2", cookies=(await signed_in()).cookies)]
    tickets.remove("ticket.1")
    for page in pages:
        body = await page.hears_that_it_lost("ticket.1")
        assert 'BROADCAST["POLICY"]' in body
    await asend("to ticket.2", group="ticket.2")
    for page in pages:
        assert (await page.hear())["body"] == "to ticket.2"
    assert {None, ann} == set(asked)


async def test_a_subscription_by_a_signed_name_ends_when_that_expires(tab, ann, settings, monkeypatch):
    now = signing.time.time()
    page = await tab("broadcast", signed_name("ticket.1", ann), cookies=(await signed_in()).cookies)
    guest = await tab("broadcast", signed_name("ticket.1"))
    await after_looks()
    await asend("to ticket.1", group="ticket.1")
    for each in (page, guest):
        assert (await each.hear())["body"] == "to ticket.1"
    monkeypatch.setattr(signing.time, "time", lambda: now + 24 * 3600 + 10)
    for each in (page, guest):
        assert "has expired" in await each.hears_that_it_lost("ticket.1")
    assert (await page.ask(type="subscribe", group=signed_name("ticket.1", ann)))["type"] == "welcome"
    await after_looks()
    await page.hears("ticket.1")


async def test_who_follows_by_a_plain_name_now_is_judged_by_that(tab, ann, monkeypatch):
    now = signing.time.time()
    page = await tab(signed_name("members", ann), "broadcast", cookies=(await signed_in()).cookies)
    assert (await page.ask(type="subscribe", group="members"))["type"] == "welcome"
    monkeypatch.setattr(signing.time, "time", lambda: now + 24 * 3600 + 10)
    await after_looks()
    await page.hears("members")


async def test_who_came_for_this_group_alone_is_sent_away(tab, ann):
    client = await signed_in()
    page = Tab(client.cookies, "/ws/staff?v=1")
    plain = Tab(client.cookies, "/ws/staff")
    for each in (page, plain):
        assert (await each.line.connect(WAIT))[0]
        await each.hear()
    await User.objects.aupdate(is_staff=False)
    bye = await page.hear()
    assert (bye["type"], bye["code"], bye["reconnect"]) == ("bye", FORBIDDEN, False)
    for each in (page, plain):
        assert await each.line.receive_output(WAIT) == {"type": "websocket.close", "code": FORBIDDEN}


# What it costs, and what does not end anything


async def test_guests_in_open_groups_are_not_looked_at(tab):
    await tab("broadcast")
    assert revalidators == {}


@pytest.mark.parametrize("engine", ["db", "cached_db"], indirect=True)
async def test_a_look_at_many_takes_two_queries(tab, ann, engine):
    names = ["bob", "cyd", "dan"]
    for name in names:
        await User.objects.acreate_user(name, password="secret", is_staff=True)
    for name in ("ann", "ann", *names):
        await tab("members", "staff", "broadcast", cookies=(await signed_in(name)).cookies)
    guard = revalidators[asyncio.get_running_loop()]
    snapshots = [snapshot_of(each) for each in guard.connections]
    assert len(snapshots) == 5

    def look() -> int:
        with CaptureQueriesContext(connection) as queries:
            identify(snapshots)
            find_lost(snapshots, {})
        return len(queries)

    assert await sync_to_async(look)() == 2
    assert [(snapshot.is_signed_out, snapshot.lost) for snapshot in snapshots] == [(False, [])] * 5


async def test_a_database_that_is_away_ends_nothing(tab, ann, monkeypatch, caplog):
    page = await tab("members", "staff", cookies=(await signed_in()).cookies)
    with monkeypatch.context() as patch:
        patch.setattr(type(User.objects), "in_bulk", failing, raising=False)
        await User.objects.aupdate(is_staff=False)
        await after_looks()
        await asend("to the staff", group="staff")
        assert (await page.hear())["body"] == "to the staff"
    await page.hears_that_it_lost("staff")
    said = [record.getMessage() for record in caplog.records if "looks" in record.getMessage()]
    assert said == ["looks fail: The message log cannot be used right now: away", "looks work"]


async def test_one_whose_rights_cannot_be_looked_up_costs_the_others_nothing(tab, ann, settings):
    is_failing = False

    def may(user: Any, action: str, group: str) -> bool | None:
        if is_failing and group == "ticket.1":
            raise OperationalError("it takes too long")
        return True if group.startswith("ticket.") else None

    settings.BROADCAST = {"GROUPS": GROUPS, "POLICY": may}
    await User.objects.acreate_user("bob", password="secret", is_staff=True)
    pages = [await tab("staff", "broadcast", cookies=(await signed_in(name)).cookies) for name in ("ann", "bob")]
    for page in pages:
        assert (await page.ask(type="subscribe", group=f"ticket.{pages.index(page) + 1}"))["type"] == "welcome"
    is_failing = True
    await User.objects.aupdate(is_staff=False)
    await pages[1].hears_that_it_lost("staff")
    await asend("to the staff", group="staff")
    assert (await pages[0].hear())["body"] == "to the staff"
    is_failing = False
    await pages[0].hears_that_it_lost("staff")


async def test_a_cache_that_is_away_ends_nothing(tab, ann, settings, monkeypatch):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.BreakableCache"}}
    page = await tab("members", cookies=(await signed_in()).cookies)
    monkeypatch.setattr(BreakableCache, "is_away", True)
    await after_looks()
    await page.hears("members")


def failing(*args: Any, **kwargs: Any) -> None:
    raise OperationalError("away")


class BreakableCache(LocMemCache):
    """A cache on another machine."""

    is_away = False

    def get(self, *args: Any, **kwargs: Any) -> Any:
        if self.is_away:
            raise ConnectionError("away")
        return super().get(*args, **kwargs)

    def has_key(self, *args: Any, **kwargs: Any) -> Any:
        if self.is_away:
            raise ConnectionError("away")
        return super().has_key(*args, **kwargs)


async def test_the_guard_goes_with_the_last_connection(tab, ann):
    page = await tab("members", cookies=(await signed_in()).cookies)
    assert len(revalidators) == 1
    await page.line.disconnect()
    await until(lambda: not revalidators)


# Hints


@pytest.fixture
def looks_never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a hint makes a guard look."""
    monkeypatch.setattr(revocation, "LOOK_EVERY", 3600)


@pytest.mark.usefixtures("looks_never")
@pytest.mark.parametrize("act", [sign_out, change_password, deactivate, delete])
async def test_a_hint_ends_it_at_once(tab, ann, engine, act):
    client = await signed_in()
    page = await tab("broadcast", f"user.{ann.pk}", cookies=client.cookies)
    guest = await tab("broadcast")
    await act(client, ann)
    await page.hears_that_it_has_to_come_back()
    await guest.hears("broadcast")
    if act is sign_out:
        assert (await tab("broadcast", cookies=client.cookies)).user is None


@pytest.mark.usefixtures("looks_never")
@pytest.mark.parametrize("grant", [directly, as_a_member, by_a_group, by_a_group_that_goes])
async def test_a_hint_tells_of_permissions_too(tab, ann, grant):
    take_away = await grant(ann)
    page = await tab("editors", "members", cookies=(await signed_in()).cookies)
    await take_away()
    await page.hears_that_it_lost("editors")
    await page.hears("members")


@pytest.mark.usefixtures("looks_never")
async def test_a_group_that_loses_a_member_tells_of_the_member(tab, ann):
    await as_a_member(ann)
    page = await tab("editors", "members", cookies=(await signed_in()).cookies)
    group = await UserGroup.objects.aget()
    await group.user_set.aremove(ann)
    await page.hears_that_it_lost("editors")


@pytest.mark.usefixtures("looks_never")
async def test_a_hint_comes_with_the_commit(tab, ann, monkeypatch):
    page = await tab("staff", "members", cookies=(await signed_in()).cookies)
    told: list[Any] = []
    tell_all = signals.tell_all
    monkeypatch.setattr(signals, "tell_all", lambda event: (told.append(event), tell_all(event)))

    @sync_to_async
    def save() -> None:
        with transaction.atomic():
            ann.is_staff = False
            ann.save()
            assert told == []

    await save()
    assert len(told) == 1
    await page.hears_that_it_lost("staff")


@pytest.mark.usefixtures("looks_never")
@pytest.mark.parametrize("users", ["named", None])
async def test_a_hint_crosses_the_channel_layer(tab, ann, users):
    page = await tab("staff", "members", cookies=(await signed_in()).cookies)
    await until(lambda: "broadcast." in get_channel_layer().groups)
    await User.objects.aupdate(is_staff=False)
    event = {"type": "broadcast.revoke", "users": [str(ann.pk)] if users else None, "origin": "another process"}
    await get_channel_layer().group_send("broadcast.", event)
    await page.hears_that_it_lost("staff")


@pytest.mark.parametrize("event", [{"users": 7}, {"users": [7]}, {"users": {}}, {"users": ["7"], "signed_out": "x"}])
async def test_a_hint_that_makes_no_sense_does_nothing(tab, ann, event):
    page = await tab("members", cookies=(await signed_in()).cookies)
    await get_channel_layer().group_send("broadcast.", {"type": "broadcast.revoke", **event})
    await after_looks()
    await page.hears("members")


@pytest.mark.parametrize("engine", ["signed_cookies"], indirect=True)
@pytest.mark.usefixtures("looks_never")
async def test_whoever_shows_a_cookie_that_nobody_can_take_back_has_to_show_it_again(tab, ann, engine):
    """A sign-out in one browser: the other one's page comes back too, and is who it was."""
    here, elsewhere = await signed_in(), await signed_in()
    pages = [await tab("members", cookies=client.cookies) for client in (here, elsewhere)]
    await here.post("/admin/logout/")
    for page in pages:
        await page.hears_that_it_has_to_come_back()
    assert (await tab("broadcast", cookies=here.cookies)).user is None
    assert (await tab("broadcast", cookies=elsewhere.cookies)).user == "ann"


def test_hints_name_who_may_have_lost_something(db, monkeypatch, django_capture_on_commit_callbacks):
    told: list[Any] = []
    monkeypatch.setattr(signals, "tell_all", lambda event: told.append((event["users"], event["signed_out"])))
    ann = User.objects.create_user("ann")
    bob = User.objects.create_user("bob")
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
def test_a_hint_never_fails_what_it_is_about(monkeypatch, problem):
    """Where no database may be used, and where a site manages its transactions itself."""

    def on_commit(*args: Any, **kwargs: Any) -> None:
        raise problem

    monkeypatch.setattr(transaction, "on_commit", on_commit)
    told: list[Any] = []
    monkeypatch.setattr(signals, "tell_all", told.append)
    user_logged_out.send(User, user=User(pk=7), request=None)
    assert [event["users"] for event in told] == [["7"]]
