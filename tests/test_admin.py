"""The admin: reading the log, sending from it, and erasing a group's log."""

import re
from collections.abc import Callable

import pytest
from django.contrib.admin.models import ADDITION, DELETION, LogEntry
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from broadcast import send, send_many
from broadcast.models import Group, Message
from tests.kit.log import failing_if

pytestmark = pytest.mark.django_db

ADD = "/admin/broadcast/message/add/"
LIST = "/admin/broadcast/message/"
GROUPS = "/admin/broadcast/group/"


@pytest.fixture
def staff(client: Client) -> Callable[..., Client]:
    """`staff("add_message", …)` is the browser of a staff member with just these permissions."""

    def signed_in(*permissions: str) -> Client:
        user = User.objects.create_user("ann", password="x", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return signed_in


def write(client: Client, **fields: str):
    return client.post(ADD, {"group": "broadcast", "author": "server", "body": "hello", "data": "", **fields})


def errors(response) -> dict[str, list[str]]:
    return dict(response.context["adminform"].form.errors)


def said(response) -> list[str]:
    return [str(message) for message in response.context["messages"]]


# Sending


def test_adding_a_message_sends_it(admin_client, admin_user, broadcasts):
    response = admin_client.post(ADD, {"body": "hello"}, follow=True)
    assert response.redirect_chain == [(LIST, 302)]
    assert said(response) == ["Your message was sent."]
    broadcasts.assert_sent(body="hello", author="Server", group="broadcast", data=None)
    entry = LogEntry.objects.get()
    assert (entry.action_flag, entry.user, entry.object_repr) == (ADDITION, admin_user, "Server: hello")
    assert entry.get_edited_object() == Message.objects.get()
    response = write(admin_client, _addanother="1")
    assert (response.status_code, response.url) == (302, ADD)


def test_it_can_be_sent_as_oneself(admin_client, admin_user, broadcasts):
    write(admin_client, author="user")
    broadcasts.assert_sent(author=admin_user)
    message = Message.objects.get()
    assert (message.source, message.author, message.user) == ("user", "admin", admin_user)


def test_it_can_carry_data_and_go_to_another_group(admin_client, settings, broadcasts):
    settings.BROADCAST = {"GROUPS": {"user.*": {"subscribe": "self"}}, "MAX_BODY": 7}
    write(admin_client, group="user.7", data='{"level": "warning"}', body="one\r\ntwo")
    broadcasts.assert_sent(group="user.7", data={"level": "warning"}, body="one\ntwo")
    send("first", group="old")
    write(admin_client, group="old")  # which is in the log, though no rule covers it
    broadcasts.assert_sent(group="old", times=2)


def test_the_form_offers_groups_of_settings_and_log_and_begins_with_the_site(admin_client, settings):
    settings.BROADCAST = {"GROUPS": {"broadcast": {}, "staff": {}, "user.*": {}}}
    send("hello", group="room.1")
    page = admin_client.get(ADD).content.decode()
    offer = re.search(r'<input[^>]* list="(\w+)"[^>]*><datalist id="\1">(.*)</datalist>', page)
    assert offer is not None
    assert re.findall(r'value="([^"]*)"', offer[2]) == ["broadcast", "staff", "room.1"]
    assert "style=" not in offer[0]
    assert re.search(r'<option value="server" selected>\s*Server', page)
    assert re.search(r'<option value="user">\s*admin', page)
    assert 'value="Send"' in page
    assert "<h1>Send a message</h1>" in page


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("body", "", "This field is required."),
        ("body", "  \r\n ", "The body must be text that is not empty; it came empty."),
        ("body", "nu\x00l", "The body must not contain the NUL character."),
        ("body", "a" * 4001, "The body may have 4000 characters; it came with 4001."),
        ("group", "two words", "The group must be text that matches"),
        ("group", "braodcast", "There is no group 'braodcast' here."),
        ("author", "somebody", "Select a valid choice."),
        ("data", "[1]", "The data must be a JSON object; it came as a list."),
        ("data", "{", "This is not JSON: Expecting property name"),
        ("data", "[" * 100_000, "This is not JSON: "),  # each Python says in its own way that this is too deep
        ("data", '{"a": "%s"}' % ("a" * 20_000), "The data may have 16384 bytes as JSON; it came with 20008."),
    ],
)
def test_what_cannot_be_sent_is_said_at_its_field_and_stays_there(admin_client, broadcasts, field, value, text):
    response = write(admin_client, **{field: value})
    assert response.status_code == 200
    assert list(errors(response)) == [field]
    assert text in errors(response)[field][0]
    assert response.context["adminform"].form[field].value() == value
    broadcasts.assert_nothing_sent()


