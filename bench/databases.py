"""The databases of a run: one is made for each kind of server, and each server is given a copy of it."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path
from typing import Protocol

import psycopg

from bench.cores import OF_SERVERS, keep_to
from tests.services import Postgres


class Databases(Protocol):
    """A place where databases are made, each known by its address."""

    def make(self) -> str: ...
    def copy(self, url: str) -> str: ...
    def close(self) -> None: ...


class SqliteFiles:
    """SQLite files in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = count()

    def make(self) -> str:
        return f"sqlite:///{self._directory / f'{next(self._numbers)}.sqlite3'}"

    def copy(self, url: str) -> str:
        copied = self.make()
        shutil.copy(url.removeprefix("sqlite:///"), copied.removeprefix("sqlite:///"))
        return copied

    def close(self) -> None:
        """Does nothing: the files go with their directory."""


class PostgresCluster:
    """A PostgreSQL of the run's own on the servers' cores, not synced to disk."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o755)  # the server runs as another user where this is root
        self._postgres = Postgres(directory)
        self._postgres.start()
        if self._postgres.process:
            keep_to(OF_SERVERS, self._postgres.process.pid)
        self._numbers = count()

    def make(self) -> str:
        return self._postgres.create_database(f"bench{next(self._numbers)}")

    def copy(self, url: str) -> str:
        name = f"bench{next(self._numbers)}"
        with psycopg.connect(self._postgres.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{url.rpartition("/")[2]}"'.encode())
        return self._postgres.database_url(name)

    def close(self) -> None:
        self._postgres.stop()


KINDS: dict[str, type[SqliteFiles] | type[PostgresCluster]] = {"sqlite": SqliteFiles, "postgres": PostgresCluster}
