"""Faults of clients: stalled, cut off, gone from a group."""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

from chaos.clients import Client
from chaos.faults.schedule import Fault
from chaos.fleet import World

MOST = 15  # clients at once


class ClientFaults:
    def __init__(self, world: World, clients: Sequence[Client]) -> None:
        self._clients = clients
        self._random = Random(f"{world.seed}:clients")

    def ways(self) -> dict[str, Any]:
        return {"clients stalled": self._stall, "connections cut": self._cut, "group left": self._leave_group}

    def _some(self) -> list[Client]:
        return self._random.sample(self._clients, min(len(self._clients), self._random.randint(1, MOST)))

    async def _stall(self, fault: Fault) -> None:
        chosen = self._some()
        for client in chosen:
            client.stall()
        await asyncio.sleep(fault.seconds)
        for client in chosen:
            client.go_on()

    async def _cut(self, fault: Fault) -> None:
        for client in self._some():
            client.cut()

    async def _leave_group(self, fault: Fault) -> None:
        """Some, or all, go from a group and come back: servers without any listener forget it meanwhile."""
        share = self._random.choice((0.1, 0.5, 1.0))
        chosen = [client for client in self._clients if self._random.random() < share]
        for client in chosen:
            client.leave(fault.target)
        await asyncio.sleep(fault.seconds)
        for client in chosen:
            client.return_to(fault.target)
