"""The scripts and style sheets that the app serves: built from the sources as they are now."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "frontend"
BUILT = ROOT / "broadcast" / "static" / "broadcast"
TYPES = sorted(SOURCES.rglob("*.d.ts"))


def hash_of_sources() -> str:
    found = hashlib.sha256()
    paths = (path for path in SOURCES.rglob("*") if path.is_file())
    for name, path in sorted((path.relative_to(SOURCES).as_posix(), path) for path in paths):
        found.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]


@pytest.mark.parametrize("name", ["announcements.js", "announcements.css", "feed.js", "feed.css", "broadcast.js"])
def test_what_is_served_was_built_from_the_sources_as_they_are(name: str) -> None:
    first_line = (BUILT / name).read_text(encoding="utf-8").partition("\n")[0]
    assert f"sources {hash_of_sources()}." in first_line, f"{name} is stale: run npm run build"


@pytest.mark.parametrize("path", TYPES, ids=lambda path: path.name)
def test_the_types_are_those_of_the_sources(path: Path) -> None:
    assert (BUILT / path.name).read_bytes() == path.read_bytes()
