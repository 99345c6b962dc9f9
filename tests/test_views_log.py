"""The log's address: reading it as JSON, and writing to it by a form or by JSON."""

import re
from functools import partial
from html import escape, unescape
from typing import Any
from unittest.mock import ANY, Mock

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
from django.test import Client
from django.urls import include, path

from broadcast import send, send_many, views
from broadcast.audiences import signed_name
from broadcast.engine import history
from broadcast.engine.history import since
from broadcast.engine.storage.log import Log
from broadcast.exceptions import LogUnavailable, OutcomeUnknown
from broadcast.models import Group, Message
from tests.site import ROOT

OPEN = {"subscribe": "anyone", "publish": "anyone", "announce": "anyone"}
REF = "6f1c1a52-4a0e-4d7b-9d3e-2f6f0b9f8a11"
LOG = "/broadcast/"
FROM_A_BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
PAGE_ACCEPTED = [FROM_A_BROWSER["Accept"], "*/*", ""]


@pytest.fixture(autouse=True)
def open_to_anyone(settings) -> None:
    settings.BROADCAST = {"GROUPS": {"broadcast": OPEN, "news": OPEN, "staff": {"subscribe": "staff"}, "closed": {}}}


def read(client: Client, **query: Any) -> Any:
    response = client.get(LOG, {"format": "json", **query})
    assert response["Content-Type"] == "application/json"
    return response.json() | {"status": response.status_code}


