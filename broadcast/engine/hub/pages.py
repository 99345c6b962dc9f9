"""Pages of the log, for those who are behind: one read for all who want the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ..frames import Frame

PAGE = 100  # offsets in a page
MAX_PAGES = 8  # kept in memory
MAX_CHARACTERS = 2 * 1024 * 1024  # in all of them, unless a single page has more

Page = list[Frame]


class Pages:
    """The pages of one group that were asked for last; page n holds the offsets above n times PAGE."""

    def __init__(self, read: Callable[[int], Awaitable[Page]]) -> None:
        self._read = read
        self._pages: dict[int, asyncio.Future[Page]] = {}  # the oldest first

    async def after(self, offset: int, head: int) -> Page:
        """The frames after ``offset`` on its page, none beyond ``head``. Raises as the log does."""
        number = offset // PAGE
        pending = self._pages.get(number)
        if pending is not None and not pending.done():
            await asyncio.wait([pending])  # it was begun for others, and may end before what is asked for here
            pending = self._pages.get(number)
        if pending is None or (pending.done() and not holds(pending, offset + 1)):
            pending = self._pages[number] = asyncio.ensure_future(self._read(number * PAGE))
            pending.add_done_callback(self._evict)
        page = await asyncio.shield(pending)
        return [frame for frame in page if offset < (frame.offset or 0) <= head]

    def _evict(self, read: asyncio.Future[Page]) -> None:
        """Forgets the oldest pages if there are too many or too large ones; also the error of one that failed."""
        if not read.cancelled():
            read.exception()
        while len(self._pages) > 1 and (len(self._pages) > MAX_PAGES or self._size() > MAX_CHARACTERS):
            del self._pages[next(iter(self._pages))]

    def _size(self) -> int:
        return sum(frame.size for page in self._pages.values() for frame in frames_of(page))

    def end_after(self, offset: int) -> int:
        """The last offset of the page that ``after`` reads."""
        return (offset // PAGE + 1) * PAGE

    def clear(self) -> None:
        self._pages.clear()


def frames_of(page: asyncio.Future[Page]) -> Page:
    """The frames of a page; none if it has not been read, or could not be."""
    return [] if not page.done() or page.cancelled() or page.exception() is not None else page.result()


def holds(page: asyncio.Future[Page], offset: int) -> bool:
    """True if a page was read and has a frame at or after ``offset``."""
    frames = frames_of(page)
    return bool(frames) and (frames[-1].offset or 0) >= offset
