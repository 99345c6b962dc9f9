"""Bugs that are planted in a copy of the product, one at a time, to see that the simulation finds them."""

from __future__ import annotations

import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TREES = ("broadcast", "project", "tests", "templates")
BUGS = Path(__file__).with_name("bugs.toml")


@dataclass(frozen=True)
class Edit:
    """Text of a file below broadcast/ that occurs there once, and what stands in its place."""

    file: str
    before: str
    after: str


@dataclass(frozen=True)
class Bug:
    """A bug, whether only locks of rows show it, which SQLite does not have, and the seed that does where few do."""

    name: str
    edits: list[Edit]
    postgresql: bool = False
    first: int | None = None

    def plant(self, tree: Path) -> None:
        """Raises ValueError where the code has changed."""
        for edit in self.edits:
            file = tree / "broadcast" / edit.file
            text = file.read_text()
            if (count := text.count(edit.before)) != 1:
                raise ValueError(
                    f"{self.name}: {edit.file} should have {edit.before!r} once; it is there {count} times"
                )
            file.write_text(text.replace(edit.before, edit.after))


def all_bugs() -> list[Bug]:
    written = tomllib.loads(BUGS.read_text())["bugs"]
    return [Bug(**(each | {"edits": [Edit(**edit) for edit in each["edits"]]})) for each in written]


@contextmanager
def planted(bug: Bug) -> Iterator[Path]:
    """A copy of the product with the bug in it."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        for tree in TREES:
            shutil.copytree(ROOT / tree, copy / tree, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        bug.plant(copy)
        yield copy
