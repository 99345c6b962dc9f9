"""The contracts of log, hub and layer on every database and channel layer: the same tests, in another environment."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.kit.processes import ended, python
from tests.services import Postgres, Redis, throwaway
from tests.site import ROOT, SITE_VARIABLES

SECONDS = 300  # for one environment, on a machine that is busy
REPEATABLE_READ = 3  # as psycopg and the OPTIONS of a Django database count the levels

HUB, LOG, LAYER = "hub_contract", "log_contract", "layer_contract"

FILES = {
    HUB: ["hub/test_hub.py", "hub/test_overlaps.py", "hub/test_poll.py"],
    LOG: [
        "test_parsing.py",
        "test_publish.py",
        "storage/test_log.py",
        "storage/test_changes.py",
        "storage/test_pruning.py",
        "storage/test_database.py",
        "storage/test_locks.py",
    ],
    LAYER: ["hints/test_receiver.py"],
}


class Environment(NamedTuple):
    """What a site may have configured, and the contracts that may come out differently there.

    The hub meets database and layer independently, and transactions through the log alone, so each needs to be
    there once; on SQLite with the layer in memory all tests run anyway.
    """

    contracts: list[str]
    database: str = ""  # on the tests' PostgreSQL; else it is SQLite
    options: str = ""  # of the database's address
    sessions: str = ""  # what its sessions begin with
    layer: str = "memory"

    def variables(self, postgres: Postgres, redis: Redis) -> dict[str, str]:
        env = {key: value for key, value in os.environ.items() if key not in SITE_VARIABLES}
        if self.database:
            env |= {"DATABASE_URL": postgres.create_database(self.database) + self.options}
            env |= {"PGOPTIONS": self.sessions}
        if self.layer != "memory":
            env |= {"REDIS_URL": redis.url, "REDIS_LAYER": self.layer}
        return env

    def tests(self) -> list[str]:
        files = [f"tests/engine/{file}" for contract in self.contracts for file in FILES[contract]]
        return ["-m", " or ".join(self.contracts), *files]


SERIALIZABLE = "-c default_transaction_isolation=serializable"
ENVIRONMENTS = {
    "PostgreSQL": Environment([HUB, LOG], "committed"),
    "PostgreSQL, repeatable read": Environment([LOG], "repeatable", f"?isolation_level={REPEATABLE_READ}"),
    "PostgreSQL, serializable": Environment([LOG], "serializable", sessions=SERIALIZABLE),
    "Redis, pubsub": Environment([HUB, LAYER], layer="pubsub"),
    "Redis, core": Environment([HUB, LAYER], layer="core"),
}


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_the_contract_holds_on(environment: Environment, postgres_server: Postgres, redis_server: Redis) -> None:
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "--no-header"]
    command += ["-p", "no:cacheprovider", "-p", "no:schemathesis"]  # which takes a second to import
    done = subprocess.run(
        [*command, *environment.tests()],
        cwd=ROOT,
        env=environment.variables(postgres_server, redis_server),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
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
