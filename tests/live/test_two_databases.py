"""A log in a database of its own, where the site's users are not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.clients import Browser, Client
from tests.site import Daphne

USERS = """
import json
from django.contrib.auth.models import User
from django.db import connections, transaction
from broadcast import send
from broadcast.models import Message

class Undone(Exception):
    pass

def undone(database, work):
    try:
        with transaction.atomic(using=database):
            result = work()
            raise Undone
    except Undone:
        return result

ann = User.objects.create_superuser("ann", password="secret")
bob = User.objects.create_user("bob")
"""
SENDING = """
sent = [send("outside", author=ann).offset]
with transaction.atomic(using="log"):
    message = send("with the log's own commit", author=bob)
    sent.append(message.offset)
sent.append(message.offset)
sent.append(undone("log", lambda: send("undone")).offset)
sent.append(undone("default", lambda: send("not a part of what is undone")).offset)
print(json.dumps([sent, list(Message.objects.order_by("offset").values_list("offset", "body"))]))
"""
DELETING = """
send("hi", author=bob)
said = Message.objects.values_list("author", "user_id")
bobs = User.objects.filter(pk=bob.pk)
undone("default", bobs.delete)
before = said.get() == ("bob", bob.pk)
bobs.delete()
after = said.get()

send("hello", author=ann)
log = connections["log"]
log.close()
name, log.settings_dict["NAME"] = log.settings_dict["NAME"], "/nowhere/at/all"
User.objects.filter(pk=ann.pk).delete()
log.settings_dict["NAME"] = name
print(json.dumps([before, after, said.filter(user_id=ann.pk).get()[0], User.objects.count()]))
"""


@pytest.fixture(params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Daphne:
    """One that has not been started, on two databases with all of their tables."""
    urls = {name: f"sqlite:///{tmp_path}/{name}.sqlite3" for name in ("DATABASE_URL", "LOG_URL")}
    if request.param == "postgres":
        postgres = request.getfixturevalue("postgres_server")
        urls = {name: postgres.create_database(f"{tmp_path.name} {name}").replace(" ", "%20") for name in urls}
    server = Daphne(tmp_path / "site", DJANGO_SETTINGS_MODULE="tests.live.two_databases_settings", **urls)
    for database in ("default", "log"):
        server.manage("migrate", "--verbosity", "0", "--database", database)
    return server


def test_what_is_sent_in_a_transaction_of_the_log_goes_with_its_commit(server: Daphne) -> None:
    sent, kept = json.loads(server.shell(USERS + SENDING).stdout)
    assert sent == [1, None, 2, None, 3]
    assert kept == [[1, "outside"], [2, "with the log's own commit"], [3, "not a part of what is undone"]]


def test_what_a_deleted_user_said_stays_without_the_account(server: Daphne) -> None:
    """Once the deletion is committed; if the log is away then, that does not hold it up."""
    assert json.loads(server.shell(USERS + DELETING).stdout) == [True, ["bob", None], "ann", 0]


def test_the_site_works(server: Daphne, serving: Callable[[Daphne], Daphne], visit: Callable[..., Client]) -> None:
    key = int(server.shell(USERS + 'send("first", author=bob)\nprint(bob.pk)').stdout)
    serving(server)
    admin = Browser(server, "ann")
    ann, guest = visit(server, additional_headers=admin.header), visit(server)
    ann.say(body="hi")
    assert (ann.hear()["source"], guest.hear()["author"]) == ("user", "ann")
    server.manage("broadcast", "send", "from a shell")
    assert guest.hear()["body"] == "from a shell"
    admin.post("/admin/broadcast/message/add/", group="broadcast", author="user", body="from the admin", data="")
    assert guest.hear()["author"] == "ann"

    def page(path: str) -> str:
        return str(admin.opener.open(server.url + path).read().decode())

    for path in ("/", "/admin/", "/admin/broadcast/message/?q=hi", "/admin/broadcast/group/1/change/"):
        page(path)
    assert f"/admin/auth/user/{key}/" in page("/admin/broadcast/message/1/change/")
    admin.post(f"/admin/auth/user/{key}/delete/", post="yes")
    assert f"/admin/auth/user/{key}/" not in page("/admin/broadcast/message/1/change/")
    admin.post("/admin/broadcast/group/1/delete/", post="yes")
    assert guest.hear()["type"] == "reset"
    assert "database 'log'" in server.manage("broadcast", "doctor", check=False).stdout
    server.manage("broadcast", "renew")
    assert guest.hear()["type"] == "reset"
    assert server.failures == []