def write(client: Client, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    response = client.post(LOG, fields, content_type="application/json", headers=headers)
    return response.json() | {"status": response.status_code}


def bodies(answer: Any) -> list[str]:
    return [message["body"] for message in answer["messages"]]


# Reading


def test_the_latest_messages_and_the_position_behind_them(client, db, settings):
    settings.BROADCAST = {**settings.BROADCAST, "PAGE_MESSAGES": 2}
    send_many(["one", "two", {"body": "three", "data": {"level": "info"}}])
    answer = read(client)
    position = {"group": "broadcast", "epoch": Group.objects.get().epoch, "offset": 3, "recovered": False}
    assert answer == {"status": 200, **position, "messages": ANY}
    assert bodies(answer) == ["two", "three"]
    written = {"author": "Server", "body": "three", "group": "broadcast", "data": {"level": "info"}}
    told = {"type": "message", "offset": 3, "sent_at": ANY, "source": "server", "ref": ANY}
    assert answer["messages"][1] == written | told
    assert bodies(read(client, limit=1)) == ["three"]
    look = client.head(LOG, {"format": "json"})
    assert (look.status_code, look["Content-Type"], look.content) == (200, "application/json", b"")


def test_going_on_from_a_position_has_everything_once(client, db):
    position = {"after": 0, "epoch": read(client)["epoch"]}
    send_many([str(number) for number in range(7)])
    heard: list[str] = []
    while messages := bodies(answer := read(client, limit=3, **position)):
        assert answer["recovered"]
        heard += messages
        position = {"after": answer["offset"], "epoch": answer["epoch"]}
    assert heard == [str(number) for number in range(7)]
    assert (answer["offset"], answer["recovered"]) == (7, True)


def test_without_an_epoch_the_current_one_is_meant(client, db):
    send_many(["one", "two"])
    assert bodies(read(client, after=1)) == ["two"]
    assert bodies(read(client, after=0, epoch="")) == []
    assert bodies(read(client, after="")) == ["one", "two"]


def test_a_position_that_means_nothing_any_more_is_told(client, transactional_db):
    send_many(["one", "two", "three", "four"])
    for position in ({"after": 1, "epoch": "another"}, {"after": 5}):
        answer = read(client, **position)
        assert (answer["recovered"], answer["offset"], answer["messages"]) == (False, 4, [])
    prune_to(2)
    answer = read(client, after=1)
    assert (answer["recovered"], answer["offset"], bodies(answer)) == (False, 4, ["three", "four"])
    assert read(client, after=2)["recovered"]


@pytest.mark.parametrize(("kept", "heard"), [(1, ["four"]), (0, [])])
def test_what_goes_while_it_is_read_is_told(client, transactional_db, monkeypatch, kept, heard):
    send_many(["one", "two", "three", "four"])
    join = since.__globals__["joined"]

    def joined_before_a_pruning(group: str) -> Any:
        head = join(group)
        prune_to(4 - kept)
        return head

    monkeypatch.setitem(since.__globals__, "joined", joined_before_a_pruning)
    answer = read(client, after=1)
    assert (answer["recovered"], answer["offset"], bodies(answer)) == (False, 4, heard)


@pytest.mark.parametrize("sizes", [[1000] * 500, [30, 90_000, 10, 300_000, 300_000, 20, 10], [200_000, 60_000, 5]])
def test_an_answer_is_bounded_by_bytes_and_whoever_goes_on_misses_nothing(client, db, settings, sizes):
    settings.BROADCAST = {**settings.BROADCAST, "MAX_DATA": 400_000}
    send_many([{"body": "ä", "data": {"x": "é" * (size // 2)}} for size in sizes])
    answers, position = [], {"after": 0}
    while (answer := client.get(LOG, {"format": "json", "limit": 500, **position})).json()["messages"]:
        answers.append(answer)
        position = {"after": answer.json()["offset"], "epoch": answer.json()["epoch"]}
    heard = [message["offset"] for answer in answers for message in answer.json()["messages"]]
    assert heard == list(range(1, len(sizes) + 1))
    assert all(answer.json()["recovered"] for answer in answers)
    newest = client.get(LOG, {"format": "json", "limit": 500})
    for answer in (*answers, newest):
        assert len(answer.content) <= history.MAX_BYTES + 1000 or len(answer.json()["messages"]) == 1
        assert "é".encode() in answer.content  # escaped, it would be three times as long
    offsets = [message["offset"] for message in newest.json()["messages"]]
    assert newest.json()["offset"] == len(sizes)
    assert offsets == list(range(len(sizes) + 1 - len(offsets), len(sizes) + 1))
    assert client.get("/").content.count(b"<li data-source") == min(len(offsets), 50)


@pytest.mark.parametrize("ask", [{"after": 0}, {}])
def test_no_more_rows_are_read_than_are_likely_to_fit(client, db, monkeypatch, ask):
    send_many([{"body": "x" * 4000, "data": {"x": "y" * 12_000}}] * 200)
    reading, rows = Log._read_in, []
    monkeypatch.setattr(Log, "_read_in", lambda *args: rows.append(reading(*args)) or rows[-1])
    answer = read(client, limit=500, **ask)
    assert 10 < len(answer["messages"]) < 20
    assert sum(map(len, rows)) <= len(answer["messages"]) + 1


def test_what_goes_between_two_steps_ends_the_answer_before_it(client, transactional_db, monkeypatch):
    send_many([str(number) for number in range(200)])
    reading = Log.read

    def read_before_a_pruning(*args: Any) -> list[Message]:
        found = reading(*args)
        prune_to(120)
        return found

    monkeypatch.setattr(Log, "read", read_before_a_pruning)
    for expected in ((True, history.STEP, history.STEP), (False, 200, 80)):
        answer = read(client, after=0 if expected[0] else history.STEP, limit=200)
        assert (answer["recovered"], answer["offset"], len(answer["messages"])) == expected


def prune_to(floor: int) -> None:
    Group.objects.update(floor=floor)
    Message.objects.filter(offset__lte=floor).delete()


def test_a_group_in_which_nobody_has_spoken_has_a_position_and_what_waits_is_sequenced(client, transactional_db):
    first = read(client, group="news")
    assert (first["group"], first["offset"], first["messages"]) == ("news", 0, [])
    send("first", group="news")
    Message.objects.create(group_id="news", author="Server", body="orphan")
    assert bodies(read(client, group="news", after=0, epoch=first["epoch"])) == ["first", "orphan"]


def test_without_a_log_there_is_nothing_to_read_and_writing_is_live_only(client):
    nothing = {"epoch": "", "offset": None, "recovered": False, "messages": []}
    for query in ({}, {"after": "0"}):
        assert read(client, **query) == {"status": 200, "group": "broadcast", **nothing}
    answer = write(client, body="hi")
    assert (answer["status"], answer["offset"], answer["sent_at"]) == (201, None, None)


@pytest.mark.parametrize("accept", ["application/json", "application/json, text/html;q=0.5", *PAGE_ACCEPTED])
def test_json_for_those_who_ask_for_it_and_the_page_for_everyone_else(client, db, accept):
    response = client.get(LOG, headers={"Accept": accept})
    assert response["Content-Type"].partition(";")[0] == (
        "text/html" if accept in PAGE_ACCEPTED else "application/json"
    )
    assert "Accept" in response["Vary"]
    # The browser may keep the page for back and forward, and nobody else.
    kept = "private, no-cache" if accept in PAGE_ACCEPTED else "max-age=0, no-cache, no-store, must-revalidate, private"
    assert response["Cache-Control"] == kept


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"limit": "0"}, "The limit must be a whole number from 1 to 500; it came as '0'."),
        ({"limit": "501"}, "The limit must be a whole number from 1 to 500; it came as '501'."),
        ({"limit": ""}, "The limit must be a whole number from 1 to 500; it came as ''."),
        ({"limit": "9" * 5000}, "The limit must be a whole number from 1 to 500; it came as"),
        ({"after": "²"}, "The offset must be a whole number from 0 on; it came as '²'."),
        ({"after": "9" * 19}, "The offset must be a whole number from 0 on; it came as a number."),
        ({"after": "1", "epoch": "e" * 65}, "The epoch must be the text of a welcome; it came as"),
        ({"group": ""}, "The group must be text that matches"),
    ],
)
def test_a_question_that_makes_no_sense(client, db, query, said):
    answer = read(client, **query)
    assert (answer["status"], answer["code"]) == (400, "invalid")
    assert answer["body"].startswith(said)


# Who may read


def test_who_may_not_is_told_what_to_do_and_staff_are_told_the_setting(client, db, caplog):
    said = "You may not receive messages of 'staff', or there is no such group. Sign in if you have an account."
    assert read(client, group="staff") == {"status": 403, "code": "forbidden", "body": said}
    assert 'BROADCAST["GROUPS"]["staff"]["subscribe"] is "staff".' in caplog.text
    for action, ask in (("receive messages of", read), ("write to", partial(write, body="hi"))):
        there, not_there = (ask(client, group=group) for group in ("closed", "nowhere"))
        assert there == {**not_there, "body": not_there["body"].replace("nowhere", "closed")}
        assert there["body"].startswith(f"You may not {action} 'closed', or there is no such group.")
    client.force_login(User.objects.create_user("ann", is_staff=True))
    assert read(client, group="staff")["status"] == 200
    for group, status, setting in (
        ("nowhere", 404, 'A site names its groups in BROADCAST["GROUPS"]; this one is not among them.'),
        ("closed", 403, 'BROADCAST["GROUPS"]["closed"]["subscribe"] is "nobody".'),
    ):
        told = read(client, group=group)
        assert (told["status"], told["body"].endswith(f"may allow it. {setting}")) == (status, True)
    assert not Group.objects.exists()


def test_a_signed_name_opens_a_group_for_whom_it_was_signed(client, db):
    ann = User.objects.create_user("ann")
    send("first", to=ann)
    name = signed_name(ann, ann)
    refused = read(client, group=name)
    assert (refused["status"], refused["code"]) == (403, "forbidden")
    assert refused["body"].startswith(f"The signed name of 'user.{ann.pk}' is not for you")
    client.force_login(ann)
    answer = read(client, group=name)
    assert (answer["group"], bodies(answer)) == (f"user.{ann.pk}", ["first"])


# Writing


def test_a_guest_writes_under_a_name_that_is_marked(client, db):
    said = {"author": "Ann", "body": "hi", "ref": REF, "data": {"n": 1}}
    told = {"type": "message", "group": "broadcast", "offset": 1, "sent_at": ANY, "source": "guest", "guest": True}
    assert write(client, **said) == {"status": 201, **said, **told}
    assert Message.objects.get().source == "guest"
    assert write(client, body="hi")["author"] == "Guest"
    form = client.post(LOG, {"body": "hi", "author": "Ann", "group": "", "announce": ""})
    assert (form.status_code, form["Content-Type"]) == (201, "application/json")
    assert (form.json()["author"], form.json()["source"]) == ("Ann", "guest")


def test_a_user_writes_under_their_own_name_whatever_they_say(client, db):
    ann = User.objects.create_user("ann")
    client.force_login(ann)
    answer = write(client, body="hi", author="bob", group="news")
    assert (answer["status"], answer["author"], answer["source"]) == (201, "ann", "user")
    message = Message.objects.get()
    assert (message.user, message.group_id) == (ann, "news")


def test_the_same_ref_is_the_same_message(client, db):
    first = write(client, body="hi", ref=REF)
    again = write(client, body="hi", ref=REF)
    assert (first.pop("status"), again.pop("status")) == (201, 200)
    assert again == first
    assert write(client, body="hi", ref=REF, author="Bob")["status"] == 201


def test_an_announcement_is_the_sites_own_word(client, db):
    answer = write(client, body="Lunch is ready", announce=True, data={"url": "/menu/"}, group="news", ref=REF)
    assert (answer["status"], answer["author"], answer["source"]) == (201, "Server", "server")
    assert (answer["group"], answer["data"], answer["ref"]) == ("news", {"url": "/menu/"}, REF)
    assert write(client, body="Lunch is ready", announce=True, group="news", ref=REF)["status"] == 200
    assert client.post(LOG, {"body": "hi", "announce": "on"}).json()["source"] == "server"


def test_writing_and_announcing_take_the_right_to(client, db, settings):
    settings.BROADCAST = {}
    refused = write(client, body="hi")
    assert (refused["status"], refused["code"]) == (403, "forbidden")
    ann = User.objects.create_user("ann")
    client.force_login(ann)
    refused = write(client, body="hi", announce=True)
    assert (refused["status"], refused["code"]) == (403, "forbidden")
    assert "BROADCAST" not in refused["body"]
    assert not Message.objects.exists()
    ann.user_permissions.add(Permission.objects.get(codename="add_message"))
    assert write(client, body="hi", announce=True)["status"] == 201


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({}, "invalid", "The body must be text; it came as nothing."),
        ({"body": "x" * 4001}, "too_large", "The body may have 4000 characters; it came with 4001."),
        ({"body": "x", "author": "Sеrver"}, "forbidden", "is the name under which this site speaks"),  # noqa: RUF001
        ({"body": "x", "announce": True, "author": "Ann"}, "invalid", "The author of an announcement is the site"),
    ],
)
def test_a_message_that_will_not_do(client, db, fields, code, said):
    answer = write(client, **fields)
    assert (answer["status"], answer["code"]) == (403 if code == "forbidden" else 400, code)
    assert said in answer["body"]
    assert not Message.objects.exists()


