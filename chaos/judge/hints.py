"""Whether hints reach every server once all is healed: polling alone would deliver, too, but late."""

import asyncio
from collections.abc import Iterable
from random import Random
from statistics import median

from chaos import GROUPS
from chaos.lanes.lane import Lane
from chaos.readers import Reader

PROBES = 15
LONGEST = 1.5  # seconds: longer than a hub's poll
LOOK_EVERY = 0.005  # seconds
DEAF_AFTER = 0.35  # seconds: hubs poll once a second, so a deaf one has a median of a half


async def hint_delays(lane: Lane, readers: Iterable[Reader]) -> dict[int, float]:
    """The median time from the end of a send to its arrival, by the port of each server that has clients."""
    listeners = {reader.port: reader for reader in readers if 0 in reader.welcomed}
    delays: dict[int, list[float]] = {port: [] for port in listeners}
    random = Random(lane.name)
    for _ in range(PROBES):
        await asyncio.sleep(random.random())  # so that no probe keeps step with the polls
        due = {port: reader.positions[0] + 1 for port, reader in listeners.items()}
        await lane.once("alone", GROUPS[0])
        await asyncio.gather(*(_arrival(listeners[port], due[port], delays[port]) for port in listeners))
    return {port: median(times) for port, times in delays.items()}


async def _arrival(reader: Reader, offset: int, delays: list[float]) -> None:
    begun = asyncio.get_running_loop().time()
    waited = 0.0
    while reader.positions[0] < offset and waited < LONGEST:
        await asyncio.sleep(LOOK_EVERY)
        waited = asyncio.get_running_loop().time() - begun
    delays.append(waited)
