"""The release before and this one side by side on one database, as while a site deploys: nothing is lost."""

import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from tests.kit.clients import Client, push
from tests.services import do_without
from tests.site import ROOT, Daphne

RELEASE_BEFORE = "74730e16e376e62ffa376466f98e8e646cbaa9ce"
"""The commit of the newest release: what sites run when they deploy what is here.

Whoever makes a release puts its commit here with the first change after it, never earlier: every change is then held
to the release that it will follow. The code is taken from the history, so the clone has to reach back that far.
"""

EACH = 8  # messages by each way to send
APART = 0.05  # seconds between messages while tables change


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the release before. Without it the tests are skipped; in a whole clone, with `CI` set, they fail."""
    directory = tmp_path_factory.mktemp("before")
    try:
        with tarfile.open(fileobj=io.BytesIO(archive(RELEASE_BEFORE))) as packed:
            packed.extractall(directory, filter="data")
    except LookupError as missing:
        if is_shallow():
            pytest.skip(str(missing))
        do_without(str(missing))
    return directory


def is_shallow() -> bool:
    """Tells that this clone has no whole history, or is none."""
    asked = ["git", "rev-parse", "--is-shallow-repository"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True).stdout.strip() != "false"


def archive(commit: str) -> bytes:
    """The files of a commit of this repository as a tar archive."""
    if not shutil.which("git"):
        raise LookupError("needs git, which is not on the PATH")
    done = subprocess.run(["git", "archive", "--format=tar", commit], cwd=ROOT, capture_output=True)
    if done.returncode:
        raise LookupError(f"needs {commit[:7]}, the release before: try git fetch --unshallow ({done.stderr.decode()})")
    return done.stdout


class Before(Daphne):
    """A daphne of the release before, whose code nobody measures."""

    def __init__(self, tree: Path, database: Path, **env: str) -> None:
        super().__init__(database, **env)
        self.root = tree
        self.env = {name: value for name, value in self.env.items() if not name.startswith("COVERAGE_")}
        found = [sys.executable, "-c", "import broadcast; print(broadcast.__file__)"]
        where = subprocess.run(found, cwd=tree, env=self.env, capture_output=True, text=True, check=True).stdout
        assert Path(where.strip()).is_relative_to(tree)


@pytest.fixture(params=["SQLite", "PostgreSQL and Redis"])
def shared(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment that both releases have, with an empty database."""
    if request.param == "SQLite":
        return {}
    postgres, redis = (request.getfixturevalue(name) for name in ("postgres", "redis"))
    return {"REDIS_URL": redis.url, "DATABASE_URL": postgres.create_database("upgraded")}


def push_while(server: Daphne, done: Event) -> list[str]:
    """Sends one message after the other, the last one when it is done."""
    pushed = [push(server, "migrating-0")]
    while not done.wait(APART):
        pushed.append(push(server, f"migrating-{len(pushed)}"))
    return [*pushed, push(server, "migrated")]


def push_some(server: Daphne, name: str) -> list[str]:
    return [push(server, f"{name}-{number}") for number in range(EACH)]


def say_some(client: Client, name: str) -> list[str]:
    bodies = [f"{name}-{number}" for number in range(EACH)]
    for body in bodies:
        client.say(author="Ann", body=body)
    return bodies


def test_nothing_is_lost_while_the_release_before_runs_beside_this_one(
    tree: Path,
    shared: dict[str, str],
    tmp_path: Path,
    serving: Callable[[Daphne], Daphne],
    visit: Callable[..., Client],
) -> None:
    before, now = Before(tree, tmp_path / "site.sqlite3", **shared), Daphne(tmp_path / "site.sqlite3", **shared)
    before.manage("migrate", "--verbosity", "0")
    serving(before)
    early = visit(before)
    migrated = Event()
    with ThreadPoolExecutor() as pool:
        pushing = pool.submit(push_while, before, migrated)
        try:
            now.manage("migrate", "--verbosity", "0")
        finally:
            migrated.set()
        pushed = pushing.result()
    assert early.hear_until("migrated") == pushed

    serving(now)
    position = early.position
    late = visit(now, position)
    with ThreadPoolExecutor() as pool:
        sending = [
            *(pool.submit(push_some, before, "http-before"), pool.submit(push_some, now, "http-now")),
            *(pool.submit(say_some, early, "ws-before"), pool.submit(say_some, late, "ws-now")),
        ]
        sent = sorted(body for sender in sending for body in sender.result())
    heard = [early.hear()["body"] for _ in sent]
    assert sorted(heard) == sent
    for client in (late, visit(before, position), visit(now, position)):
        assert [client.hear()["body"] for _ in sent] == heard

    before.stop()
    push(now, "alone")
    assert visit(now, early.position).hear_until("alone") == ["alone"]