def test_it_is_sent_at_once_under_atomic_requests(client, transactional_db, monkeypatch):
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    assert write(client, body="hi")["offset"] == 1
    assert client.get("/broadcast/hello", headers={"Accept": "application/json"}).json()["offset"] == 2
    assert client.get("/").status_code == 200


# From where


def test_a_request_with_cookies_needs_the_token(db):
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_user("ann"))
    refused = write(client, body="hi")
    assert (refused["status"], refused["code"]) == (403, "forbidden")
    assert "CSRF token" in refused["body"]
    token = "a" * 32
    client.cookies["csrftoken"] = token
    assert write(client, {"X-CSRFToken": token}, body="hi")["author"] == "ann"
    assert client.post(LOG, {"body": "hi", "csrfmiddlewaretoken": token}).status_code == 201
    form = client.post(LOG, {"body": "hi", "csrfmiddlewaretoken": "b" * 32}, headers=FROM_A_BROWSER)
    assert form.status_code == 403
    assert b"CSRF verification failed" in form.content
    assert Message.objects.count() == 2


def test_a_request_with_cookies_comes_from_the_sites_own_pages(db):
    client = Client(enforce_csrf_checks=True)
    assert write(client, body="hi")["status"] == 201  # a script without cookies needs no token
    client.cookies["csrftoken"] = token = "a" * 32
    elsewhere = {"X-CSRFToken": token, "Origin": "https://evil.example"}
    assert write(client, elsewhere, body="hi")["status"] == 403
    assert write(client, {"X-CSRFToken": token, "Origin": "http://testserver"}, body="hi")["status"] == 201


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-site"}, {"Sec-Purpose": "prefetch"}])
def test_a_request_without_cookies_does_not_come_from_a_page_of_another_site(client, db, headers):
    """Browsers send the password of Basic authentication, and their address, with whatever another site asks."""
    refused = write(client, headers, body="hi")
    assert (refused["status"], refused["code"]) == (403, "forbidden")
    assert not Message.objects.exists()


