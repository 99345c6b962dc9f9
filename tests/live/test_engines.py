"""The contract of the log and the hub on every engine: the same tests, each in the environment of another one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.engine import ended, python
from tests.services import Postgres, Redis, throwaway
from tests.site import ROOT, SITE_VARIABLES

SECONDS = 300  # for one combination, on a machine that is busy
AT_ONCE = 2
REPEATABLE_READ = 3  # as psycopg and the OPTIONS of a Django database count the levels


class Engines(NamedTuple):
    """A combination of engines, and the tests whose outcome it may change."""

    files: str
    database: str = ""
    options: str = ""  # of the database's address
    sessions: str = ""  # what its sessions begin with
    layer: str = ""

    def env(self, postgres: Postgres, redis: Redis) -> dict[str, str]:
        env = {key: value for key, value in os.environ.items() if key not in SITE_VARIABLES}
        if self.database:
            env["DATABASE_URL"] = postgres.create_database(self.database) + self.options
            env["PGOPTIONS"] = self.sessions
        if self.layer:
            env |= {"REDIS_URL": redis.url, "REDIS_LAYER": self.layer}
        return env


COMBINATIONS = {
    "PostgreSQL": Engines(
        "engine/log engine/publishing engine/commits engine/database engine/retention consumers",
        database="committed",
    ),
    "PostgreSQL, repeatable read": Engines(
        "engine/publishing engine/database engine/hub_property",
        database="repeatable",
        options=f"?isolation_level={REPEATABLE_READ}",
    ),
    "PostgreSQL, serializable": Engines(
        "engine/log engine/publishing engine/database engine/hub",
        database="serializable",
        sessions="-c default_transaction_isolation=serializable",
    ),
    "SQLite, pub/sub layer": Engines("engine/hub engine/membership engine/layer_sender consumers", layer="pubsub"),
    "SQLite, core layer": Engines("engine/hub engine/membership engine/layer_sender consumers", layer="core"),
}


def run(engines: Engines, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    files = [f"tests/{directory}test_{name}.py" for directory, name in map(split, engines.files.split())]
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *files]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=SECONDS)


def split(file: str) -> tuple[str, str]:
    directory, slash, name = file.rpartition("/")
    return directory + slash, name


Outcomes = dict[str, "Future[subprocess.CompletedProcess[str]]"]


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, postgres_server: Postgres, redis_server: Redis) -> Iterator[Outcomes]:
    """The runs of those combinations that are asked for, some at a time."""
    asked = [item.callspec.params["name"] for item in request.session.items if is_here(item)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            name: pool.submit(run, COMBINATIONS[name], COMBINATIONS[name].env(postgres_server, redis_server))
            for name in asked
        }


def is_here(item: pytest.Item) -> bool:
    return getattr(item, "originalname", "") == test_the_contract_holds_on.__name__


@pytest.mark.parametrize("name", COMBINATIONS)
def test_the_contract_holds_on(name: str, outcomes: Outcomes) -> None:
    done = outcomes[name].result()
    print(done.stdout, done.stderr)
    assert done.returncode == 0


# Redis behind sentinels


class Sentinel(Redis):
    """A sentinel that watches one Redis under the name `site`."""

    name = "sentinel"

    def __init__(self, directory: Path, watched: Redis) -> None:
        super().__init__(directory)
        self.watched = watched

    def command(self) -> list[str]:
        settings = self.directory / f"sentinel-{self.port}.conf"
        settings.write_text(
            f"bind 127.0.0.1\nport {self.port}\ndir {self.directory}\n"
            f"sentinel monitor site 127.0.0.1 {self.watched.port} 1\n"
        )
        return [super().command()[0], str(settings), "--sentinel"]


@pytest.fixture
def sentinel(redis_server: Redis) -> Iterator[Sentinel]:
    yield from throwaway(lambda directory: Sentinel(directory, redis_server))


HEAR_ONESELF = """
    import asyncio
    from channels.layers import get_channel_layer

    async def hear_oneself():
        layer = get_channel_layer()
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        await layer.group_send("group", {"type": "hello"})
        print(await layer.receive(channel))

    asyncio.run(hear_oneself())
"""


@pytest.mark.parametrize("layer", ["pubsub", "core"])
def test_redis_is_found_by_its_sentinels(sentinel: Sentinel, layer: str) -> None:
    assert sentinel.ask("SENTINEL get-master-addr-by-name site") == b"*2"
    process = python(HEAR_ONESELF, REDIS_URL=sentinel.url, REDIS_SENTINEL="site", REDIS_LAYER=layer)
    assert ended(process) == "{'type': 'hello'}\n"
