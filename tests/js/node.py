"""The tools of node_modules, which `npm ci` installs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.services import do_without

ROOT = Path(__file__).parents[2]
MODULES = ROOT / "node_modules"


def need_tools() -> None:
    """Skips the test where they are not installed; where `CI` is set, fails it."""
    if not shutil.which("node") or not shutil.which("npm"):
        do_without("needs node and npm on the PATH")
    if not (MODULES / ".bin").is_dir():
        do_without("needs node_modules: run npm ci")


def run(*command: str | Path, cwd: Path = ROOT, given: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a tool of node_modules, or `npm` itself."""
    env = os.environ | {"PATH": f"{MODULES / '.bin'}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, cwd=cwd, env=env, input=given, capture_output=True, text=True, check=False)