# A form of a page


@pytest.mark.parametrize(
    ("fields", "referer", "to"),
    [
        ({}, "http://testserver/home?x=y", "http://testserver/home?x=y"),
        ({}, "http://testserver.evil.example/", LOG),
        ({}, "", LOG),
        ({"next": "/chat/"}, "http://testserver/home", "/chat/"),
        ({"next": "https://evil.example/"}, "", LOG),
        ({"next": "//evil.example/"}, "http://testserver/home", "http://testserver/home"),
        ({"next": "javascript:alert(1)"}, "", LOG),
    ],
)
def test_it_leads_back_to_the_page(client, db, fields, referer, to):
    headers = FROM_A_BROWSER | {"Sec-Fetch-Site": "same-origin"} | ({"Referer": referer} if referer else {})
    response = client.post(LOG, {"body": "hi", **fields}, headers=headers)
    assert (response.status_code, response["Location"]) == (302, to)
    assert Message.objects.get().body == "hi"


def test_its_refusal_is_a_page_with_what_was_written(db, settings):
    settings.BROADCAST = {"GROUPS": {"lobby": {"publish": "anyone"}}, "MAX_BODY": 20}
    client = Client(enforce_csrf_checks=True)
    body = "\n<b>One</b>\r\nand much more"
    fields = {"body": body, "author": '"Ann"', "group": "lobby", "next": "/page/?a=1&b=2", "data": '{"n": 1}'}
    refused = client.post(LOG, fields, headers=FROM_A_BROWSER)
    assert (refused.status_code, refused["Content-Type"]) == (400, "text/html; charset=utf-8")
    html = refused.content.decode()
    assert "The body may have 20 characters; it came with 25." in html
    assert f">\n{escape(body)}</textarea>" in html
    inputs = {name: unescape(value) for name, value in re.findall(r'<input[^>]* name="(\w+)" value="(.*?)"', html)}
    assert {**inputs, "body": body} == {**fields, "csrfmiddlewaretoken": inputs["csrfmiddlewaretoken"]}
    assert not re.search(r"<style\b|\sstyle=|javascript:|<script>|\son\w+=", html)
    again = client.post(LOG, {**inputs, "body": "One"}, headers=FROM_A_BROWSER)
    assert (again.status_code, again["Location"]) == (302, "/page/?a=1&b=2")
    message = Message.objects.get()
    assert (message.body, message.author, message.group_id, message.data) == ("One", '"Ann"', "lobby", {"n": 1})


