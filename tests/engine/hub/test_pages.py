"""Pages of the log: one read for all who want the same, little in memory, and never an old answer for good."""

import asyncio
from typing import Any

import pytest

from broadcast.engine.frames import Frame
from broadcast.engine.hub import pages as pages_module
from broadcast.engine.hub.pages import PAGE, Pages
from broadcast.exceptions import LogUnavailable
from tests.kit.streams import frame
from tests.kit.waiting import until


class Log:
    """A log of ``head`` messages; it notes what was read, fails while ``error`` is set and waits for its gate."""

    def __init__(self, head: int, size: int = 2) -> None:
        self.head = head
        self.size = size
        self.reads: list[int] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self, group: str, after: int) -> list[Frame]:
        self.reads.append(after)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        last = min(after + PAGE, self.head)
        return [frame(offset, "x" * self.size) for offset in range(after + 1, last + 1)]


def offsets(frames: list[Frame]) -> list[Any]:
    return [each.offset for each in frames]


async def test_what_follows_on_the_page_and_no_more() -> None:
    pages = Pages("g", Log(250).read)
    assert offsets(await pages.after(0, 250)) == list(range(1, 101))
    assert offsets(await pages.after(95, 250)) == [96, 97, 98, 99, 100]
    assert offsets(await pages.after(100, 250)) == list(range(101, 201))
    assert offsets(await pages.after(240, 248)) == list(range(241, 249))
    assert pages.end_after(95) == 100
    assert pages.end_after(100) == 200


async def test_a_page_is_read_once_for_everybody() -> None:
    log = Log(1000)
    pages = Pages("g", log.read)
    log.gate.clear()
    asking = [asyncio.create_task(pages.after(number % 100, 1000)) for number in range(500)]
    await asyncio.sleep(0)
    log.gate.set()
    await asyncio.gather(*asking)
    await pages.after(50, 1000)
    assert log.reads == [0]


async def test_a_page_that_has_grown_since_is_read_again() -> None:
    log = Log(50)
    pages = Pages("g", log.read)
    assert offsets(await pages.after(40, 50)) == list(range(41, 51))
    log.head = 60
    assert offsets(await pages.after(50, 60)) == list(range(51, 61))
    assert log.reads == [0, 0]


async def test_a_read_that_was_begun_before_there_was_more_is_no_answer_for_who_wants_that() -> None:
    """Otherwise it would be told that these messages are no longer kept."""
    log = Log(50)
    found: list[list[Frame]] = []

    async def read(group: str, after: int) -> list[Frame]:
        found.append(await log.read(group, after))
        frames = found[-1]
        await gate.wait()
        return frames

    gate = asyncio.Event()
    pages = Pages("g", read)
    first = asyncio.create_task(pages.after(0, 50))
    await until(lambda: found)
    log.head = 60
    others = [asyncio.create_task(pages.after(50, 60)) for _ in range(3)]
    await asyncio.sleep(0.01)
    gate.set()
    assert offsets(await first) == list(range(1, 51))
    for other in others:
        assert offsets(await other) == list(range(51, 61))
    assert log.reads == [0, 0]


async def test_a_read_that_failed_is_no_answer_for_the_next() -> None:
    log = Log(50)
    pages = Pages("g", log.read)
    log.error = LogUnavailable("away")
    for _ in range(2):
        with pytest.raises(LogUnavailable):
            await pages.after(0, 50)
    log.error = None
    assert len(await pages.after(0, 50)) == 50
    assert len(log.reads) == 3


async def test_a_failure_that_nobody_waits_for_is_not_left_behind() -> None:
    unhandled: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context))
    log = Log(50)
    pages = Pages("g", log.read)
    log.error = LogUnavailable("away")
    log.gate.clear()
    asking = asyncio.create_task(pages.after(0, 50))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    log.gate.set()
    await asyncio.sleep(0.01)
    pages.clear()
    assert unhandled == []


async def test_one_who_leaves_does_not_end_the_read_of_the_others() -> None:
    log = Log(50)
    pages = Pages("g", log.read)
    log.gate.clear()
    leaving, staying = (asyncio.create_task(pages.after(0, 50)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    log.gate.set()
    assert len(await staying) == 50
    assert log.reads == [0]


async def test_few_pages_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "MAX_PAGES", 2)
    log = Log(1000)
    pages = Pages("g", log.read)
    for after in (0, 100, 200):
        await pages.after(after, 1000)
    assert len(pages._pages) == 2
    await pages.after(200, 1000)
    await pages.after(0, 1000)
    assert log.reads == [0, 100, 200, 0]


async def test_large_pages_are_kept_in_smaller_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "MAX_CHARACTERS", 250_000)
    log = Log(1000, size=1000)
    pages = Pages("g", log.read)
    for after in (0, 100, 200, 300):
        assert len(await pages.after(after, 1000)) == 100
    assert len(pages._pages) == 2
    log.size = 10_000
    assert len(await pages.after(400, 1000)) == 100
    assert len(pages._pages) == 1  # however large it is, those who want it share it


async def test_a_new_epoch_forgets_all() -> None:
    log = Log(50)
    pages = Pages("g", log.read)
    await pages.after(0, 50)
    pages.clear()
    await pages.after(0, 50)
    assert log.reads == [0, 0]
