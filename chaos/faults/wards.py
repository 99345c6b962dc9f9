"""Wards: the clients of a server that is kept from its work, of whom nobody can expect that they hear anything."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chaos.book import Book
from chaos.readers import Reader


class Wards:
    def __init__(self, book: Book, readers: Sequence[Reader]) -> None:
        self._book = book
        self._readers = readers
        self._reasons: Counter[int] = Counter()

    @contextmanager
    def of(self, port: int) -> Iterator[None]:
        """Excuses what the server on a port does not do inside."""
        self._reasons[port] += 1
        self._book.unwell.add(port)
        for reader in self._of(port):
            reader.is_kept_from_hearing()
        try:
            yield
        finally:
            self._reasons[port] -= 1
            if not self._reasons[port]:
                self._book.unwell.discard(port)
                for reader in self._of(port):
                    reader.hears_again()

    def _of(self, port: int) -> list[Reader]:
        return [reader for reader in self._readers if reader.port == port]
