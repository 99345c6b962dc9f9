"""The contract of the floors, as `make lint` holds it: it passes, and breaks when a floor imports from one above."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.site import ROOT

UPWARD = {
    "engine/publish.py": "from ..access import policy",
    "engine/hub/ring.py": "def late():\n    from broadcast.views import log_resource",
    "access/origins.py": "from .. import consumers",
    "groups.py": "from .engine.validation import SERVER",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the source, to be changed."""
    shutil.copytree(ROOT / "broadcast", tmp_path / "broadcast", ignore=shutil.ignore_patterns("__pycache__", "static"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def linted(directory: Path) -> tuple[bool, str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--contract", "floors"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60)
    return done.returncode == 0, done.stdout + done.stderr


def test_a_floor_imports_only_from_those_below_it(tree: Path) -> None:
    passed, said = linted(tree)
    assert passed, said
    for name, line in UPWARD.items():
        with (tree / "broadcast" / name).open("a") as file:
            file.write(f"\n\n{line}\n")
    passed, said = linted(tree)
    assert not passed
    for name in UPWARD:
        assert "broadcast." + name.removesuffix(".py").replace("/", ".") in said


def test_a_new_module_has_to_be_given_a_floor(tree: Path) -> None:
    (tree / "broadcast" / "newcomer.py").touch()
    passed, said = linted(tree)
    assert not passed
    assert "newcomer" in said
