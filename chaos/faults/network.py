"""Faults of the network: one direction between one server and Redis or PostgreSQL stops, or both become slow."""

import asyncio
from contextlib import nullcontext
from typing import Any

from chaos.faults.schedule import Fault
from chaos.faults.wards import Wards
from chaos.fleet import Fleet, Server

FAR = {"delay": 0.15, "rate": 200_000}  # seconds, bytes a second


class NetworkFaults:
    """What a server does not hear from Redis it reads in the log; without the log its clients have to wait."""

    def __init__(self, fleet: Fleet, wards: Wards) -> None:
        self._fleet = fleet
        self._wards = wards
        self._servers = [*fleet.daphnes, fleet.wsgi]

    def ways(self) -> dict[str, Any]:
        ways: dict[str, Any] = {}
        for store in ("Redis", "PostgreSQL"):
            ways[f"{store} hears nothing"] = self._fault(store, "to")
            ways[f"{store} is not heard"] = self._fault(store, "from")
            ways[f"{store} is far away"] = self._fault(store, "to", "from")
        return ways

    def _fault(self, store: str, *directions: str) -> Any:
        quality: dict[str, Any] = FAR if len(directions) > 1 else {"is_stopped": True}

        async def inject(fault: Fault) -> None:
            server = self._servers[fault.target]
            with nullcontext() if store == "Redis" else self._wards.of(server.port):
                await self._break(server, store, directions, quality, fault.seconds)

        return inject

    async def _break(
        self, server: Server, store: str, directions: tuple[str, ...], quality: dict[str, Any], seconds: float
    ) -> None:
        link = self._fleet.link(server, store)
        try:
            for way in directions:
                await self._fleet.proxy.order(link=link, way=way, **quality)
            await asyncio.sleep(seconds)
        finally:
            for way in directions:
                await self._fleet.proxy.order(link=link, way=way)
