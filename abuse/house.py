"""The site that is abused: a database, a daphne on it, and what can be seen of both from outside."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import NamedTuple

from abuse import ARCHIVE, WRITTEN_TO
from abuse.asgi import COUNTS_PATH
from abuse.honest import get
from bench.process import resident_bytes
from tests.services import Postgres
from tests.site import Daphne

LARGE_MESSAGES = 300
FILL = f"""
from broadcast import send_many
send_many(["\\U0001f389" * 4000] * {LARGE_MESSAGES}, group="{ARCHIVE}", data={{"e": "\\xe9" * 8000}})
"""
COUNT_ROWS = """
import json
from django.apps import apps
print(json.dumps({model._meta.db_table: model._base_manager.count() for model in apps.get_models()}))
"""
NAME_GROUPS = """
from broadcast.models import Group
print(json.dumps(list(Group.objects.values_list("name", flat=True))))
"""
FAILURE = re.compile(r"Traceback|ERROR|CRITICAL|Unhandled|never retrieved")
OF_STRANGERS = re.compile(r" ERROR +django\.security\.")  # what Django says of an odd Host, in one line
ACCESS = re.compile(r"^\d+\.\d+\.\d+\.\d+:\d+ - - \[")
LOOK_EVERY = 0.2


class Rows(NamedTuple):
    """How many rows each table has, and which groups have one."""

    counts: dict[str, int]
    groups: set[str]


class LogLines(NamedTuple):
    """What the server's log has: requests, other lines, the longest of each in bytes, and failures."""

    requests: int
    others: int
    longest_request: int
    longest_other: int
    failures: list[str]


class House(Daphne):
    """The site; `memory` is the most that its server had since it was set to 0."""

    application = "abuse.asgi:application"

    def __init__(self, directory: Path, postgres: Postgres | None = None) -> None:
        env = {"DJANGO_SETTINGS_MODULE": "abuse.settings", "DEBUG": "off", "SECRET_KEY": "of-the-tests"}
        env |= {"ALLOWED_HOSTS": "127.0.0.1", "OPEN_DEMO": "off"}
        if postgres is not None:
            env["DATABASE_URL"] = postgres.create_database("abuse")
        super().__init__(directory / "abuse.sqlite3", **env)
        self.env = {name: value for name, value in self.env.items() if not name.startswith("COVERAGE_")}
        self.memory = 0
        self.postgres = postgres

    def open(self) -> Rows:
        """Makes the tables, fills the archive and starts the server; the rows there are."""
        self.manage("migrate", "--verbosity", "0")
        told = self.shell(FILL + COUNT_ROWS + NAME_GROUPS).stdout
        self.start()
        return self._read(told)

    def rows(self) -> Rows:
        return self._read(self.shell(COUNT_ROWS + NAME_GROUPS).stdout)

    def lose_database(self) -> None:
        """Takes the database away from new connections to it."""
        if self.postgres is not None:
            self.postgres.kill()
            return
        self.database.rename(self.database.with_suffix(".away"))
        self.database.mkdir()

    def find_database(self) -> None:
        """Brings it back."""
        if self.postgres is not None:
            self.postgres.start()
            return
        self.database.rmdir()
        self.database.with_suffix(".away").rename(self.database)

    @staticmethod
    def _read(told: str) -> Rows:
        counts, groups = told.strip().splitlines()[-2:]
        return Rows(json.loads(counts), set(json.loads(groups)))

    async def watch_memory(self) -> None:
        while self.process.poll() is None:
            self.memory = max(self.memory, resident_bytes(self.process.pid))
            await asyncio.sleep(LOOK_EVERY)

    async def counts(self) -> dict[str, int]:
        """What has reached the server so far: frames, handshakes, requests."""
        _, body = await get(self.port, COUNTS_PATH)
        counts: dict[str, int] = json.loads(body)
        return counts

    def log_lines(self) -> LogLines:
        lines = self.log_file.read_bytes().decode(errors="replace").split("\n")
        requests = [len(line) for line in lines if ACCESS.match(line)]
        others = [len(line) for line in lines if line and not ACCESS.match(line)]
        failures = [line for line in lines if is_failure(line)]
        return LogLines(len(requests), len(others), max(requests, default=0), max(others, default=0), failures)


def is_failure(line: str) -> bool:
    return bool(FAILURE.search(line)) and not ACCESS.match(line) and not OF_STRANGERS.search(line)


def made_by_reading(before: Rows, after: Rows) -> set[str]:
    """The groups that have a row, though nobody wrote to them."""
    return after.groups - before.groups - WRITTEN_TO


def new_rows(before: Rows, after: Rows) -> dict[str, int]:
    return {table: more for table, count in after.counts.items() if (more := count - before.counts.get(table, 0))}
