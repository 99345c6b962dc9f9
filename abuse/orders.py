"""Orders to the horde, which is a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.site import ROOT

LINE_BYTES = 1 << 24

Tallies = dict[str, dict[str, Any]]


class Orders:
    """The way to tell the horde what to do: a wave goes on until the next is ordered, or nothing more is."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._into, self._from = process.stdin, process.stdout

    def begin(self, names: list[str]) -> None:
        self._into.write(json.dumps(names).encode() + b"\n")

    def end(self) -> None:
        self._into.close()

    async def tallies(self) -> Tallies:
        """What became of the wave that has ended."""
        line = await self._from.readline()
        if not line:
            raise RuntimeError("The hostile clients' process has ended by itself; what it said is above.")
        tallies: Tallies = json.loads(line)
        return tallies


@asynccontextmanager
async def horde(port: int, seed: str) -> AsyncIterator[Orders]:
    """The hostile clients, who do nothing until they are told to."""
    command = (sys.executable, "-m", "abuse.horde", str(port), seed)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe, limit=LINE_BYTES)
    try:
        yield Orders(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
