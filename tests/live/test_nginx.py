"""The nginx configuration of `deploy/`, in a real nginx before two real daphnes."""

import asyncio
import json
import re
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

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

    def command(self) -> list[str]:
        return [program("nginx"), "-e", "stderr", "-p", str(self.directory), "-c", str(self.directory / "nginx.conf")]

    def is_ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Backend(Daphne):
    """A daphne as `deploy/systemd` starts it."""

    options = ("--proxy-headers",)


@pytest.fixture
def fleet(database: Path) -> Iterator[list[Daphne]]:
    servers: list[Daphne] = [Backend(database), Backend(database)]
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.end()
        print(f"--- daphne on port {server.port}\n{server.log}")


@pytest.fixture
def nginx(fleet: list[Daphne]) -> Iterator[Nginx]:
    ports = [server.port for server in fleet]
    yield from throwaway(lambda directory: Nginx(directory, ports))


@pytest.fixture
def impatient_nginx(fleet: list[Daphne]) -> Iterator[Nginx]:
    ports = [server.port for server in fleet]
    yield from throwaway(lambda directory: Nginx(directory, ports, patience="1s"))


def fetch(url: str, headers: dict[str, str]) -> tuple[int, str]:
    with urlopen(Request(url, headers=headers), timeout=10) as answer:
        return answer.status, answer.read().decode()


async def get(url: str, **headers: str) -> tuple[int, str]:
    return await asyncio.to_thread(fetch, url, {name.replace("_", "-"): value for name, value in headers.items()})


async def next_frame(client: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(10):
        return json.loads(await client.recv())  # type: ignore[no-any-return]


async def test_pages_and_static_files_come_through(nginx: Nginx) -> None:
    status, page = await get(nginx.url + "/")
    assert status == 200
    script = re.search(r'src="(/static/broadcast/[^"]+\.js)"', page)
    assert script is not None
    assert (await get(nginx.url + script.group(1)))[0] == 200


async def test_sockets_come_through_from_the_page_and_from_nowhere_else(nginx: Nginx) -> None:
    address = f"ws://127.0.0.1:{nginx.port}/ws"
    async with connect(address, origin=nginx.url) as client:  # type: ignore[arg-type]
        assert await next_frame(client) == {"author": "Server", "body": "Welcome!"}
    with pytest.raises(InvalidStatus):
        await connect(address, origin="http://elsewhere.example")  # type: ignore[arg-type]


async def test_a_client_is_known_by_its_address_and_not_by_what_it_claims(nginx: Nginx, fleet: list[Daphne]) -> None:
    assert (await get(nginx.url + "/broadcast/", X_Forwarded_For="192.0.2.1"))[0] == 200
    said = "".join(server.log for server in fleet)
    assert re.search(r'^127\.0\.0\.1\S* .*"GET /broadcast/" 200', said, re.MULTILINE)
    assert "192.0.2.1" not in said


async def test_a_message_reaches_the_clients_of_both_daphnes(nginx: Nginx, fleet: list[Daphne]) -> None:
    address = f"ws://127.0.0.1:{nginx.port}/ws"
    clients = [await connect(address) for _ in range(4)]
    for client in clients:
        await next_frame(client)
    assert all("WSCONNECT /ws" in server.log for server in fleet), "least_conn spreads the connections"
    assert (await get(nginx.url + "/broadcast/hello"))[1] == "Broadcasting hello"
    for client in clients:
        assert await next_frame(client) == {"author": "Server", "body": "hello"}
        await client.close()


async def test_when_a_daphne_dies_its_clients_go_on_with_the_other_and_miss_nothing(
    nginx: Nginx, fleet: list[Daphne]
) -> None:
    address = f"ws://127.0.0.1:{nginx.port}/ws?v=1"
    clients = [await connect(address) for _ in range(4)]
    welcomes = [await next_frame(client) for client in clients]
    fleet[0].kill()
    sent = [f"message {number}" for number in range(5)]
    for text in sent:
        await push(nginx, text)
    for client, welcome in zip(clients, welcomes, strict=True):
        assert await bodies(client, welcome, address, len(sent)) == sent


async def test_what_is_not_answered_in_time_is_not_sent_twice(
    impatient_nginx: Nginx, fleet: list[Daphne], database: Path
) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")  # nobody can send
        with pytest.raises(HTTPError):
            await get(impatient_nginx.url + "/broadcast/once")
        connection.execute("ROLLBACK")
        assert (await get(f"{fleet[0].url}/broadcast/then"))[0] == 200
        assert (await get(f"{fleet[1].url}/broadcast/then"))[0] == 200
        await asyncio.sleep(1)
        sent = connection.execute("SELECT body FROM broadcast_message ORDER BY body").fetchall()
    assert sent in ([("once",), ("then",), ("then",)], [("then",), ("then",)])


async def push(nginx: Nginx, text: str) -> None:
    """As a person would: who is told that a daphne could not be reached sends once more."""
    address = nginx.url + "/broadcast/" + text.replace(" ", "%20")
    try:
        await get(address)
    except HTTPError:
        assert (await get(address))[0] == 200


async def bodies(client: ClientConnection, welcome: dict[str, Any], address: str, count: int) -> list[str]:
    """What a client gets that comes back, when its daphne has died, to where it was."""
    got: list[str] = []
    position = welcome["offset"]
    while len(got) < count:
        try:
            frame = await next_frame(client)
        except ConnectionClosed:
            client = await connect(f"{address}&after={position}&epoch={welcome['epoch']}")
            continue
        if frame["type"] == "message":
            position = frame["offset"]
            got.append(frame["body"])
    await client.close()
    return got
