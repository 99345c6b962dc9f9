"""Faults of Redis and PostgreSQL themselves, for everybody at once."""

import asyncio
from typing import Any

import psycopg

from chaos.faults.schedule import Fault
from chaos.faults.servers import pause
from chaos.fleet import Fleet

DROP_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'chaos' AND pid <> %s"


class StoreFaults:
    def __init__(self, fleet: Fleet) -> None:
        self._redis = fleet.redis
        self._postgres = fleet.postgres
        self._database = fleet.database_url

    def ways(self) -> dict[str, Any]:
        return {
            "Redis killed, restarted empty": self._restart_redis,
            "Redis paused": self._pause_redis,
            "Redis connections dropped": self._drop_redis_connections,
            "PostgreSQL connections dropped": self._drop_database_connections,
            "PostgreSQL restarted": self._restart_database,
            "PostgreSQL paused": self._pause_database,
        }

    async def _restart_redis(self, fault: Fault) -> None:
        await asyncio.to_thread(self._redis.kill)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(self._redis.restart)

    async def _pause_redis(self, fault: Fault) -> None:
        await pause(self._redis, fault.seconds)

    async def _drop_redis_connections(self, fault: Fault) -> None:
        for kind in ("normal", "pubsub"):
            await asyncio.to_thread(self._redis.ask, f"CLIENT KILL TYPE {kind}")

    async def _drop_database_connections(self, fault: Fault) -> None:
        async with await psycopg.AsyncConnection.connect(self._database, autocommit=True) as connection:
            await connection.execute(DROP_ALL, [connection.info.backend_pid])

    async def _restart_database(self, fault: Fault) -> None:
        await asyncio.to_thread(self._postgres.kill)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(self._postgres.start)

    async def _pause_database(self, fault: Fault) -> None:
        await pause(self._postgres, fault.seconds)
