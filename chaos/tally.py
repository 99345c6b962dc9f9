"""How often a process under chaos has injected a fault of its own: one letter each in a file that all share."""

import os
from collections import Counter
from pathlib import Path

KINDS = {
    "d": "hint dropped",
    "t": "hint doubled",
    "l": "hint delivered late",
    "s": "sockets removed",
    "b": "connection lost before its COMMIT",
    "a": "connection lost after its COMMIT",
}
LETTERS = {kind: letter for letter, kind in KINDS.items()}


class Tally:
    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def add(self, kind: str) -> None:
        os.write(self._file, LETTERS[kind].encode())


def counted(path: Path) -> Counter[str]:
    """The faults of each kind, over all processes."""
    letters = path.read_text() if path.exists() else ""
    return Counter(KINDS[letter] for letter in letters)