def test_what_another_site_wrote_is_not_offered_to_be_sent(client, db):
    headers = FROM_A_BROWSER | {"Sec-Fetch-Site": "cross-site"}
    refused = client.post(LOG, {"body": "Buy this"}, headers=headers)
    assert refused.status_code == 403
    assert "A page of another site may not write here." in refused.content.decode()
    assert "Buy this" not in refused.content.decode()
    assert "<form" not in refused.content.decode()


def test_its_refusal_asks_no_user_for_a_name_and_comes_for_a_form_too_large_to_be_read(client, db, settings):
    client.force_login(User.objects.create_user("ann"))
    html = client.post(LOG, {"body": " "}, headers=FROM_A_BROWSER).content.decode()
    assert 'name="body"' in html
    assert 'name="author"' not in html  # a user has no name to choose
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    refused = client.post(LOG, "body=" + "x" * 200, "application/x-www-form-urlencoded", headers=FROM_A_BROWSER)
    assert (refused.status_code, refused["Content-Type"]) == (400, "text/html; charset=utf-8")
    assert "The message is too long for this site." in refused.content.decode()


def test_the_form_that_the_docs_show(db, settings):
    settings.ROOT_URLCONF = __name__
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_user("ann"))
    shown = client.get("/form/").content.decode()
    action, token = re.search(r'action="(\S+)"', shown), re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', shown)
    assert action
    assert token
    headers = FROM_A_BROWSER | {"Referer": "http://testserver/form/", "Origin": "http://testserver"}
    written = client.post(action[1], {"body": "hi", "csrfmiddlewaretoken": token[1]}, headers=headers)
    assert (written.status_code, written["Location"]) == (302, "http://testserver/form/")
    assert Message.objects.get().author == "ann"


# A database that is away


@pytest.mark.parametrize("is_staff", [False, True])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (LogUnavailable("no host 10.0.0.7"), "Messages can neither be read nor sent right now."),
        (OutcomeUnknown("no host 10.0.0.7"), "The message may or may not have been sent."),
    ],
)
def test_a_log_that_is_away_is_said_and_the_cause_is_for_staff(client, db, monkeypatch, caplog, error, said, is_staff):
    client.force_login(User.objects.create_user("ann", is_staff=is_staff))
    for name in ("publish", "latest", "since"):
        monkeypatch.setattr(views, name, Mock(side_effect=error))
    for response in (client.post(LOG, {"body": "hi"}), client.get(LOG, {"format": "json"})):
        assert (response.status_code, response["Retry-After"]) == (503, "1")
        assert response.json()["code"] == "unavailable"
        assert response.json()["body"].startswith(said)
        assert ("no host" in response.json()["body"]) is is_staff
    assert "no host 10.0.0.7" in caplog.text


# A site of one's own


(FORM,) = re.findall(r"^```html\n(.*?)^```$", (ROOT / "docs" / "http.md").read_text(), re.MULTILINE | re.DOTALL)


def form(request: HttpRequest) -> HttpResponse:
    return HttpResponse(Template(FORM).render(RequestContext(request)))


urlpatterns = [path("deep/down/", include("broadcast.urls")), path("form/", form)]
