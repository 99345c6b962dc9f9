"""What the live tests of a fleet share: a database each, a publisher that is told what to say, a client that counts."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
from websockets.sync.client import ClientConnection, connect

from tests.services import Postgres
from tests.site import ROOT, Site

WAIT = 60  # seconds, for a machine that is busy
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


def until(condition: Callable[[], Any], seconds: float = WAIT) -> Any:
    """Waits until a condition holds; what it then is."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "It did not come true"
        time.sleep(0.02)
    return found


class Client:
    """One visitor, who holds the server to offsets without a gap."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.welcome = self.hear()
        self.epoch, self.offset = self.welcome["epoch"], self.welcome["offset"]

    def hear(self) -> Any:
        frame = json.loads(self.socket.recv(WAIT))
        if frame["type"] == "message" and frame["offset"] is not None and not frame.get("duplicate"):
            assert frame["offset"] == self.offset + 1, frame
            self.offset += 1
        elif frame["type"] == "reset":
            self.epoch, self.offset = frame["epoch"], frame["offset"]
        return frame

    def say(self, **fields: Any) -> None:
        self.socket.send(json.dumps(fields))

    def hear_until(self, body: str) -> list[str]:
        """The bodies of what comes, up to and with this one."""
        heard: list[str] = []
        while not heard or heard[-1] != body:
            heard.append(self.hear()["body"])
        return heard

    @property
    def position(self) -> str:
        """Where it would resume."""
        return f"?v=1&after={self.offset}&epoch={self.epoch}"


def visitors() -> Iterator[Callable[..., Client]]:
    """A way to connect clients, which are disconnected at the end."""
    with ExitStack() as sockets:

        def visit(server: Any, position: str = "?v=1") -> Client:
            url = f"{server.ws_url}{position}"
            options: dict[str, Any] = {"open_timeout": WAIT, "ping_interval": None, "max_queue": None}
            return Client(sockets.enter_context(connect(url, **options)))

        yield visit


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
    """A process without an event loop that sends what it is told to, one after the other."""

    def __init__(self, site: Site, log_file: Path) -> None:
        self.log_file = log_file
        env = site.env | {"DJANGO_SETTINGS_MODULE": site.env.get("DJANGO_SETTINGS_MODULE", "project.settings")}
        with log_file.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PUBLISHER],
                cwd=ROOT,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
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
        until(lambda: self.send(body).isdigit())

    def _answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        with self.process:
            assert self.process.stdin
            self.process.stdin.close()
            self.process.wait(WAIT)


def told(process: Any) -> list[str]:
    """What the app's loggers said of trouble and its end: each line up to its cause."""
    lines = re.findall(r"^\S+ \S+ (?:ERROR|WARNING) +broadcast: (.*)$", process.log, re.MULTILINE)
    return [line.partition(",")[0].partition(":")[0] for line in lines]


LAYER = ["The channel layer cannot be reached", "The channel layer can be reached again"]
LOG = ["The message log cannot be used", "The message log can be used again"]


def reaches(publisher: Publisher, clients: list[Client], everybody: Sequence[Client] = ()) -> None:
    """Sends until hints cross the layer again: five in a row arrive long before a look into the log.

    ``everybody`` hears it too, however late.
    """
    quick, number, deadline = 0, 0, time.monotonic() + WAIT
    while quick < 5:
        assert time.monotonic() < deadline, "Messages come by polling only"
        number += 1
        body = f"quick {number}"
        publisher.send_until_sent(body)
        begun = time.monotonic()
        for client in clients:
            client.hear_until(body)
        quick = quick + 1 if time.monotonic() - begun < 0.2 else 0
    for client in everybody:
        if client not in clients:
            client.hear_until(body)