def test_a_log_that_fails_is_said_and_the_text_is_still_there(transactional_db, admin_client, broadcasts):
    with failing_if(lambda sql: OperationalError("database is locked") if "broadcast_message" in sql else None):
        response = write(admin_client, body="important", data='{"a": 1}', author="user")
    assert response.status_code == 200
    assert said(response) == ["The message log cannot be used right now: database is locked"]
    form = response.context["adminform"].form
    shown = {name: form[name].value() for name in ("group", "author", "body", "data")}
    assert shown == {"group": "broadcast", "author": "user", "body": "important", "data": '{"a": 1}'}
    broadcasts.assert_nothing_sent()


@pytest.mark.parametrize("model", ["message", "group"])
@pytest.mark.parametrize("name", ["group", "name", "source__exact", "author", "sent_at__gte"])
def test_an_address_with_what_no_database_takes_is_led_to_one_without(staff, db, model, name):
    client = staff("view_message", "view_group")
    response = client.get(f"/admin/broadcast/{model}/", {name: "a\x00"})
    assert (response.status_code, response["Location"]) == (302, f"/admin/broadcast/{model}/?e=1")
    assert client.get(f"/admin/broadcast/{model}/?q=%00").status_code == 200


def test_a_name_that_cannot_be_an_author_is_said(client, broadcasts):
    client.force_login(User.objects.create_superuser("n\x01ame", password="x"))
    User.objects.update(username=" ")
    response = write(client, author="user")
    assert said(response) == ["The author must be text that is not empty; it came empty."]
    broadcasts.assert_nothing_sent()


def test_sending_writes_before_it_reads_in_the_requests_transaction(staff, transactional_db):
    """On SQLite a transaction that reads first is refused when others write meanwhile."""
    client = staff("add_message")
    with CaptureQueriesContext(connection) as queries:
        response = write(client)
    assert (response.status_code, response.url) == (302, "/admin/")  # who may only add sees no list
    statements = [query["sql"] for query in queries]
    begun = next(index for index, sql in enumerate(statements) if sql.startswith("BEGIN"))
    first = next(sql for sql in statements[begun + 1 :] if not sql.startswith("SAVEPOINT"))
    assert first.startswith('INSERT INTO "broadcast_message"')
    message = Message.objects.get()
    assert (message.offset, message.source, message.author) == (1, "server", "Server")
    assert message.sent_at is not None


# Who may


def test_adding_needs_the_permission(staff, broadcasts):
    client = staff("view_message", "change_message", "delete_message")
    assert client.get(ADD).status_code == 403
    assert write(client).status_code == 403
    broadcasts.assert_nothing_sent()


def test_reading_and_deleting_groups_need_the_permission(staff):
    send("hello")
    client = staff("add_message", "view_group", "delete_message")
    assert client.get(LIST).status_code == 403
    assert client.get(f"{LIST}{Message.objects.get().pk}/change/").status_code == 403
    assert client.post(f"{GROUPS}{Group.objects.get().pk}/delete/", {"post": "yes"}).status_code == 403
    assert Message.objects.count() == 1


def test_a_sent_message_stays_as_it_is(admin_client):
    send("hello")
    key = Message.objects.get().pk
    for act in ("change", "delete"):
        assert admin_client.post(f"{LIST}{key}/{act}/", {"body": "other", "post": "yes"}).status_code == 403
    admin_client.post(LIST, {"action": "delete_selected", "_selected_action": [key], "post": "yes"})
    assert Message.objects.get().body == "hello"
    assert "delete_selected" not in admin_client.get(LIST).content.decode()


# Reading


def rows(response) -> list[str]:
    return [message.body for message in response.context["cl"].result_list]


def test_messages_are_listed_newest_first_and_cut(admin_client):
    send("first")
    send("long " * 100, author="Ann", group="staff")
    response = admin_client.get(LIST)
    assert rows(response) == ["long " * 100, "first"]
    shown = re.findall(r'class="field-(\w+)[^>]*>(?:<a[^>]*>)?([^<]*)<', response.content.decode())
    assert [name for name, _ in shown[:7]] == ["offset", "group_name", "author", "source", "by", "sent_at", "beginning"]
    assert {("group_name", "staff"), ("author", "Ann")} <= set(shown)
    assert max(len(text) for name, text in shown if name == "beginning") == 80


