"""The wheel, readers of the docs, and a fleet: a database of its own on PostgreSQL, Redis, daphnes, a publisher."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.kit.servers import Publisher, Server, new_database
from tests.kit.uvicorns import LOOPS, Uvicorn
from tests.live.reader import SECONDS
from tests.services import Postgres, Redis, Service
from tests.site import ROOT, Daphne, Site

AService = TypeVar("AService", bound=Service)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel in it, built by what requirements.txt pins."""
    directory = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert built.returncode == 0, built.stdout + built.stderr
    return directory


def well_again(service: AService) -> Iterator[AService]:
    yield service
    service.resume()
    if not service.is_ready():
        service.start()


@pytest.fixture
def redis(redis_server: Redis) -> Iterator[Redis]:
    """A Redis to be broken; it is well again at the end."""
    yield from well_again(redis_server)


@pytest.fixture
def postgres(postgres_server: Postgres) -> Iterator[Postgres]:
    """A PostgreSQL to be broken; it is well again at the end."""
    yield from well_again(postgres_server)


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
    print(f"--- publisher\n{publisher.log}")


@pytest.fixture
def serve(serving: Callable[[Server], Server], database: Path) -> Callable[..., Server]:
    """`serve("tls", STALLED_TIMEOUT=1)` starts a daphne on an endpoint, or a uvicorn on a loop, with these settings."""

    def serve(way: str = "tcp", **settings: Any) -> Server:
        kind = Uvicorn if way in LOOPS else Server
        return serving(kind(database, way, **settings))

    return serve
