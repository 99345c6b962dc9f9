"""Faults of clocks: that of one daphne is set back, and set right again."""

import asyncio
import signal
from typing import Any

from chaos.faults.schedule import Fault
from chaos.fleet import Fleet


class ClockFaults:
    """Tells a daphne by signals, which `chaos.asgi` knows."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def ways(self) -> dict[str, Any]:
        return {"daphne's clock set back": self._set_back}

    async def _set_back(self, fault: Fault) -> None:
        server = self._fleet.daphnes[fault.target]
        server.send_signal(signal.SIGUSR1)
        await asyncio.sleep(fault.seconds)
        server.send_signal(signal.SIGUSR2)
