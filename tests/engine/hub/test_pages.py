"""Pages of the log: one read for all who want the same, little in memory, and never an old answer for good."""

import asyncio
from typing import Any

import pytest

from broadcast.engine.frames import Frame
from broadcast.engine.hub import pages as pages_module
from broadcast.engine.hub.pages import Pages
from broadcast.exceptions import LogUnavailable
from tests.kit.streams import PageLog
from tests.kit.waiting import until


def log_of(head: int, size: int = 2) -> PageLog:
    return PageLog(*range(1, head + 1), size=size)


def offsets(frames: list[Frame]) -> list[Any]:
    return [each.offset for each in frames]


async def asking(pages: Pages, log: PageLog, *afters: int, head: int = 1000) -> list[asyncio.Task[list[Frame]]]:
    """Those who ask for what follows some offsets; the log is at work for them when this returns."""
    log.gate.clear()
    tasks = [asyncio.create_task(pages.after(after, head)) for after in afters]
    await until(lambda: log.reads)
    return tasks


@pytest.mark.parametrize(
    ("after", "head", "first", "last"),
    [(0, 250, 1, 100), (95, 250, 96, 100), (100, 250, 101, 200), (240, 248, 241, 248)],
)
async def test_what_follows_on_the_page_and_no_more(after, head, first, last):
    pages = Pages(log_of(250).read)
    assert offsets(await pages.after(after, head)) == list(range(first, last + 1))
    assert pages.end_after(after) >= last > pages.end_after(after) - pages_module.PAGE


async def test_a_page_is_read_once_for_everybody_though_some_leave():
    log = log_of(1000)
    pages = Pages(log.read)
    leaving, *staying = await asking(pages, log, *(number % 100 for number in range(500)))
    leaving.cancel()
    await asyncio.wait([leaving])
    log.gate.set()
    assert [len(page) for page in await asyncio.gather(*staying)][:2] == [99, 98]
    await pages.after(50, 1000)
    assert log.reads == [0]


async def test_a_page_that_has_grown_since_is_read_again():
    log = log_of(50)
    pages = Pages(log.read)
    assert offsets(await pages.after(40, 50)) == list(range(41, 51))
    log.offsets += range(51, 61)
    assert offsets(await pages.after(50, 60)) == list(range(51, 61))
    assert log.reads == [0, 0]


async def test_a_read_that_was_begun_before_there_was_more_is_no_answer_for_who_wants_that():
    """Otherwise it would be told that these messages are no longer kept."""
    log = log_of(50)
    pages = Pages(log.read)
    [first] = await asking(pages, log, 0, head=50)
    log.offsets += range(51, 61)
    others = [asyncio.create_task(pages.after(50, 60)) for _ in range(3)]
    await asyncio.sleep(0)  # they have asked
    log.gate.set()
    assert offsets(await first) == list(range(1, 51))
    assert [offsets(await other) for other in others] == [list(range(51, 61))] * 3
    assert log.reads == [0, 0]


async def test_a_read_that_failed_or_was_cancelled_is_no_answer_for_the_next():
    log = log_of(50)
    pages = Pages(log.read)
    log.error = LogUnavailable("away")
    for _ in range(2):
        with pytest.raises(LogUnavailable):
            await pages.after(0, 50)
    log.error = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await pages.after(0, 50)
    log.error = None
    assert len(await pages.after(0, 50)) == 50
    assert log.reads == [0, 0, 0, 0]


async def test_a_failure_that_nobody_waits_for_is_not_left_behind():
    unhandled: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context))
    log = log_of(50)
    pages = Pages(log.read)
    [leaving] = await asking(pages, log, 0)
    log.error = LogUnavailable("away")
    leaving.cancel()
    await asyncio.wait([leaving])
    log.gate.set()
    with pytest.raises(LogUnavailable):
        await pages.after(0, 50)
    pages.clear()
    assert unhandled == []


@pytest.mark.parametrize(
    ("limit", "value", "size", "read_again"),
    [
        ("MAX_PAGES", 2, 2, [100, 200]),
        ("MAX_CHARACTERS", 250_000, 1000, [100, 200]),
        ("MAX_CHARACTERS", 250_000, 10_000, [100, 200, 300]),  # one is kept, however large
    ],
)
async def test_few_pages_are_kept(limit, value, size, read_again, monkeypatch):
    monkeypatch.setattr(pages_module, limit, value)
    log = log_of(1000, size)
    pages = Pages(log.read)
    for after in (100, 200, 300, 400):
        await pages.after(after, 1000)
    log.reads.clear()
    for after in (400, 300, 200, 100):
        await pages.after(after, 1000)
    assert sorted(log.reads) == read_again


async def test_a_new_epoch_forgets_all():
    log = log_of(50)
    pages = Pages(log.read)
    for _ in range(2):
        await pages.after(0, 50)
        pages.clear()
    assert log.reads == [0, 0]
