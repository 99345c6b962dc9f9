"""The wheel, and a fleet for a test: a database of its own on PostgreSQL, Redis, daphnes and a publisher."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.fleet import Client, Publisher, new_database, visitors
from tests.live.reader import SECONDS
from tests.live.serving import Server
from tests.services import Postgres, Redis
from tests.site import ROOT, Daphne, Site


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel in it, built by what requirements.txt pins."""
    directory = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert built.returncode == 0, built.stdout + built.stderr
    return directory


@pytest.fixture
def redis(redis_server: Redis) -> Iterator[Redis]:
    """A Redis to be broken; it is well again at the end."""
    yield redis_server
    redis_server.resume()
    if not redis_server.is_ready():
        redis_server.start()


@pytest.fixture
def postgres(postgres_server: Postgres) -> Iterator[Postgres]:
    """A PostgreSQL to be broken; it is well again at the end."""
    yield postgres_server
    postgres_server.resume()
    if not postgres_server.is_ready():
        postgres_server.start()


@pytest.fixture
def fleet_env(redis: Redis, postgres: Postgres) -> dict[str, str]:
    """The environment in which the processes of a fleet find each other."""
    return {"REDIS_URL": redis.url, "DATABASE_URL": new_database(postgres, "site")}


@pytest.fixture
def fleet_site(fleet_env: dict[str, str], tmp_path: Path) -> Iterator[Site]:
    """Commands against the fleet's database."""
    site = Site(tmp_path / "none", **fleet_env)
    yield site
    site.end()


@pytest.fixture
def start(fleet_env: dict[str, str], daphne: Callable[..., Daphne]) -> Callable[..., Daphne]:
    """`start()` starts one more daphne of the fleet."""
    return lambda **env: daphne(**fleet_env | env)


@pytest.fixture
def publisher(fleet_site: Site, tmp_path: Path) -> Iterator[Publisher]:
    """A process that only sends."""
    publisher = Publisher(fleet_site, tmp_path / "publisher.log")
    yield publisher
    publisher.end()
    print(f"--- publisher\n{publisher.log}")


@pytest.fixture
def serve(database: Path) -> Iterator[Callable[..., Server]]:
    """`serve("tls", STALLED_TIMEOUT=1)` starts a daphne on an endpoint, with settings of its own."""
    servers: list[Server] = []

    def started(way: str = "tcp", **settings: Any) -> Server:
        servers.append(Server(database, way, **settings))
        servers[-1].start()
        return servers[-1]

    yield started
    for server in servers:
        server.end()
        print(f"--- daphne, {server.way}, port {server.port}\n{server.log}")


@pytest.fixture
def visit() -> Iterator[Callable[..., Client]]:
    """`visit(server)` connects a client that counts."""
    yield from visitors()
