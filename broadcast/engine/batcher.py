"""Look-ups in batches: what is asked for while one is under way is asked for together, in the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

GATHERING = 0.08  # seconds that a look-up waits for more, while many ask
CROWD = 8  # keys in one look-up
ENOUGH = 44  # keys for which it waits no longer

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True, frozen=True)
class Failed:
    """What a look-up returns for a key of which it could not be said: the error that its askers are told."""

    error: Exception


class Batcher(Generic[K, V]):
    """Looks keys up, at most ``most`` at a time.

    A single one waits for nobody. Where the last look-up was for many and has just ended, there is a crowd, and the
    next waits a moment for more of it, unless ``gathers`` is false: fewer and larger pieces of work cost the threads
    that do them, and the loop that shares the interpreter with them, much less.

    ``look_up`` returns for each key what it finds, or ``Failed``; what it raises, all who asked in that batch are told.
    """

    def __init__(
        self, look_up: Callable[[list[K]], Awaitable[Mapping[K, V | Failed]]], most: int, gathers: bool = True
    ) -> None:
        self._look_up = look_up
        self._most = most
        self._gathers = gathers
        self._asked: dict[K, asyncio.Future[V]] = {}  # and not answered yet
        self._waiting: list[K] = []
        self._running: asyncio.Task[None] | None = None
        self._crowd_until = 0.0
        self._is_enough = asyncio.Event()

    def __iter__(self) -> Iterator[K]:
        return iter(self._asked)

    def __len__(self) -> int:
        return len(self._asked)

    def __contains__(self, key: object) -> bool:
        return key in self._asked

    def under_way(self, key: K) -> asyncio.Future[V] | None:
        """The answer that somebody waits for; None if nobody has asked."""
        return self._asked.get(key)

    async def ask(self, key: K) -> V:
        """What is found for ``key``; who asks for the same meanwhile shares the answer. Raises as ``look_up`` does."""
        answer = self._asked.get(key)
        if answer is None:
            answer = self._asked[key] = asyncio.get_running_loop().create_future()
            self._waiting.append(key)
            if len(self._waiting) >= ENOUGH:
                self._is_enough.set()
            if self._running is None:
                self._running = asyncio.create_task(self._run())
        return await asyncio.shield(answer)

    def close(self) -> None:
        """Ends what is under way; whoever waits is cancelled."""
        if self._running is not None:
            self._running.cancel()
            self._end()  # here, for a task that has not begun is cancelled without a word

    def _end(self) -> None:
        self._running = None
        for answer in self._asked.values():
            answer.cancel()
        self._asked.clear()
        self._waiting.clear()

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                keys, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._answer(keys)
                if self._gathers and len(keys) >= CROWD:
                    self._crowd_until = asyncio.get_running_loop().time() + GATHERING
        finally:
            if self._running is asyncio.current_task():  # otherwise it was closed, and others may ask again
                self._end()

    async def _gather(self) -> None:
        """Waits for the rest of a crowd, if there is one."""
        now = asyncio.get_running_loop().time()
        if now < self._crowd_until and len(self._waiting) < ENOUGH:
            self._is_enough.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHERING):
                    await self._is_enough.wait()

    async def _answer(self, keys: list[K]) -> None:
        try:
            found: Mapping[K, V | Failed] = await self._look_up(keys)
        except Exception as error:
            found = dict.fromkeys(keys, Failed(error))
        for key in keys:
            if (answer := self._asked.pop(key, None)) is not None and not answer.done():
                settle(answer, found.get(key, Failed(KeyError(key))))


def settle(answer: asyncio.Future[V], value: V | Failed) -> None:
    if isinstance(value, Failed):
        answer.set_exception(value.error)
        answer.exception()  # is told to whoever still waits, and that may be nobody
    else:
        answer.set_result(value)
