"""The promises, held by a real daphne over real sockets to a client that knows nothing of this app."""

import re
import shutil
import socket
import subprocess
from urllib.error import HTTPError

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.kit.clients import WAIT, WELCOME, Browser, fetch, push
from tests.kit.waiting import wait_until
from tests.site import Daphne, Site

REF = "00000000-0000-4000-8000-000000000001"


# Chatting and pushing


def test_two_clients_and_a_push_by_curl(server, visit):
    ann, bob = visit(server, ""), visit(server, "/")
    assert ann.welcome == bob.welcome == WELCOME
    ann.say(author="Ann", body="hi")
    assert ann.hear() == bob.hear() == {"author": "Ann", "body": "hi"}
    assert curl(f"{server.url}/broadcast/hello") == "Broadcasting hello"
    assert ann.hear() == bob.hear() == {"author": "Server", "body": "hello"}
    assert server.failures == []


def curl(url: str) -> str:
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    done = subprocess.run(["curl", "--silent", "--show-error", "--noproxy", "*", url], capture_output=True, check=True)
    return done.stdout.decode()


def test_a_push_arrives_as_typed(server, visit):
    client = visit(server, "")
    for body in ("hello world", "a/b//c/", "Grüße", "100%25", "one\ntwo\n", "why?"):
        push(server, body)
        assert client.hear() == {"author": "Server", "body": body}


def test_v1_is_negotiated(server, visit):
    client = visit(server, "", subprotocols=["chat", "broadcast.v1"])
    assert client.socket.subprotocol == "broadcast.v1"
    assert client.welcome["type"] == "welcome"
    client.say(type="ping")
    assert client.hear() == {"type": "pong"}
    client.say(body="hi", ref=REF)
    message = client.hear()
    assert (message["offset"], message["ref"]) == (1, REF)


# From other processes


ROLL_BACK = """
from django.db import transaction
from broadcast import send, send_many
try:
    with transaction.atomic():
        send("gone")
        send_many(["gone too", "and gone"])
        raise RuntimeError
except RuntimeError:
    send("the sentinel")
"""
DIE = """
import os
from django.db import transaction
from broadcast import send
with transaction.atomic():
    transaction.on_commit(lambda: os._exit(9))
    send("the last will")
"""


@pytest.mark.parametrize(("code", "status", "arrives"), [(ROLL_BACK, 0, "the sentinel"), (DIE, 9, "the last will")])
def test_what_is_committed_arrives_and_nothing_else(server, site, visit, code, status, arrives):
    client = visit(server)
    assert site.shell(code, check=False).returncode == status
    message = client.hear()
    assert (message["body"], message["offset"]) == (arrives, 1)


SEND = "bodies = [f'message {number}' for number in range(300)]\nfrom broadcast import send, send_many\n"


@pytest.mark.parametrize(
    "code", ["send_many(bodies)", "[send(body) for body in bodies]"], ids=["in one transaction", "one by one"]
)
def test_three_hundred_messages_to_twenty_clients(server, site, visit, code):
    clients = [visit(server) for _ in range(20)]
    site.shell(SEND + code)
    for client in clients:
        assert client.hear_until("message 299") == [f"message {number}" for number in range(300)]
        assert client.offset == 300


def test_three_hundred_messages_of_the_servers_own(server, visit):
    """Sent by clients, so that hints go through the layer of the very process that serves."""
    listeners, talkers = [visit(server) for _ in range(20)], {name: visit(server) for name in "ABCDE"}
    for number in range(60):
        for name, talker in talkers.items():
            talker.say(author=name, body=str(number))
    heard = [[listener.hear() for _ in range(300)] for listener in listeners]
    for name in talkers:
        assert [each["body"] for each in heard[0] if each["author"] == name] == [str(number) for number in range(60)]
    assert all(each == heard[0] for each in heard)


# Coming back


def test_a_client_gets_exactly_what_it_missed_while_the_server_was_dead(server, site, visit):
    client = visit(server)
    for number in range(3):
        client.say(body=f"before {number}")
    client.hear_until("before 2")
    server.kill()
    with pytest.raises(ConnectionClosed):
        client.hear()
    site.shell("from broadcast import send_many; send_many(['meanwhile 0', 'meanwhile 1'])")
    server.start()
    site.shell("from broadcast import send; send('after')")

    back = visit(server, f"?after=3&epoch={client.epoch}", subprotocols=["broadcast.v1"])
    assert (back.offset, back.welcome["recovered"], back.epoch) == (3, True, client.epoch)
    back.say(body="here again")
    assert back.hear_until("here again") == ["meanwhile 0", "meanwhile 1", "after", "here again"]