def test_the_list_takes_as_many_queries_for_many_as_for_one(admin_client):
    send("one")
    with CaptureQueriesContext(connection) as for_one:
        admin_client.get(LIST)
    send_many([str(number) for number in range(20)])
    with CaptureQueriesContext(connection) as for_many:
        admin_client.get(LIST)
    assert len(for_many) == len(for_one)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=second", ["second"]),
        ("q=ann", ["third"]),
        ("group=staff", ["second"]),
        ("group=nowhere", []),
        ("source__exact=user", ["fourth"]),
        ("sent_at__isnull=True", []),
        ("", ["fourth", "third", "second", "first"]),
    ],
)
def test_messages_are_searched_and_filtered(admin_client, admin_user, query, found):
    send("first")
    send("second", group="staff")
    send("third", author="Ann")
    send("fourth", author=admin_user)
    assert rows(admin_client.get(f"{LIST}?{query}")) == found


def test_a_message_that_waits_for_its_offset_is_shown_too(admin_client):
    Message.objects.create(group_id="unborn", author="Ann", body="waiting")
    assert rows(admin_client.get(LIST)) == ["waiting"]
    page = admin_client.get(f"{LIST}{Message.objects.get().pk}/change/")
    assert page.status_code == 200


def test_a_message_can_be_viewed_by_those_who_may(staff):
    send("<b>bold</b>", data={"a": 1})
    response = staff("view_message").get(f"{LIST}{Message.objects.get().pk}/change/")
    page = response.content.decode()
    assert "&lt;b&gt;bold" in page
    assert "{&quot;a&quot;: 1}" in page
    assert 'type="submit" value="S' not in page
    assert "Close" in page


# Groups


def test_a_group_shows_how_far_it_is_and_what_it_keeps(admin_client, settings):
    settings.BROADCAST = {"GROUPS": {"broadcast": {"keep_messages": 25, "keep_seconds": 86400}}}
    send_many(["one", "two", "three"])
    Group.objects.update(floor=1)
    Message.objects.filter(offset=1).delete()
    group = Group.objects.get()
    page = admin_client.get(f"{GROUPS}{group.pk}/change/").content.decode()
    shown = dict(re.findall(r'field-(\w+)">.*?class="readonly">(.*?)</div>', page, re.DOTALL))
    position = {"name": "broadcast", "head": "3", "floor": "1", "epoch": group.epoch}
    kept = '<a href="/admin/broadcast/message/?group=broadcast">2</a>'
    assert shown == position | {"kept": kept, "keeps_at_most": "25 messages", "keeps_for": "1 day"}
    settings.BROADCAST = {"KEEP_MESSAGES": None, "KEEP_SECONDS": None}
    page = admin_client.get(f"{GROUPS}{group.pk}/change/").content.decode()
    assert "any number of messages" in page
    assert "any time" in page


def test_groups_are_neither_added_nor_edited_by_hand(admin_client):
    send("hello")
    group = Group.objects.get()
    assert admin_client.get(f"{GROUPS}add/").status_code == 403
    assert admin_client.post(f"{GROUPS}{group.pk}/change/", {"head": 7}).status_code == 403
    assert admin_client.get(GROUPS).status_code == 200


def test_deleting_a_group_erases_its_history_after_a_confirmation(admin_client, admin_user):
    send_many(["one", "two"])
    send("other", group="staff")
    group = Group.objects.get(name="broadcast")
    address = f"{GROUPS}{group.pk}/delete/"
    page = admin_client.get(address).content.decode()
    assert "broadcast, with 2 messages" in page
    assert Message.objects.count() == 3
    admin_client.post(address, {"post": "yes"})
    assert [message.body for message in Message.objects.all()] == ["other"]
    entry = LogEntry.objects.get()
    assert (entry.action_flag, entry.user, entry.object_repr) == (DELETION, admin_user, "broadcast")


def test_several_groups_can_be_deleted_at_once_and_begin_anew(staff):
    old = send_many(["one", {"body": "two", "group": "staff"}])
    epochs = set(Group.objects.values_list("epoch", flat=True))
    client = staff("view_group", "delete_group")
    keys = [group.pk for group in Group.objects.all()]
    client.post(GROUPS, {"action": "delete_selected", "_selected_action": keys, "post": "yes"})
    assert Message.objects.count() == 0
    again = send("again")
    assert (again.offset, old[0].offset) == (2, 1)
    assert Group.objects.get(name="broadcast").epoch not in epochs
