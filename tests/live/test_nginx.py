"""The nginx configuration of `deploy/`, in a real nginx before two real daphnes."""

import re
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.kit.clients import WAIT, WELCOME, Client, fetch, push
from tests.services import Service, program, throwaway
from tests.site import ROOT, Daphne

DEPLOY = ROOT / "deploy" / "nginx"


class Nginx(Service):
    """nginx with the configuration of `deploy/`: its port and the daphnes' are all that is changed."""

    name = "nginx"

    def __init__(self, directory: Path, ports: list[int], patience: str = "60s") -> None:
        super().__init__(directory)
        upstream = (DEPLOY / "upstream.conf").read_text()
        for before, port in zip((8001, 8002), ports, strict=True):
            upstream = re.sub(rf"127\.0\.0\.1:{before}\b", f"127.0.0.1:{port}", upstream)
        server = (DEPLOY / "broadcast.conf").read_text().replace("listen 80 ", f"listen 127.0.0.1:{self.port} ")
        server = server.replace("proxy_read_timeout 60s", f"proxy_read_timeout {patience}")
        temporary = "".join(
            f"{name}_temp_path {directory}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (directory / "nginx.conf").write_text(
            f"daemon off; pid {directory}/nginx.pid; error_log stderr;\n"
            f"events {{ worker_connections 512; }}\nhttp {{\naccess_log off;\n{temporary}{upstream}{server}}}\n"
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def command(self) -> list[str]:
        return [program("nginx"), "-e", "stderr", "-p", str(self.directory), "-c", str(self.directory / "nginx.conf")]

    def is_ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Backend(Daphne):
    """A daphne as `deploy/systemd` starts it."""

    options = ("--proxy-headers",)


@pytest.fixture
def fleet(serving: Callable[[Daphne], Daphne], database: Path) -> list[Daphne]:
    return [serving(Backend(database)), serving(Backend(database))]


@pytest.fixture
def nginx(fleet: list[Daphne], request: pytest.FixtureRequest) -> Iterator[Nginx]:
    ports = [server.port for server in fleet]
    yield from throwaway(lambda directory: Nginx(directory, ports, getattr(request, "param", "60s")))


def test_pages_and_static_files_come_through(nginx: Nginx) -> None:
    script = re.search(r'src="(/static/broadcast/[^"]+\.js)"', fetch(nginx.url, "/"))
    assert script is not None
    assert fetch(nginx.url, script.group(1))


def test_sockets_come_through_from_the_page_and_from_nowhere_else(nginx: Nginx, visit: Callable[..., Client]) -> None:
    assert visit(nginx.ws_url, "", origin=nginx.url).welcome == WELCOME
    with pytest.raises(InvalidStatus):
        visit(nginx.ws_url, "", origin="http://elsewhere.example")


def test_a_client_is_known_by_its_address_and_not_by_what_it_claims(nginx: Nginx, fleet: list[Daphne]) -> None:
    urlopen(Request(nginx.url + "/broadcast/", headers={"X-Forwarded-For": "192.0.2.1"}), timeout=WAIT).close()
    said = "".join(server.log for server in fleet)
    assert re.search(r'^127\.0\.0\.1\S* .*"GET /broadcast/" 200', said, re.MULTILINE)
    assert "192.0.2.1" not in said


def test_when_a_daphne_dies_its_clients_go_on_with_the_other_and_miss_nothing(
    nginx: Nginx, fleet: list[Daphne], visit: Callable[..., Client]
) -> None:
    clients = [visit(nginx.ws_url) for _ in range(4)]
    assert all("WSCONNECT /ws" in server.log for server in fleet), "least_conn spreads the connections"
    push(nginx.url, "to both")
    for client in clients:
        assert client.hear()["body"] == "to both"
    fleet[0].kill()
    sent = [f"message {number}" for number in range(5)]
    for text in sent:
        push_as_a_person(nginx, text)
    for client in clients:
        try:
            heard = client.hear_until(sent[-1])
        except ConnectionClosed:
            heard = visit(nginx.ws_url, client.position).hear_until(sent[-1])
        assert heard == sent


def push_as_a_person(nginx: Nginx, text: str) -> None:
    """Who is told that a daphne could not be reached sends once more."""
    try:
        push(nginx.url, text)
    except HTTPError:
        push(nginx.url, text)


@pytest.mark.parametrize("nginx", ["1s"], indirect=True)
def test_what_is_not_answered_in_time_is_not_sent_twice(nginx: Nginx, fleet: list[Daphne], database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")  # nobody can send
        with pytest.raises(HTTPError):
            push(nginx.url, "once")
        connection.execute("ROLLBACK")
        for server in fleet:
            push(server, "then")
        time.sleep(1)
        sent = connection.execute("SELECT body FROM broadcast_message ORDER BY body").fetchall()
    assert sent in ([("once",), ("then",), ("then",)], [("then",), ("then",)])
