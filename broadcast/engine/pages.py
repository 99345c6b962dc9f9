"""Pages of the log, for those who are behind: one read for all who want the same."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from .wire import Frame

PAGE = 100  # offsets in a page
MAX_PAGES = 8  # kept in memory

Page = list[Frame]


class Pages:
    """The pages of one group that were asked for last; page n holds the offsets above n times PAGE."""

    def __init__(self, group: str, read: Callable[[str, int], Awaitable[Page]]) -> None:
        self._group = group
        self._read = read
        self._pages: OrderedDict[int, asyncio.Future[Page]] = OrderedDict()

    async def after(self, offset: int, head: int) -> Page:
        """The frames after ``offset`` on its page, none beyond ``head``. Raises as the log does."""
        number = offset // PAGE
        pending = self._pages.get(number)
        if pending is None or (pending.done() and not holds(pending, offset + 1)):
            pending = asyncio.ensure_future(self._read(self._group, number * PAGE))
            pending.add_done_callback(lambda page: page.cancelled() or page.exception())
            self._pages[number] = pending
            while len(self._pages) > MAX_PAGES:
                self._pages.popitem(last=False)
        page = await asyncio.shield(pending)
        return [frame for frame in page if offset < (frame.offset or 0) <= head]

    def end_after(self, offset: int) -> int:
        """The last offset of the page that ``after`` reads."""
        return (offset // PAGE + 1) * PAGE

    def clear(self) -> None:
        self._pages.clear()


def holds(pending: asyncio.Future[Page], offset: int) -> bool:
    """Whether a page that was read has something at or after ``offset``."""
    if pending.cancelled() or pending.exception() is not None:
        return False
    page = pending.result()
    return bool(page) and (page[-1].offset or 0) >= offset
