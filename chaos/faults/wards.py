"""Wards: the clients and pages of a server that is kept from its work, who cannot hear anything."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from chaos.book import Book


class Ward(Protocol):
    """Who counts on a server."""

    port: int

    def is_kept_from_hearing(self) -> None: ...

    def hears_again(self) -> None: ...


class Wards:
    def __init__(self, book: Book, wards: Sequence[Ward]) -> None:
        self.all: list[Ward] = [*wards]
        self._book = book
        self._reasons: Counter[int] = Counter()

    @contextmanager
    def of(self, port: int) -> Iterator[None]:
        """Excuses what the server on a port does not do inside."""
        self._reasons[port] += 1
        self._book.unwell.add(port)
        for ward in self._of(port):
            ward.is_kept_from_hearing()
        try:
            yield
        finally:
            self._reasons[port] -= 1
            if not self._reasons[port]:
                self._book.unwell.discard(port)
                for ward in self._of(port):
                    ward.hears_again()

    def _of(self, port: int) -> list[Ward]:
        return [ward for ward in self.all if ward.port == port]
