"""The promises, held by a real daphne over real sockets to a client that knows nothing of this app."""

import asyncio
import json
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.asyncio.client import connect as async_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect, unix_connect

from tests.site import Daphne, Site, free_port

WELCOME = {"author": "Server", "body": "Welcome!"}
WAIT = 30  # seconds, for a machine that is busy
PROMISED = 1.5  # seconds from another process to every browser, with the in-memory layer


class Client:
    """One visitor's WebSocket; plain unless the address or the subprotocol says otherwise."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def hear(self, timeout: float = WAIT) -> Any:
        return json.loads(self.socket.recv(timeout))

    def say(self, **fields: Any) -> None:
        self.socket.send(json.dumps(fields))

    def hear_until(self, body: str) -> list[Any]:
        """All messages up to and with the one that says ``body``."""
        heard = [self.hear()]
        while heard[-1]["body"] != body:
            heard.append(self.hear())
        return heard


@pytest.fixture
def visit() -> Iterator[Callable[..., Client]]:
    """`visit(url, …)` connects a client, and disconnects it at the end of the test."""
    with ExitStack() as sockets:
        yield lambda url, **options: Client(sockets.enter_context(connect(url, open_timeout=WAIT, **options)))


@pytest.fixture
def server(daphne: Callable[..., Daphne]) -> Daphne:
    return daphne()


def request(server: Daphne, method: str, path: str, body: str | None = None, **headers: str) -> Any:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=WAIT)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response, text


def shell(site: Site, code: str, **options: Any) -> Any:
    return site.manage("shell", "-v", "0", "-c", code, **options)


def tracebacks(log: str) -> list[str]:
    """What a server's log says of failures."""
    return re.findall(r"^.*(?:Traceback|ERROR|CRITICAL|Unhandled|never retrieved).*$", log, re.MULTILINE)


# Chatting and pushing


def test_two_clients_and_a_push_by_curl(server, visit):
    ann, bob = visit(server.ws_url), visit(server.ws_url + "/")
    assert ann.hear() == bob.hear() == WELCOME
    ann.say(author="Ann", body="hi")
    assert ann.hear() == bob.hear() == {"author": "Ann", "body": "hi"}
    answer = curl(f"{server.url}/broadcast/hello")
    assert answer == "Broadcasting hello"
    assert ann.hear() == bob.hear() == {"author": "Server", "body": "hello"}
    assert tracebacks(server.log) == []


def curl(url: str) -> str:
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    done = subprocess.run(["curl", "--silent", "--show-error", "--noproxy", "*", url], capture_output=True, check=True)
    return done.stdout.decode()


def test_a_push_arrives_as_typed(server, visit):
    client = visit(server.ws_url)
    client.hear()
    for typed, body in {
        "hello%20world": "hello world",
        "a/b//c/": "a/b//c/",
        "Gr%C3%BC%C3%9Fe": "Grüße",
        "100%2525": "100%25",
        "one%0Atwo%0A": "one\ntwo\n",
        "why%3F": "why?",
    }.items():
        assert request(server, "GET", f"/broadcast/{typed}")[1] == f"Broadcasting {body}"
        assert client.hear() == {"author": "Server", "body": body}


def test_v1_is_negotiated(server, visit):
    client = visit(server.ws_url, subprotocols=["chat", "broadcast.v1"])
    assert client.socket.subprotocol == "broadcast.v1"
    assert client.hear()["type"] == "welcome"
    client.say(type="ping")
    assert client.hear() == {"type": "pong"}
    client.say(body="hi", ref="00000000-0000-4000-8000-000000000001")
    message = client.hear()
    assert (message["offset"], message["ref"]) == (1, "00000000-0000-4000-8000-000000000001")


# From other processes


@pytest.mark.alone
@pytest.mark.parametrize("way", ["command", "shell"])
def test_a_message_of_another_process_arrives_in_time(server, site, visit, way):
    client = visit(server.ws_url + "?v=1")
    client.hear()
    if way == "command":
        process = site.spawn("manage.py", "broadcast", "send", "from afar")
    else:
        process = site.spawn("manage.py", "shell", "-v", "0", "-c", "from broadcast import send; send('from afar')")
    message = client.hear()
    took = time.time() - datetime.fromisoformat(message["sent_at"]).timestamp()
    print(f"{way}: {took:.3f} s")
    assert message["body"] == "from afar"
    assert took < PROMISED
    assert process.wait(WAIT) == 0


