"""The tools of node_modules, which `npm ci` installs; without them the tests that need them are skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = ROOT / "node_modules"

needs_node = pytest.mark.skipif(
    not (shutil.which("node") and shutil.which("npm") and (MODULES / ".bin").is_dir()),
    reason="needs node, npm and node_modules (npm ci)",
)


def run(*command: str | Path, cwd: Path = ROOT, given: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a tool of node_modules, or `npm` itself."""
    env = os.environ | {"PATH": f"{MODULES / '.bin'}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, cwd=cwd, env=env, input=given, capture_output=True, text=True, check=False)
