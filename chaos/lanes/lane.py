"""A lane: what it sends is numbered and in order, and it notes what it was told became of each message."""

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from random import Random

from chaos import GROUPS
from chaos.ledger import Ledger

SINGLE = {"alone", "insisted", "patient", "impatient", "signed", "ctrl_c", "cancelled", "frozen_at_commit"}
THREADS = {"interrupted": 4}  # messages that are sent at the same time
# What views do, and how often; scripts do more.
VIEW_ACTS = {
    "alone": 25,
    "together": 35,
    "insisted": 8,
    "committed": 18,
    "partly": 8,
    "undone": 6,
    "signed": 8,
    "fleeting": 12,
    "fleeting_undone": 4,
    "interrupted": 4,
}
BURST = 150  # messages: more than one hint carries
MADE_UP = 10.0  # seconds

Outcomes = dict[str, str]


class Lane(ABC):
    """One publisher: what it sends is in order, for it waits for each act to end."""

    acts: dict[str, int] = {}
    groups: tuple[str, ...] = GROUPS

    def __init__(self, name: str, seed: str, rate: float, ledger: Ledger) -> None:
        self.name = name
        self.random = Random(f"{seed}:{name}")
        self.rate = rate
        self.ledger = ledger
        self._number = 0
        self._loop = asyncio.get_running_loop()

    async def run(self, stopping: asyncio.Event) -> None:
        due = self._loop.time() + self.random.random()
        while not stopping.is_set():
            late = self._loop.time() - due
            act = self.random.choices(list(self.acts), list(self.acts.values()))[0]
            outcomes = await self.once(act, self.random.choice(self.groups), late)
            due = max(due + len(outcomes) / self.rate, self._loop.time() - MADE_UP)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await stopping.wait()
        await self.end()

    async def once(self, act: str, group: str, late: float = 0.0) -> Outcomes:
        """Does one act and enters into the ledger what it is told."""
        keys = self.keys(act, late)
        self.ledger.begin(keys, group, act, self._loop.time())
        outcomes, reason = await self.perform(act, group, keys)
        self.ledger.settle(outcomes, reason, self._loop.time())
        return outcomes

    def keys(self, act: str, late: float) -> list[str]:
        """The keys of the next messages: more where an outage kept it from sending for some seconds."""
        count = 1
        if act in THREADS:
            count = THREADS[act]
        elif act not in SINGLE:
            count = min(BURST, self.random.randint(2, 16) + int(max(0.0, late) * self.rate))
        first, self._number = self._number + 1, self._number + count
        return [f"{self.name}-{number:06}" for number in range(first, first + count)]

    @abstractmethod
    async def perform(self, act: str, group: str, keys: list[str]) -> tuple[Outcomes, str]:
        """Does one act; returns what became of each message, and why."""

    async def end(self) -> None:  # noqa: B027  (most hold nothing)
        """Lets go of what it holds."""
