"""Real servers for tests, on free loopback ports and in a directory of their own, thrown away at the end."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import pytest

from tests.site import free_port

START_SECONDS = 60
STOP_SECONDS = 20
LOOK_EVERY = 0.02
MOST_SAID = 4000  # characters of a log that an error quotes


class Missing(Exception):
    """A program that is not installed on this machine."""


def do_without(missing: str) -> NoReturn:
    """Skips the test; where `CI` is set, fails it."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)


class Service(ABC):
    """One server process, which can be stopped, killed, paused and started again on the same port.

    What it says goes into a file in `directory`, over all its starts.
    """

    name = "service"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.log_file = directory / f"{self.name}-{self.port}.log"

    @abstractmethod
    def command(self) -> list[str]:
        """The program that serves, and its arguments."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it serves by now."""

    def options(self) -> dict[str, Any]:
        """How the process is started: `Popen`'s environment, directory and user."""
        return {}

    def start(self) -> None:
        """Starts the server and returns when it is ready."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, **self.options()
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{self.name} did not start: …{self.log_file.read_text()[-MOST_SAID:]}")
            time.sleep(LOOK_EVERY)

    def stop(self) -> None:
        """Asks the server to end and waits until it has; one that does not end is killed."""
        if self.process is None:
            return
        self.resume()
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Ends the server at once, with nothing said to anyone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def pause(self) -> None:
        """Stops the clock of the server: its sockets stay open, and nothing is answered until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kills the server and starts it again."""
        self.kill()
        self.start()

    def _signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


class Redis(Service):
    """A Redis that keeps nothing on disk unless it is asked to."""

    name = "redis"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        where = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(self.directory)}
        what = {"save": "", "appendonly": "no", "dbfilename": self._dump.name}
        options = (word for key, value in (where | what).items() for word in (f"--{key}", value))
        return [program("redis-server"), *options]

    def is_ready(self) -> bool:
        try:
            return self.ask("PING") == b"+PONG"
        except OSError:
            return False

    def ask(self, command: str) -> bytes:
        """Sends one inline command and returns the first line of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=STOP_SECONDS) as connection:
            connection.sendall(command.encode() + b"\r\n")
            return connection.makefile("rb").readline().rstrip()

    def restart(self, empty: bool = True) -> None:
        """Kills the server and starts it again, with nothing in it or with what it had."""
        self._dump.unlink(missing_ok=True)
        if not empty:
            self.ask("SAVE")
        super().restart()

    @property
    def _dump(self) -> Path:
        return self.directory / f"redis-{self.port}.rdb"


class Postgres(Service):
    """A PostgreSQL cluster with the superuser `postgres` and no passwords. It is not synced to disk.

    As root the server runs as another user, for it refuses root.
    """

    name = "postgres"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.data = directory / f"postgres-{self.port}"

    @property
    def url(self) -> str:
        """The address of the cluster's own database, as `DATABASE_URL` has it."""
        return self.database_url("postgres")

    def database_url(self, name: str) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/{name}"

    def create_database(self, name: str) -> str:
        """Makes an empty database and returns its address."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.database_url(name)

    def command(self) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "fsync": "off",  # the machine does not fail, only processes do
            "full_page_writes": "off",
        }
        arguments = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        return [postgres_program("postgres"), "-D", str(self.data), *arguments]

    def options(self) -> dict[str, Any]:
        env = {**os.environ, "LC_ALL": "C"}
        if os.geteuid() != 0:
            return {"env": env}
        user = unprivileged_user()
        return {"env": env, "user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def start(self) -> None:
        """Starts the server, on its first start with a new cluster, and returns when it is ready."""
        if not self.data.exists():
            self._make_cluster()
        super().start()

    def kill(self) -> None:
        """Ends the server at once (an immediate shutdown): what was not committed is lost, sessions drop."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """Rolls back what is under way and ends (a fast shutdown)."""
        self._end(signal.SIGINT)

    def _end(self, number: int) -> None:
        self.resume()
        self._signal(number)
        if self.process is not None:
            self.process.wait(STOP_SECONDS)

    def is_ready(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _signal(self, number: int) -> None:
        """Reaches every process of the server when it is to stop or to go on."""
        is_clock = number in (signal.SIGSTOP, signal.SIGCONT)
        if is_clock and self.process is not None and self.process.poll() is None:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
            for pid in children.split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), number)
        super()._signal(number)

    def _make_cluster(self) -> None:
        options = self.options()
        self.data.mkdir(mode=0o700)
        if "user" in options:
            os.chown(self.data, options["user"], options["group"])
        where = ("--pgdata", str(self.data), "--username", "postgres")
        how = ("--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
        command = [postgres_program("initdb"), *where, *how]
        subprocess.run(command, check=True, capture_output=True, cwd=self.directory, **options)


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise Missing(f"needs {name}, which is not on the PATH")
    return path


def postgres_program(name: str) -> str:
    """A program of the newest PostgreSQL here; Debian keeps the server's off the PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return str(versions[-1]) if versions else program(name)


def unprivileged_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def services_directory() -> Path:
    """A new directory that a server which runs as another user can enter."""
    directory = Path(tempfile.mkdtemp(prefix="broadcast-services-"))
    directory.chmod(0o755)
    return directory


def throwaway(kind: Callable[[Path], Service]) -> Iterator[Any]:
    """A server for as long as the tests run. Without its program they are skipped; where `CI` is set, they fail."""
    directory = services_directory()
    service = kind(directory)
    try:
        service.start()
    except Missing as missing:
        shutil.rmtree(directory)
        do_without(str(missing))
    yield service
    service.stop()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """A Redis of these tests' own: `.url`, `.kill()`, `.pause()`, `.resume()`, `.restart(empty=True)`."""
    yield from throwaway(Redis)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL of these tests' own: `.url`, `.create_database(name)`, `.kill()`, `.pause()`, `.resume()`, …"""
    yield from throwaway(Postgres)
