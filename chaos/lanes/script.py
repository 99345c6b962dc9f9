"""Publishers in processes of their own, which die, freeze and are interrupted while they send."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress

from chaos.fleet import Fleet
from chaos.lanes.lane import VIEW_ACTS, Lane, Outcomes
from chaos.ledger import NOT_SENT, SENT, UNKNOWN, Ledger
from tests.site import ROOT

ANSWER_TIMEOUT = 60.0  # of a script, which may be paused and may insist
FROZEN = (0.5, 6.0)  # seconds
SCRIPT_ACTS = VIEW_ACTS | {
    "manual": 6,
    "dies": 2,
    "dies_committed": 2,
    "frozen": 2,
    "frozen_at_commit": 2,
    "ctrl_c": 4,
    "cancelled": 4,
}


class ScriptLane(Lane):
    """A plain process that uses the app without serving anything; it is started anew when it has died."""

    acts = SCRIPT_ACTS

    def __init__(self, name: str, seed: str, rate: float, ledger: Ledger, fleet: Fleet, **env: str) -> None:
        super().__init__(name, seed, rate, ledger)
        self.fleet = fleet
        self.env = env
        self.process: Process | None = None
        self.freezes = 0

    async def perform(self, act: str, group: str, keys: list[str]) -> tuple[Outcomes, str]:
        asked = json.dumps({"act": act, "group": group, "keys": keys}) + "\n"
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await self._answer(asked.encode(), act, keys)
        except TimeoutError:
            self.ledger.surprise(f"{self.name} did not answer within {ANSWER_TIMEOUT:g} s: {act} {keys[0]}")
            await self.end()
            return dict.fromkeys(keys, UNKNOWN), "no answer"

    async def _answer(self, asked: bytes, act: str, keys: list[str]) -> tuple[Outcomes, str]:
        process = await self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(asked)
            await process.stdin.drain()
        except ConnectionError:
            pass  # it was killed: there is nothing more to read either
        line = await process.stdout.readline()
        if line == b"frozen\n":
            self.freezes += 1
            await asyncio.sleep(self.random.uniform(*FROZEN))
            self.resume()
            line = await process.stdout.readline()
        if line == b"committed\n":
            outcome = dict.fromkeys(keys, SENT), "died after its COMMIT"
            line = await process.stdout.readline()
        else:
            outcome = dict.fromkeys(keys, NOT_SENT if act in ("dies", "undone") else UNKNOWN), "died"
        if line.endswith(b"\n"):
            return json.loads(line), "by a script"
        await self.end()
        return outcome

    # What the world does to it

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        """Signals past asyncio, whose own way would take the exit status from whoever waits for it."""
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    async def _running(self) -> Process:
        if self.process is None:
            env = {**self.fleet.env, **self.env, "CHAOS_SEED": f"{self.fleet.env['CHAOS_SEED']}:{self.name}"}
            with (self.fleet.directory / f"{self.name}.log").open("ab") as log:
                self.process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "chaos.script"),
                    cwd=ROOT,
                    env=env,
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=log,
                )
        return self.process

    async def end(self) -> None:
        self.kill()
        process, self.process = self.process, None
        if process is not None:
            await process.communicate()
