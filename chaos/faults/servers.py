"""Faults of servers and scripts: killed, asked to end, paused."""

import asyncio
import subprocess
from collections.abc import Callable
from typing import Any

from chaos.faults.schedule import Fault
from chaos.faults.wards import Wards
from chaos.fleet import Fleet, Server
from chaos.lanes.script import ScriptLane

END_TIMEOUT = 15.0  # seconds for a daphne to end after SIGTERM


class ServerFaults:
    def __init__(self, fleet: Fleet, scripts: list[ScriptLane], wards: Wards, log: Callable[[str], None]) -> None:
        self._fleet = fleet
        self._scripts = scripts
        self._wards = wards
        self._log = log

    def ways(self) -> dict[str, Any]:
        return {
            "daphne killed": self._kill_daphne,
            "daphne terminated": self._terminate_daphne,
            "daphne paused": self._pause_daphne,
            "WSGI server killed": self._kill_wsgi,
            "WSGI server paused": self._pause_wsgi,
            "script killed": self._kill_script,
            "script paused": self._pause_script,
        }

    async def _kill_daphne(self, fault: Fault) -> None:
        await self._kill(self._fleet.daphnes[fault.target], fault.seconds)

    async def _terminate_daphne(self, fault: Fault) -> None:
        server = self._fleet.daphnes[fault.target]
        assert server.process is not None
        server.process.terminate()
        try:
            await asyncio.to_thread(server.process.wait, END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._log(f"{server.name} did not end by itself")
        await self._kill(server, fault.seconds)

    async def _pause_daphne(self, fault: Fault) -> None:
        server = self._fleet.daphnes[fault.target]
        with self._wards.of(server.port):
            await pause(server, fault.seconds)

    async def _kill_wsgi(self, fault: Fault) -> None:
        await self._kill(self._fleet.wsgi, fault.seconds)

    async def _pause_wsgi(self, fault: Fault) -> None:
        await pause(self._fleet.wsgi, fault.seconds)

    async def _kill(self, server: Server, seconds: float) -> None:
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(server.start)

    async def _kill_script(self, fault: Fault) -> None:
        self._scripts[fault.target].kill()

    async def _pause_script(self, fault: Fault) -> None:
        await pause(self._scripts[fault.target], fault.seconds)


async def pause(service: Any, seconds: float) -> None:
    await asyncio.to_thread(service.pause)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(service.resume)
