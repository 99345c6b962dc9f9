"""The processes that are put to the test: Redis, PostgreSQL, three daphnes and a WSGI server."""

import os
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services import Postgres, Redis, Service, services_directory
from tests.site import ROOT, SITE_VARIABLES

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
    layer: str  # pubsub or core
    is_tutorial: bool

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


class Fleet:
    """All of them, in a directory that holds their logs. `end` leaves nothing but the directory."""

    def __init__(self, world: World) -> None:
        self.directory = services_directory()
        self.tally = self.directory / "tally"
        self.redis = Redis(self.directory)
        self.postgres = Postgres(self.directory)
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
            "REDIS_URL": self.redis.url,
            "REDIS_LAYER": world.layer,
            "DATABASE_URL": self.postgres.database_url("chaos"),
            "CHAOS_SEED": world.seed,
            "CHAOS_COMMIT_FAULTS": str(COMMIT_FAULTS),
            "CHAOS_HINT_FAULTS": str(world.hint_faults),
            "CHAOS_TALLY": str(self.tally),
            "CHAOS_TUTORIAL": "on" if world.is_tutorial else "off",
            "PYTHONUNBUFFERED": "1",
        }
        application = "chaos.asgi:application" if world.is_tutorial else "project.asgi:application"
        endpoint = "tcp:port={port}:interface=127.0.0.1:backlog=4096"
        serve = ["-m", "daphne", "--verbosity", "0", "--endpoint", endpoint, application]
        self.daphnes = [Server(self.directory, f"daphne-{n}", serve, self.env) for n in range(1, DAPHNES + 1)]
        self.wsgi = Server(self.directory, "wsgi", ["-m", "chaos.wsgi", "{port}"], self.env)

    def start(self) -> None:
        """Starts everything, what does not depend on each other at the same time."""
        start_all(self.redis, self.postgres)
        self.postgres.create_database("chaos")
        migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(migrate, cwd=ROOT, env=self.env | {"CHAOS_COMMIT_FAULTS": "0"}, check=True)
        start_all(*self.daphnes, self.wsgi)

    def end(self) -> None:
        for service in (*self.daphnes, self.wsgi, self.redis, self.postgres):
            service.kill()
        shutil.rmtree(self.postgres.data, ignore_errors=True)


def start_all(*services: Service) -> None:
    with ThreadPoolExecutor(len(services)) as threads:
        list(threads.map(lambda service: service.start(), services))