def test_what_was_rolled_back_never_arrives(server, site, visit):
    client = visit(server.ws_url + "?v=1")
    client.hear()
    shell(
        site,
        """
from django.db import transaction
from broadcast import send, send_many
try:
    with transaction.atomic():
        send("gone")
        send_many(["gone too", "and gone"])
        raise RuntimeError
except RuntimeError:
    send("the sentinel")
""",
    )
    message = client.hear()
    assert (message["body"], message["offset"]) == ("the sentinel", 1)


def test_a_message_whose_process_is_killed_after_the_commit_arrives(server, site, visit):
    client = visit(server.ws_url + "?v=1")
    client.hear()
    killed = shell(
        site,
        """
from django.db import transaction
from broadcast import send
with transaction.atomic():
    transaction.on_commit(lambda: os._exit(9))
    send("the last will")
""",
        check=False,
    )
    assert killed.returncode == 9
    message = client.hear()
    assert (message["body"], message["offset"]) == ("the last will", 1)


@pytest.mark.parametrize(
    "code", ["send_many(bodies)", "[send(body) for body in bodies]"], ids=["in one transaction", "one by one"]
)
async def test_three_hundred_messages_to_twenty_clients(server, site, code):
    bodies = [f"message {number}" for number in range(300)]

    async def listen(is_listening: asyncio.Event) -> list[str]:
        async with async_connect(server.ws_url + "?v=1", open_timeout=WAIT) as client:
            await client.recv()
            is_listening.set()
            return [json.loads(await client.recv()) for _ in bodies]

    starts = [asyncio.Event() for _ in range(20)]
    async with asyncio.timeout(2 * WAIT), asyncio.TaskGroup() as listeners:
        tasks = [listeners.create_task(listen(start)) for start in starts]
        for start in starts:
            await start.wait()
        await asyncio.to_thread(
            shell,
            site,
            "from broadcast import send, send_many\n"
            f"bodies = [f'message {{number}}' for number in range({len(bodies)})]\n{code}",
        )
    for task in tasks:
        assert [message["body"] for message in task.result()] == bodies
        assert [message["offset"] for message in task.result()] == list(range(1, 301))


async def test_three_hundred_messages_of_the_servers_own(server):
    """Sent by clients, so that hints go through the layer of the very process that serves."""

    async def listen(is_listening: asyncio.Event) -> list[Any]:
        async with async_connect(server.ws_url + "?v=1", open_timeout=WAIT) as client:
            await client.recv()
            is_listening.set()
            return [json.loads(await client.recv()) for _ in range(300)]

    async def talk(name: str) -> None:
        async with async_connect(server.ws_url + "?v=1", open_timeout=WAIT) as client:
            for number in range(60):
                await client.send(json.dumps({"author": name, "body": str(number)}))
            said = 0
            while said < 60:
                frame = json.loads(await client.recv())
                said += frame["type"] == "message" and frame["author"] == name

    starts = [asyncio.Event() for _ in range(20)]
    async with asyncio.timeout(2 * WAIT), asyncio.TaskGroup() as group:
        tasks = [group.create_task(listen(start)) for start in starts]
        for start in starts:
            await start.wait()
        for name in "ABCDE":
            group.create_task(talk(name))
    first = tasks[0].result()
    assert [message["offset"] for message in first] == list(range(1, 301))
    for name in "ABCDE":
        own = [message["body"] for message in first if message["author"] == name]
        assert own == [str(number) for number in range(60)]
    assert all(task.result() == first for task in tasks)


# Coming back


