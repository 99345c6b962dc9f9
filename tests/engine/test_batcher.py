"""Batches: who asks while a look-up is under way shares the next, and nobody pays for anybody else."""

import asyncio
import gc
from collections.abc import Iterable
from typing import Any

import pytest

from broadcast.engine import batcher as module
from broadcast.engine.batcher import ENOUGH, Batcher, Failed
from tests.kit.waiting import until


class LookUp:
    """Finds the double of each number when its gate is open; notes what it is asked, and raises what it is to raise."""

    def __init__(self, most: int = 100) -> None:
        self.asked: list[list[int]] = []
        self.errors: list[Exception | None] = []
        self.left_out: set[int] = set()
        self.failed: dict[int, Exception] = {}
        self.gate = asyncio.Event()
        self.batcher = Batcher[int, int](self.find, most)

    async def find(self, keys: list[int]) -> dict[int, int | Failed]:
        self.asked.append(keys)
        await self.gate.wait()
        if self.errors and (error := self.errors.pop(0)):
            raise error
        failed = {key: Failed(self.failed[key]) for key in keys if key in self.failed}
        return {key: 2 * key for key in keys if key not in self.left_out} | failed

    def asking(self, keys: Iterable[int]) -> list["asyncio.Task[int]"]:
        return [asyncio.create_task(self.batcher.ask(key)) for key in keys]

    async def asking_beside(self, first: int, keys: Iterable[int]) -> list["asyncio.Task[int]"]:
        """Has one look-up be under way, and others asked for meanwhile."""
        tasks = self.asking([first])
        await until(lambda: self.asked)
        tasks += self.asking(keys)
        await asyncio.sleep(0)
        return tasks


async def outcomes(tasks: list["asyncio.Task[int]"]) -> list[Any]:
    async with asyncio.timeout(10):
        found = await asyncio.gather(*tasks, return_exceptions=True)
    return [f"{type(each).__name__} {each}".strip() if isinstance(each, BaseException) else each for each in found]


@pytest.fixture
async def look_up(monkeypatch: pytest.MonkeyPatch) -> LookUp:
    monkeypatch.setattr(module, "GATHERING", 60.0)  # seconds: who waits for this long fails the test
    return LookUp()


async def test_one_is_asked_at_once_and_those_who_come_meanwhile_share_the_next(look_up):
    tasks = await look_up.asking_beside(1, [2, 3, 2])
    assert (look_up.asked, list(look_up.batcher), 3 in look_up.batcher) == ([[1]], [1, 2, 3], True)
    assert look_up.batcher.under_way(3) is not None
    look_up.gate.set()
    assert await outcomes(tasks) == [2, 4, 6, 4]
    assert (look_up.asked, len(look_up.batcher), look_up.batcher.under_way(3)) == ([[1], [2, 3]], 0, None)


@pytest.mark.parametrize(("gathering", "crowd"), [(60.0, ENOUGH), (0.01, 3)])
async def test_after_several_the_next_waits_for_a_crowd_until_it_is_enough_or_has_taken_long(
    look_up, monkeypatch, gathering, crowd
):
    look_up.gate.set()
    monkeypatch.setattr(module, "CROWD", 2)
    await outcomes(look_up.asking([-1, -2]))
    monkeypatch.setattr(module, "GATHERING", gathering)
    tasks = look_up.asking([0])
    await asyncio.sleep(0)
    tasks += look_up.asking(range(1, crowd))
    assert await outcomes(tasks) == [2 * number for number in range(crowd)]
    assert look_up.asked == [[-1, -2], [*range(crowd)]]


async def test_no_more_are_asked_at_once_than_may_be():
    look_up = LookUp(most=ENOUGH)
    look_up.gate.set()
    assert await outcomes(look_up.asking(range(3 * ENOUGH))) == [2 * number for number in range(3 * ENOUGH)]
    assert [len(keys) for keys in look_up.asked] == [ENOUGH] * 3


async def test_what_fails_is_told_to_its_batch_alone_and_who_gives_up_costs_nobody_anything(look_up, monkeypatch):
    monkeypatch.setattr(module, "GATHERING", 0.0)
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    look_up.errors = [None, ZeroDivisionError("2 and 3"), None]
    tasks = await look_up.asking_beside(1, [1, 2, 2, 3])
    for gone in (tasks[0], tasks[2], tasks[4]):  # of the last nobody is there any more to be told
        gone.cancel()
    look_up.gate.set()
    assert await outcomes(tasks) == [
        "CancelledError",
        2,
        "CancelledError",
        "ZeroDivisionError 2 and 3",
        "CancelledError",
    ]
    assert await outcomes(look_up.asking([2])) == [4]
    del tasks
    gc.collect()
    assert complaints == []


async def test_who_asked_for_what_is_left_out_or_cannot_be_said_hears_of_it_and_nobody_else_does(look_up):
    look_up.left_out, look_up.failed = {2}, {3: OSError("three")}
    look_up.gate.set()
    assert await outcomes(look_up.asking([1, 2, 3, 4])) == [2, "KeyError 2", "OSError three", 8]
    assert len(look_up.batcher) == 0


@pytest.mark.parametrize("turns", [1, 2])
async def test_an_end_leaves_nothing_behind_however_early_it_comes(look_up, turns):
    """Also before the look-up has begun; who asks later begins anew."""
    before = asyncio.all_tasks()
    tasks = look_up.asking([1, 2])
    for _ in range(turns):
        await asyncio.sleep(0)
    look_up.batcher.close()
    tasks += look_up.asking([2])
    look_up.gate.set()
    assert await outcomes(tasks) == ["CancelledError", "CancelledError", 4]
    await until(lambda: asyncio.all_tasks() == before)
    assert len(look_up.batcher) == 0