def test_what_was_acknowledged_survives_the_server(server, visit):
    """The server dies the moment it has answered."""
    client = visit(server)
    client.say(body="keep this", ref=REF)
    kept = client.hear()
    server.kill()
    server.start()
    back = visit(server, f"?v=1&after=0&epoch={client.epoch}")
    assert back.hear() == kept
    back.say(body="keep this", ref=REF)
    assert back.hear() == {**kept, "duplicate": True}


# Before migrate


def test_before_migrate_it_works_live_only_and_says_so_once(daphne, tmp_path, visit):
    server = daphne(database=tmp_path / "empty.sqlite3")
    plain, v1 = visit(server, ""), visit(server)
    assert plain.welcome == WELCOME
    assert v1.offset is None
    for number in range(5):
        plain.say(body=f"hi {number}")
        assert v1.hear()["body"] == plain.hear()["body"] == f"hi {number}"
    push(server, "hello")
    assert plain.hear() == {"author": "Server", "body": "hello"}
    assert v1.hear()["offset"] is None
    assert fetch(server, "/")
    errors = re.findall(r"^.* ERROR .*$", server.log, re.MULTILINE)
    assert len(errors) == 1
    assert "manage.py migrate" in errors[0]

    Site(server.database).manage("migrate", "--verbosity", "0")
    begun = v1.hear()
    assert (begun["type"], begun["offset"]) == ("reset", 0)
    plain.say(body="now it is kept")
    assert v1.hear()["offset"] == 1
    assert server.failures == errors


# Servers


def test_runserver_works_too(site, visit):
    served = Daphne(site.database)
    site.spawn("manage.py", "runserver", "--noreload", f"127.0.0.1:{served.port}", stdout=subprocess.DEVNULL)
    wait_until(served.is_listening)
    client = visit(served, "")
    assert client.welcome == WELCOME
    client.say(body="hi")
    assert client.hear() == {"author": "Guest", "body": "hi"}


def test_signed_in_with_debug_off_by_the_cookie_of_the_admin(daphne, site, visit):
    server = daphne(DEBUG="off", SECRET_KEY="of the tests", ALLOWED_HOSTS="127.0.0.1")
    site.env["DJANGO_SUPERUSER_PASSWORD"] = "secret"
    site.manage("createsuperuser", "--noinput", "--username", "ann", "--email", "")
    guest = visit(server, "")
    guest.say(body="hi")
    assert guest.hear()["body"].startswith("You may not write to 'broadcast', or there is no such group.")
    with pytest.raises(HTTPError) as refused:
        push(server, "hello")
    assert refused.value.code == 403
    assert b"BROADCAST" not in refused.value.read()
    for action in ("publish", "announce"):
        assert f'BROADCAST["GROUPS"]["broadcast"]["{action}"]' in server.log

    cookie = Browser(server, "ann").header
    ann = visit(server, additional_headers=cookie, origin=server.url)
    assert ann.welcome["user"] == "ann"
    ann.say(author="Server", body="it is me")
    assert guest.hear() == {"author": "ann", "body": "it is me"}
    announced = Browser(server, "ann").post("/broadcast/hello")
    assert announced == "Broadcasting hello"
    assert guest.hear() == {"author": "Server", "body": "hello"}


# Strangers and vandals


def test_other_addresses_and_pages_of_other_sites_are_refused(server):
    base = f"ws://127.0.0.1:{server.port}"
    for path in ("/", "/nope", "/ws/a/b", "/ws%2Fa%2Fb", "/broadcast/"):
        with pytest.raises(InvalidStatus, match="403"), connect(base + path):
            pass
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        with pytest.raises(InvalidStatus, match="403"), connect(server.ws_url, origin=origin):
            pass
    assert server.failures == []


def test_bad_input_is_answered_and_nothing_else_happens(server, visit):
    client, other = visit(server), visit(server, "")
    bad = ["", "hi", b"\x00\xff", '{"body": 1}', '{"body": "hi", "ref": "\\ud800"}', "[" * 100_000, "x" * 1_000_000]
    for number, frame in enumerate(bad):
        client.socket.send(frame)
        assert client.hear()["type"] == "error"
        client.say(body=f"hi {number}")
        assert client.hear()["body"] == other.hear()["body"] == f"hi {number}"
    assert server.failures == []


def test_clients_that_vanish_leave_no_trace(server, visit):
    for _ in range(20):
        with connect(server.ws_url, open_timeout=WAIT, close_timeout=0) as vanishing:
            vanishing.send('{"body": "and gone"}')
            vanishing.socket.shutdown(socket.SHUT_RDWR)
    client = visit(server, "")
    client.say(body="still here")
    client.hear_until("still here")
    assert server.failures == []
