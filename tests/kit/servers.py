"""A daphne on any endpoint, with settings of the test's own, a publisher that is told what to say, and a database."""

import json
import os
import socket
import ssl
import subprocess
from contextlib import AbstractContextManager, ExitStack, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import psycopg

from tests.kit.clients import WAIT, ManualClient
from tests.kit.waiting import wait_until
from tests.services import Postgres
from tests.site import Daphne, Site

TEMPLATE = "migrated"


def new_database(postgres: Postgres, name: str, empty: bool = False) -> str:
    """Makes a database, with all tables unless it is to be empty, and returns its address."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [TEMPLATE]).fetchone():
            migrated = Site(Path("none"), DATABASE_URL=postgres.create_database(TEMPLATE))
            migrated.manage("migrate", "--verbosity", "0")
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{"template1" if empty else TEMPLATE}"')
    return postgres.database_url(name)


class Server(Daphne):
    """A daphne of `tests.live.host`; keywords are settings of `BROADCAST`."""

    application = "tests.live.host:application"

    def __init__(self, database: Path, way: str = "tcp", **settings: Any) -> None:
        environment = {"DJANGO_SETTINGS_MODULE": "tests.live.host_settings", "BROADCAST": json.dumps(settings)}
        super().__init__(database, **environment)
        self.way = way
        self.path = database.with_name(f"{self.port}.sock")
        self.visitors = ExitStack()

    def endpoint(self) -> str:
        if self.way == "unix":
            return f"unix:{self.path}:backlog=4096"
        if self.way == "tls":
            key, certificate = self_made(self.path.parent)
            return f"ssl:{self.port}:privateKey={key}:certKey={certificate}:interface=127.0.0.1"
        return super().endpoint()

    @property
    def address(self) -> str | tuple[str, int]:
        return str(self.path) if self.way == "unix" else ("127.0.0.1", self.port)

    def is_listening(self) -> bool:
        """Without a handshake: Python leaves a socket open where one ends in the middle of it."""
        with socket.socket(socket.AF_UNIX if self.way == "unix" else socket.AF_INET) as found:
            found.settimeout(WAIT)
            return found.connect_ex(self.address) == 0

    def socket(self, receive_buffer: int = 0) -> socket.socket:
        """A connection to the server; with TLS where it speaks that."""
        found = socket.socket(socket.AF_UNIX if self.way == "unix" else socket.AF_INET)
        if receive_buffer:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        found.settimeout(WAIT)
        try:
            found.connect(self.address)
            if self.way == "tls":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                return context.wrap_socket(found)
        except BaseException:
            found.close()
            raise
        return found

    def visit(self, path: str = "/ws?v=1", receive_buffer: int = 0) -> ManualClient:
        """A WebSocket to the server that has heard its welcome; it is closed when the server ends."""
        return self.visitors.enter_context(ManualClient(self.socket(receive_buffer), path)).welcomed()

    def end(self) -> None:
        self.visitors.close()
        super().end()

    def get(self, path: str) -> bytes:
        """The body of an answer."""
        with Answer(self, path) as answer:
            return answer.body()

    @property
    def memory(self) -> int:
        """How many bytes of memory the server has."""
        words = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(words[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def sockets(self) -> int:
        """How many sockets the server has open: what is counted twice alike, for files open and close meanwhile."""
        counts = [self._count_sockets()]
        while counts[-1] not in counts[:-1]:
            counts = [counts[-1], self._count_sockets()]
        return counts[-1]

    def _count_sockets(self) -> int:
        """All but the datagram socket by which hints come: it stays once the server has seen a client."""
        found: list[str] = []
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(OSError):
                found.append(os.readlink(link))
        local = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
        of_hints = {f"socket:[{fields[6]}]" for fields in local if fields[4] == "0002"}
        return sum(each.startswith("socket:") and each not in of_hints for each in found)


def self_made(directory: Path) -> tuple[Path, Path]:
    """A key and a certificate for it that nobody else has signed."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    command = [*made.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate


class Answer(AbstractContextManager["Answer"]):
    """A request that was sent, and its answer."""

    def __init__(self, server: Server, path: str, receive_buffer: int = 0) -> None:
        self.socket = server.socket(receive_buffer)
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def body(self) -> bytes:
        """All of it, to the end of the connection."""
        with HTTPResponse(self.socket) as response:
            response.begin()
            assert response.status == 200
            return response.read()


PUBLISHER = """
import sys, django
django.setup()
from django.db import close_old_connections
from broadcast import send
from broadcast.exceptions import BroadcastError
print("ready", flush=True)
for line in sys.stdin:
    try:
        print(send(line.strip()).offset, flush=True)
    except BroadcastError as error:
        print(type(error).__name__, flush=True)
    close_old_connections()
"""


class Publisher:
    """A process of a site, without an event loop, that sends what it is told to, one after the other."""

    def __init__(self, site: Site, log_file: Path) -> None:
        self.log_file = log_file
        with log_file.open("w") as log:
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
            self.process = site.spawn("-c", PUBLISHER, **pipes)
        assert self._answer() == "ready"

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def send(self, body: str) -> str:
        """Sends; the offset, or the name of the error."""
        assert self.process.stdin
        self.process.stdin.write(body + "\n")
        self.process.stdin.flush()
        return self._answer()

    def send_until_sent(self, body: str) -> None:
        """Sends again and again until it is sent, which happens once."""
        wait_until(lambda: self.send(body).isdigit())

    def _answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()
