"""A site whose pages are made by frameworks, a browser with its back-forward cache, and the table of what went well."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.chromium import QUIET, chromium_path
from tests.site import ROOT, Daphne

MODULES = ROOT / "node_modules"
SETTINGS = "tests.frameworks.settings"
CELL = re.compile(r"test_frameworks\.py::\w+\[(\w+)-([\w-]+)\]$")


def from_npm(*names: str) -> list[Path]:
    """Where npm has put these. Without one of them the test is skipped, and says why."""
    missing = [name for name in names if not (MODULES / name).exists()]
    if missing or not shutil.which("node"):
        pytest.skip(f"needs Node and {', '.join(missing or names)}: `npm ci` installs what package.json names")
    return [MODULES / name for name in names]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=list(QUIET), ignore_default_args=["--disable-back-forward-cache"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def foreign_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which the site looks for static files that are not the app's."""
    return tmp_path_factory.mktemp("foreign")


@pytest.fixture(scope="module")
def foreign_site(
    foreign_files: Path, migrated_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daphne]:
    """The server of all tests of a module: each has groups of its own."""
    database = Path(shutil.copy(migrated_database, tmp_path_factory.mktemp("site") / "site.sqlite3"))
    server = Daphne(database, DJANGO_SETTINGS_MODULE=SETTINGS, FOREIGN_FILES=str(foreign_files))
    server.start()
    yield server
    server.end()
    print(f"--- daphne on port {server.port}\n{server.log}")


def bundle(target: Path, *apps: str) -> None:
    command = ["node", str(ROOT / "tests" / "frameworks" / "build.mjs"), str(target), *apps]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what became of each case in each framework, if all were tried."""
    cells = {
        match.groups(): sign
        for outcome, sign in (("passed", "ok"), ("skipped", "-"), ("failed", "FAILS"), ("error", "ERROR"))
        for report in terminalreporter.stats.get(outcome, [])
        if (match := CELL.search(report.nodeid))
    }
    if not cells or not os.environ.get("ALL_FRAMEWORKS"):
        return
    frameworks, cases = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
    terminalreporter.section("cases in frameworks")
    rows = {"": frameworks} | {case: [cells.get((name, case), "") for name in frameworks] for case in cases}
    for title, row in rows.items():
        terminalreporter.write_line(f"{title:<16}" + "".join(f"{text:<9}" for text in row))
