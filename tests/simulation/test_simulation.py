"""The simulation: a few of its seeds, and that it finds what is wrong, and the same each time."""

import os
import subprocess
import sys

import pytest

from tests.services import Postgres
from tests.simulation.planted import ROOT, Bug, all_bugs, planted

SITE = ("DATABASE_URL", "DJANGO_SETTINGS_MODULE")


def simulate(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in SITE}
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, cwd=ROOT, env=kept | env, capture_output=True, text=True)


def test_no_promise_is_broken_whatever_overlaps() -> None:
    ran = simulate("--seeds=30")
    assert (ran.returncode, "30 seeds, 0 failing" in ran.stdout) == (0, True), ran.stdout + ran.stderr


def test_nor_where_locks_are_locks_of_rows(postgres_server: Postgres) -> None:
    ran = simulate("--seeds=5", DATABASE_URL=postgres_server.url)
    assert (ran.returncode, "5 seeds, 0 failing" in ran.stdout) == (0, True), ran.stdout + ran.stderr


def test_a_bug_is_found_and_is_the_same_when_it_is_replayed() -> None:
    ran = simulate("--plant", "what waits is sequenced newest first", "--seeds=50", "--replays=2")
    assert ran.returncode == 0, ran.stdout
    assert "replayed 2 times: the same each time" in ran.stdout


@pytest.mark.parametrize("bug", all_bugs(), ids=lambda bug: bug.name)
def test_every_bug_can_still_be_planted(bug: Bug) -> None:
    with planted(bug):
        pass
