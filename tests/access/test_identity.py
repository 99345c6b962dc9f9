"""The name under which others see a user, and who may not write under theirs."""

from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError

from broadcast import send
from broadcast.access.identity import draft_by, public_name
from broadcast.access.sentences import sentence_of
from broadcast.consumers import BroadcastConsumer
from broadcast.engine.commands import publish_of
from broadcast.exceptions import InvalidMessage, LogUnavailable
from broadcast.models import Message
from tests.tabs import OPEN, Browser

ADDRESS = "ann.smith@example.org"


def fail(user):
    raise ArithmeticError("no such luck")


@pytest.fixture
def named_by(settings, caplog):
    """Sets ``AUTHOR``, and returns the name that it gives Ann and the lines that the log has got."""

    def name(author, **fields):
        settings.BROADCAST = {"AUTHOR": author}
        user = User(**{"pk": 7, "username": "ann", "first_name": "Ann", "last_name": "Smith", **fields})
        names = {public_name(user) for _ in range(2)}
        return names, [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]

    return name


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "ann"),
        ({"username": ADDRESS}, "Ann"),
        ({"username": ADDRESS, "first_name": ""}, "Smith"),
        ({"username": f"<{ADDRESS}>", "first_name": ADDRESS, "last_name": ""}, None),
        ({"username": ADDRESS, "first_name": "\u200b", "last_name": ""}, None),
        ({"username": "x" * 300}, "x" * 255),
        ({"username": "@ann"}, "@ann"),
    ],
)
def test_a_user_has_their_user_name_unless_that_is_an_address(named_by, fields, name):
    [found], _ = named_by(None, **fields)
    assert found == (name or public_name(User(pk=7, username=ADDRESS)))


def test_neutral_names_differ_and_tell_nothing():
    names = {public_name(User(pk=pk, username="a@b")) for pk in range(50)}
    assert len(names) == 50
    assert all(name.startswith("User ") and "@" not in name for name in names)
    assert public_name(SimpleNamespace(pk=ADDRESS, get_username=lambda: ADDRESS)).startswith("User ")


@pytest.mark.parametrize("author", [User.get_full_name, "django.contrib.auth.models.AbstractUser.get_full_name"])
def test_the_site_may_name_its_users(named_by, author):
    assert named_by(lambda user: f"{user.first_name}!") == ({"Ann!"}, [])
    if callable(author):
        assert named_by(author) == ({"Ann Smith"}, [])


@pytest.mark.parametrize(
    ("author", "text"),
    [
        (fail, "no such luck"),
        ("nowhere.name", "nowhere"),
        (lambda user: None, "it returned NoneType"),
        (lambda user: " \u200b", "it returned blank text"),
        (lambda user: ADDRESS, "it returned an e-mail address"),
        (lambda user: "a\x00", "NUL"),
    ],
    ids=["raises", "is nowhere", "returns None", "is blank", "is an address", "has a NUL"],
)
def test_one_that_fails_gives_neutral_names_and_the_log_says_so_once(named_by, author, text):
    [name], [line] = named_by(author)
    assert name == public_name(User(pk=7, username=ADDRESS)) or name.startswith("User ")
    assert 'BROADCAST["AUTHOR"] failed' in line
    assert text in line
    assert ADDRESS not in line


def test_one_that_cannot_reach_the_database_is_asked_again_later(named_by):
    def away(user):
        raise OperationalError("secret.host")

    with pytest.raises(LogUnavailable) as error:
        named_by(away)
    assert "secret" not in sentence_of(error.value)


@pytest.mark.parametrize("name", ["Ѕerver", "Ann\u202e", "A\u200bnn", "SERVER"])  # noqa: RUF001
def test_nobody_writes_under_a_name_that_hides_steers_or_mimics(named_by, name):
    assert named_by(lambda user: name) == ({name}, [])
    said = publish_of({"body": "hi"})
    with pytest.raises(InvalidMessage) as refused:
        draft_by(User(pk=1, username="ann"), said, "broadcast")
    assert refused.value.code == "forbidden"
    with pytest.raises(InvalidMessage):
        send("hi", author=User(pk=1, username="ann"))


@pytest.mark.django_db
def test_all_that_shows_a_user_shows_the_public_name(client, settings):
    settings.BROADCAST = {}
    settings.LANGUAGE_CODE = "en"
    ann = User.objects.create_superuser(ADDRESS, first_name="Ann", password="x")
    client.force_login(ann)
    client.post("/broadcast/", {"body": "by form"})
    client.post("/broadcast/", {"body": "by JSON"}, content_type="application/json")
    send("by code", author=ann)
    client.post("/admin/broadcast/message/add/", {"group": "broadcast", "author": "user", "body": "by the admin"})
    assert {message.author for message in Message.objects.all()} == {"Ann"}
    assert Message.objects.count() == 4
    page = client.get("/broadcast/", headers={"accept": "text/html"}).content.decode()
    assert page.count('user="Ann"') == 1
    assert page.count("data-own") == 4
    assert ADDRESS not in page
    assert '<option value="user">Ann</option>' in client.get("/admin/broadcast/message/add/").content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("content_type", ["application/json", None], ids=str)
@pytest.mark.parametrize("name", ["\u202eboB", "Ser\u202erev\u202c", "A\u2066nn", "A\u034fnn", "Ꞩerver"], ids=ascii)
def test_guests_are_refused_alike_over_http(client, settings, name, content_type):
    settings.BROADCAST = {"GROUPS": {"broadcast": {"publish": "anyone"}}}
    kind = {"content_type": content_type} if content_type else {}
    answer = client.post("/broadcast/", {"body": "hi", "author": name}, **kind)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("first", "shown"), [("Ann", "Ann"), ("Server", "User "), ("A\u200fnn", "User "), ("", "User ")]
)
async def test_the_short_name_may_be_looked_up_and_one_that_nobody_may_write_under_is_passed_over(
    transactional_db, settings, monkeypatch, first, shown
):
    monkeypatch.setattr(User, "get_short_name", lambda user: User.objects.get(pk=user.pk).first_name)
    monkeypatch.setattr(User, "get_full_name", fail)
    settings.BROADCAST, settings.CHANNEL_LAYERS = {"GROUPS": {"broadcast": OPEN}}, {}
    user = await User.objects.acreate(username=ADDRESS, first_name=first)
    browser = Browser(BroadcastConsumer.as_asgi(), "/ws?v=1", user=user)
    assert (await browser.connect())["user"].startswith(shown)
    assert (await browser.ask(body="hi"))["author"].startswith(shown)
    await browser.leave()
