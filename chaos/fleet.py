"""The processes that are put to the test: Redis, PostgreSQL, three daphnes, a WSGI server, and the network between."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.judge.archive import install
from tests.services import Postgres, Redis, Service, services_directory
from tests.site import ROOT, SITE_VARIABLES, free_port

DAPHNES = 3
HINT_FAULTS = 0.1  # of the events that a process gets from the channel layer
COMMIT_FAULTS = 0.02  # of the transactions


@dataclass(frozen=True, slots=True)
class World:
    """What kind of run this is."""

    seed: str
    seconds: float
    clients: int
    rate: float  # messages a second
    layer: str  # pubsub, core or none
    is_tutorial: bool
    pages: int = 0  # in a browser

    @property
    def hint_faults(self) -> float:
        """The share of hints that are spoiled. The tutorial's consumer is spared: it could only lose."""
        return 0.0 if self.is_tutorial else HINT_FAULTS


class Server(Service):
    """A process of the host site that serves on a port."""

    def __init__(self, directory: Path, name: str, arguments: list[str], env: dict[str, str]) -> None:
        self.name = name
        super().__init__(directory)
        self.arguments = arguments
        self.env = env

    def command(self) -> list[str]:
        return [sys.executable, "-W", "default", *(word.format(port=self.port) for word in self.arguments)]

    def options(self) -> dict[str, Any]:
        return {"cwd": ROOT, "env": {**self.env, "CHAOS_SEED": f"{self.env['CHAOS_SEED']}:{self.name}"}}

    def is_ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def send_signal(self, number: int) -> None:
        """Signals the server if it serves; one that is not there yet knows no signals."""
        if self.is_ready():
            self._signal(number)


class Database(Postgres):
    """A PostgreSQL that remembers when each transaction was committed."""

    def command(self) -> list[str]:
        return [*super().command(), "-c", "track_commit_timestamp=on"]


class Proxy(Service):
    """What lies between each server and Redis or PostgreSQL."""

    name = "proxy"

    def __init__(self, directory: Path, targets: list[int]) -> None:
        super().__init__(directory)
        self.ports = [free_port() for _ in targets]
        self._targets = targets

    def command(self) -> list[str]:
        pairs = [f"{port}:{target}" for port, target in zip(self.ports, self._targets, strict=True)]
        return [sys.executable, "-m", "chaos.proxy", str(self.port), *pairs]

    def options(self) -> dict[str, Any]:
        return {"cwd": ROOT}

    def is_ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    async def order(self, **order: Any) -> None:
        """Sets how one direction of a link forwards."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(json.dumps(order).encode() + b"\n")
        await reader.readline()
        writer.close()


class Fleet:
    """All of them, in a directory that holds their logs. `end` leaves nothing but the directory."""

    def __init__(self, world: World) -> None:
        self.directory = services_directory()
        self.tally = self.directory / "tally"
        self.redis = Redis(self.directory)
        self.postgres = Database(self.directory)
        self.database_url = self.postgres.database_url("chaos")
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in SITE_VARIABLES and not name.startswith("COVERAGE_")
        }
        self.env = inherited | {
            "DJANGO_SETTINGS_MODULE": "chaos.settings",
            "DEBUG": "off",
            "SECRET_KEY": "of-the-tests",
            "ALLOWED_HOSTS": "127.0.0.1",
            "REDIS_URL": self.redis.url if world.layer != "none" else "",
            "REDIS_LAYER": world.layer if world.layer != "none" else "pubsub",
            "CHAOS_LAYER": world.layer,
            "DATABASE_URL": self.database_url,
            "CHAOS_SEED": world.seed,
            "CHAOS_COMMIT_FAULTS": str(COMMIT_FAULTS),
            "CHAOS_HINT_FAULTS": str(world.hint_faults),
            "CHAOS_TALLY": str(self.tally),
            "CHAOS_TUTORIAL": "on" if world.is_tutorial else "off",
            "PYTHONUNBUFFERED": "1",
        }
        endpoint = "tcp:port={port}:interface=127.0.0.1:backlog=4096"
        daphne = ["-m", "daphne", "--verbosity", "0", "--endpoint", endpoint, "chaos.asgi:application"]
        names = {f"daphne-{number}": daphne for number in range(1, DAPHNES + 1)}
        names["wsgi"] = ["-m", "chaos.wsgi", "{port}"]
        self.proxy = Proxy(self.directory, [self.redis.port, self.postgres.port] * len(names))
        *self.daphnes, self.wsgi = [
            Server(self.directory, name, serve, self.env | self._env_behind_proxy(number))
            for number, (name, serve) in enumerate(names.items())
        ]

    def _env_behind_proxy(self, number: int) -> dict[str, str]:
        redis, postgres = self.proxy.ports[2 * number : 2 * number + 2]
        return {
            "REDIS_URL": self.env["REDIS_URL"].replace(str(self.redis.port), str(redis)),
            "DATABASE_URL": self.database_url.replace(str(self.postgres.port), str(postgres)),
        }

    def link(self, server: Server, store: str) -> int:
        """The number of the link between a server and Redis or PostgreSQL."""
        return 2 * [*self.daphnes, self.wsgi].index(server) + (store == "PostgreSQL")

    def start(self) -> None:
        """Starts everything, what does not depend on each other at the same time."""
        start_all(self.redis, self.postgres, self.proxy)
        self.postgres.create_database("chaos")
        migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(migrate, cwd=ROOT, env=self.env | {"CHAOS_COMMIT_FAULTS": "0"}, check=True)
        install(self.database_url)
        start_all(*self.daphnes, self.wsgi)

    async def manage(self, *arguments: str) -> int:
        """Runs a command of the site, and returns its exit status."""
        with (self.directory / "manage.log").open("ab") as log:
            command = (sys.executable, "manage.py", *arguments)
            env = self.env | {"CHAOS_COMMIT_FAULTS": "0"}
            process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=env, stdout=log, stderr=log)
            return await process.wait()

    def end(self) -> None:
        for service in (*self.daphnes, self.wsgi, self.proxy, self.redis, self.postgres):
            service.kill()
        shutil.rmtree(self.postgres.data, ignore_errors=True)


def start_all(*services: Service) -> None:
    with ThreadPoolExecutor(len(services)) as threads:
        list(threads.map(lambda service: service.start(), services))