def test_a_client_gets_exactly_what_it_missed_while_the_server_was_dead(server, site, visit):
    client = visit(server.ws_url + "?v=1")
    epoch = client.hear()["epoch"]
    for number in range(3):
        client.say(body=f"before {number}")
    position = [client.hear() for _ in range(3)][-1]["offset"]
    server.kill()
    with pytest.raises(ConnectionClosed):
        client.hear()
    shell(site, "from broadcast import send_many; send_many(['meanwhile 0', 'meanwhile 1'])")
    server.start()
    shell(site, "from broadcast import send; send('after')")

    back = visit(f"{server.ws_url}?after={position}&epoch={epoch}", subprotocols=["broadcast.v1"])
    welcome = back.hear()
    assert (welcome["offset"], welcome["recovered"], welcome["epoch"]) == (3, True, epoch)
    back.say(body="here again")
    assert [(message["offset"], message["body"]) for message in back.hear_until("here again")] == [
        (4, "meanwhile 0"),
        (5, "meanwhile 1"),
        (6, "after"),
        (7, "here again"),
    ]


def test_what_was_acknowledged_survives_the_server(server, visit):
    """The server dies the moment it has answered."""
    client = visit(server.ws_url + "?v=1")
    epoch = client.hear()["epoch"]
    client.say(body="keep this", ref="00000000-0000-4000-8000-000000000001")
    kept = client.hear()
    server.kill()
    server.start()
    back = visit(f"{server.ws_url}?v=1&after=0&epoch={epoch}")
    back.hear()
    assert back.hear() == kept
    back.say(body="keep this", ref="00000000-0000-4000-8000-000000000001")
    assert back.hear() == {**kept, "duplicate": True}


# Before migrate


def test_before_migrate_it_works_live_only_and_says_so_once(daphne, tmp_path, visit):
    server = daphne(database=tmp_path / "empty.sqlite3")
    plain, v1 = visit(server.ws_url), visit(server.ws_url + "?v=1")
    assert plain.hear() == WELCOME
    assert v1.hear()["offset"] is None
    for number in range(5):
        plain.say(body=f"hi {number}")
        assert v1.hear()["body"] == plain.hear()["body"] == f"hi {number}"
    assert request(server, "GET", "/broadcast/hello")[1] == "Broadcasting hello"
    assert plain.hear() == {"author": "Server", "body": "hello"}
    assert v1.hear()["offset"] is None
    assert request(server, "GET", "/")[0].status == 200
    errors = re.findall(r"^.* ERROR .*$", server.log, re.MULTILINE)
    assert len(errors) == 1
    assert "manage.py migrate" in errors[0]
    assert "Traceback" not in server.log

    Site(server.database).manage("migrate", "--verbosity", "0")
    begun = v1.hear()
    assert (begun["type"], begun["offset"]) == ("reset", 0)
    plain.say(body="now it is kept")
    assert v1.hear()["offset"] == 1
    assert len(re.findall(r"^.* ERROR .*$", server.log, re.MULTILINE)) == 1


# Servers


def test_sigterm_ends_it_cleanly(server, visit):
    clients = [visit(server.ws_url) for _ in range(5)]
    for client in clients:
        client.hear()
    clients[0].say(body="hi")
    assert clients[4].hear()["body"] == "hi"
    assert server.stop() == 0
    for client in clients:
        with pytest.raises(ConnectionClosed):
            client.hear_until("the end")
    assert tracebacks(server.log) == []


def test_it_ends_cleanly_when_nobody_is_there_any_more(server, visit):
    client = visit(server.ws_url)
    client.hear()
    client.socket.close()
    assert server.stop() == 0
    assert tracebacks(server.log) == []


