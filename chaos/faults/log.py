"""Faults of the log: rows that others hold, groups erased or deleted by hand, older backups restored."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import psycopg

from chaos import GROUPS, USER
from chaos.backups import LOCK, Backup
from chaos.faults.schedule import Fault
from chaos.fleet import Fleet, World
from chaos.judge.watch import Conditions
from chaos.lanes.web import Lost, request
from chaos.ledger import NOT_SENT, SENT, UNKNOWN, Ledger

TRIES = 20
AGAIN_AFTER = 0.5  # seconds
LOOK = 2.5  # seconds in which hubs notice by themselves that the log went back
OVERTAKING = 5  # messages more than were lost
HOLD_GROUP = "SELECT 1 FROM broadcast_group WHERE name = %s FOR UPDATE"
HOLD_USER = "SELECT 1 FROM auth_user WHERE username = %s FOR UPDATE"


class LogFaults:
    """What people do to a log in use. Who restores a backup also says so where the hubs have not noticed."""

    def __init__(
        self, world: World, fleet: Fleet, ledger: Ledger, conditions: Conditions, log: Callable[[str], None]
    ) -> None:
        self._fleet = fleet
        self._ledger = ledger
        self._conditions = conditions
        self._log = log
        self._random = Random(f"{world.seed}:log")
        self._numbers = itertools.count(1)
        self._clock = asyncio.get_running_loop().time

    def ways(self) -> dict[str, Any]:
        return {
            "group locked": self._lock_group,
            "user locked": self._lock_user,
            "log erased": self._erase,
            "group deleted by hand": self._delete,
            "backup restored": self._restore,
            "backup restored and overtaken": self._restore_and_overtake,
        }

    async def _lock_group(self, fault: Fault) -> None:
        await self._hold(HOLD_GROUP, GROUPS[fault.target], fault.seconds)

    async def _lock_user(self, fault: Fault) -> None:
        await self._hold(HOLD_USER, USER, fault.seconds)

    async def _hold(self, lock: str, name: str, seconds: float) -> None:
        async with await psycopg.AsyncConnection.connect(self._fleet.database_url) as connection:
            await connection.execute(lock, [name])
            await asyncio.sleep(seconds)

    async def _erase(self, fault: Fault) -> None:
        """Has a server erase a group's log, as its admin does."""
        for _ in range(TRIES):
            port = self._random.choice([*self._fleet.daphnes, self._fleet.wsgi]).port
            try:
                async with asyncio.timeout(10):
                    status, _ = await request(port, "POST /chaos/erase", GROUPS[fault.target].encode())
                if status == 200:
                    return
            except (OSError, Lost, TimeoutError):
                pass
            await asyncio.sleep(AGAIN_AFTER)

    async def _delete(self, fault: Fault) -> None:
        async with self._in_peace() as connection:
            for statement in (
                "DELETE FROM broadcast_message WHERE group_name = %s",
                "DELETE FROM broadcast_group WHERE name = %s",
            ):
                await connection.execute(statement, [GROUPS[fault.target]])

    # Backups

    async def _restore(self, fault: Fault) -> None:
        backup = await Backup.made(self._fleet.database_url)
        await asyncio.sleep(fault.seconds)
        try:
            async with self._in_peace() as connection:
                await backup.restore(connection)
        finally:
            await asyncio.sleep(LOOK)
            await self._renew(await self._retried(lambda: backup.groups_not_renewed(self._fleet.database_url)))

    async def _restore_and_overtake(self, fault: Fault) -> None:
        """Nobody can look before as many messages as were lost are there, and more: all in one transaction."""
        backup = await Backup.made(self._fleet.database_url)
        await asyncio.sleep(fault.seconds)
        keys: list[str] = []
        outcome = UNKNOWN
        try:
            async with self._in_peace() as connection:
                lost = await backup.lost(connection)
                await backup.restore(connection)
                for group, count in lost.items():
                    own = [f"overtaking-{next(self._numbers):06}" for _ in range(count + OVERTAKING)]
                    self._ledger.begin(own, group, "overtaking", self._clock())
                    keys += own
                    await backup.append(connection, group, own)
            outcome = SENT
        except psycopg.errors.LockNotAvailable:
            outcome = NOT_SENT
            raise
        finally:
            self._ledger.settle(dict.fromkeys(keys, outcome), "after a backup", self._clock())
            await self._renew(list(GROUPS))

    @asynccontextmanager
    async def _in_peace(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """A transaction beside which nobody writes; who waits for a message meanwhile has an excuse."""
        begun = self._clock()
        try:
            async with await psycopg.AsyncConnection.connect(self._fleet.database_url) as connection:
                await connection.execute(LOCK)
                yield connection
        finally:
            self._conditions.add(begun, self._clock())

    async def _renew(self, groups: list[str]) -> None:
        """Runs `manage.py broadcast renew` until it has worked."""
        if not groups:
            return
        self._log(f"renews {', '.join(groups)}")
        for _ in range(TRIES):
            if await self._fleet.manage("broadcast", "renew", *groups) == 0:
                return
            await asyncio.sleep(AGAIN_AFTER)
        self._ledger.surprise(f"manage.py broadcast renew did not work in {TRIES} tries")

    async def _retried(self, ask: Callable[[], Any]) -> Any:
        for _ in range(TRIES):
            try:
                return await ask()
            except psycopg.Error:
                await asyncio.sleep(AGAIN_AFTER)
        raise OSError("The database does not come back")
