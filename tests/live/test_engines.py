"""The contract of log, hub and layer on every database and channel layer: the same tests, in another environment."""

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.kit.processes import ended, python
from tests.services import Postgres, Redis, throwaway
from tests.site import ROOT, SITE_VARIABLES

SECONDS = 300  # for one pair, on a machine that is busy
REPEATABLE_READ = 3  # as psycopg and the OPTIONS of a Django database count the levels


class Database(NamedTuple):
    """A database as a site may have configured it."""

    name: str = ""  # on the tests' PostgreSQL; else it is SQLite
    options: str = ""  # of its address
    sessions: str = ""  # what its sessions begin with

    def env(self, postgres: Postgres, suffix: str) -> dict[str, str]:
        if not self.name:
            return {}
        url = postgres.create_database(f"{self.name}-{suffix}") + self.options
        return {"DATABASE_URL": url, "PGOPTIONS": self.sessions}


DATABASES = {
    "SQLite": Database(),
    "PostgreSQL": Database("committed"),
    "PostgreSQL, repeatable read": Database("repeatable", options=f"?isolation_level={REPEATABLE_READ}"),
    "PostgreSQL, serializable": Database("serializable", sessions="-c default_transaction_isolation=serializable"),
}
LAYERS = ["memory", "pubsub", "core"]

Pair = tuple[str, str]
"""The names of a database and of a layer."""

PAIRS = [pair for pair in product(DATABASES, LAYERS) if pair != ("SQLite", "memory")]  # that is what `pytest` runs on


FILES = {
    "hub_contract": ["hub/test_hub.py"],
    "log_contract": ["storage/test_log.py", "storage/test_database.py", "test_publish.py"],
    "layer_contract": ["hints/test_receiver.py"],
}


def contracts(database: str, layer: str) -> list[str]:
    """What may come out differently on these two: the hub always, log and layer once with each engine of their own."""
    return [
        "hub_contract",
        *(["log_contract"] if layer == "memory" else []),
        *(["layer_contract"] if database == "SQLite" else []),
    ]


def run(pair: Pair, postgres: Postgres, redis: Redis) -> "subprocess.CompletedProcess[str]":
    """The tests of the engine that belong to a contract, in the environment of these two."""
    database, layer = pair
    asked = contracts(database, layer)
    env = {key: value for key, value in os.environ.items() if key not in SITE_VARIABLES}
    env |= DATABASES[database].env(postgres, layer)
    if layer != "memory":
        env |= {"REDIS_URL": redis.url, "REDIS_LAYER": layer}
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider"]
    command += ["-m", " or ".join(asked), *(f"tests/engine/{file}" for each in asked for file in FILES[each])]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=SECONDS)


@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_the_contract_holds_on(pair: Pair, postgres_server: Postgres, redis_server: Redis) -> None:
    done = run(pair, postgres_server, redis_server)
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