def test_a_unix_socket_will_do(site, tmp_path, visit):
    path = tmp_path / "daphne.sock"
    process = site.spawn("-m", "daphne", "-u", str(path), "project.asgi:application")
    wait_for(path.exists)
    with unix_connect(str(path), "ws://localhost/ws", open_timeout=WAIT) as one:
        client = Client(one)
        assert client.hear() == WELCOME
        client.say(author="Ann", body="hi")
        assert client.hear() == {"author": "Ann", "body": "hi"}
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT) == 0


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_runserver_works_too(site, visit):
    port = free_port()
    site.spawn("manage.py", "runserver", "--noreload", f"127.0.0.1:{port}", stdout=subprocess.DEVNULL)
    wait_for(lambda: is_listening(port))
    client = visit(f"ws://127.0.0.1:{port}/ws")
    assert client.hear() == WELCOME
    client.say(body="hi")
    assert client.hear() == {"author": "Guest", "body": "hi"}


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_signed_in_with_debug_off_by_the_cookie_of_the_admin(daphne, site, visit):
    server = daphne(DEBUG="off", SECRET_KEY="of the tests", ALLOWED_HOSTS="127.0.0.1")
    site.env["DJANGO_SUPERUSER_PASSWORD"] = "secret"
    site.manage("createsuperuser", "--noinput", "--username", "ann", "--email", "")
    guest = visit(server.ws_url)
    assert guest.hear() == WELCOME
    guest.say(body="hi")
    assert 'BROADCAST["GROUPS"]["broadcast"]["publish"]' in guest.hear()["body"]
    refused, text = request(server, "GET", "/broadcast/hello")
    assert (refused.status, 'BROADCAST["GROUPS"]["broadcast"]["announce"]' in text) == (403, True)

    cookie = sign_in(server, "ann", "secret")
    ann = visit(server.ws_url + "?v=1", additional_headers={"Cookie": cookie}, origin=server.url)
    assert ann.hear()["user"] == "ann"
    ann.say(author="Server", body="it is me")
    assert guest.hear() == {"author": "ann", "body": "it is me"}
    assert request(server, "GET", "/broadcast/hello", Cookie=cookie)[0].status == 200
    assert guest.hear() == {"author": "Server", "body": "hello"}


def sign_in(server: Daphne, name: str, password: str) -> str:
    """Signs in on the admin's page as a browser does; returns the cookies."""
    page, html = request(server, "GET", "/admin/login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', html)
    assert token
    form = urlencode({"username": name, "password": password, "csrfmiddlewaretoken": token[1], "next": "/"})
    csrf = page.getheader("Set-Cookie").partition(";")[0]
    kind = "application/x-www-form-urlencoded"
    answer, _ = request(server, "POST", "/admin/login/", form, Content_Type=kind, Cookie=csrf)
    assert answer.status == 302
    cookies = answer.headers.get_all("Set-Cookie")
    return next(cookie.partition(";")[0] for cookie in cookies if cookie.startswith("sessionid="))


# Strangers and vandals


def test_other_addresses_and_pages_of_other_sites_are_refused(server):
    base = f"ws://127.0.0.1:{server.port}"
    for path in ("/", "/nope", "/ws/a/b", "/ws%2Fa%2Fb", "/broadcast/"):
        with pytest.raises(InvalidStatus, match="403"), connect(base + path):
            pass
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        with pytest.raises(InvalidStatus, match="403"), connect(server.ws_url, origin=origin):
            pass
    assert tracebacks(server.log) == []


def test_bad_input_is_answered_and_nothing_else_happens(server, visit):
    client, other = visit(server.ws_url + "?v=1"), visit(server.ws_url)
    client.hear(), other.hear()
    bad = ["", "hi", b"\x00\xff", '{"body": 1}', '{"body": "hi", "ref": "\\ud800"}', "[" * 100_000, "x" * 1_000_000]
    for number, frame in enumerate(bad):
        client.socket.send(frame)
        assert client.hear()["type"] == "error"
        client.say(body=f"hi {number}")
        assert client.hear()["body"] == other.hear()["body"] == f"hi {number}"
    assert tracebacks(server.log) == []


def test_who_only_sends_rubbish_is_sent_away(server, visit):
    client = visit(server.ws_url + "?v=1")
    client.hear()
    for _ in range(20):
        client.socket.send("rubbish")
    frames = [client.hear() for _ in range(21)]
    assert [frame["type"] for frame in frames] == ["error"] * 20 + ["bye"]
    with pytest.raises(ConnectionClosed) as closed:
        client.hear()
    assert closed.value.rcvd.code == frames[-1]["code"] == 4501
    assert tracebacks(server.log) == []


def test_clients_that_vanish_leave_no_trace(server, visit):
    for _ in range(20):
        with connect(server.ws_url, open_timeout=WAIT, close_timeout=0) as vanishing:
            vanishing.send(json.dumps({"body": "and gone"}))
            vanishing.socket.shutdown(socket.SHUT_RDWR)
    client = visit(server.ws_url)
    client.hear()
    client.say(body="still here")
    client.hear_until("still here")
    assert tracebacks(server.log) == []
