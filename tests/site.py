"""The host site as real processes: a database of its own, servers on it, and commands against it."""

import os
import random
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from tests.kit.forks import Forked, can_fork
from tests.kit.waiting import wait_until

PORT_RANGES, PORTS = 12, 1000
ROOT = Path(__file__).resolve().parent.parent

# What the host site reads. A process of a test sees only those that the test gives it.
SITE_VARIABLES = {
    *("ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "DATABASE_URL", "DEBUG", "DJANGO_SETTINGS_MODULE", "LOG_LEVEL"),
    *("OPEN_DEMO", "PROXIES", "REDIS_LAYER", "REDIS_SENTINEL", "REDIS_URL", "SECRET_KEY", "STATIC_ROOT"),
}
START_SECONDS = 60
STOP_SECONDS = 20


class Site:
    """A database, an environment, and the processes that run on them."""

    root = ROOT  # of the code that runs

    def __init__(self, database: Path, **env: str) -> None:
        self.database = database
        inherited = {name: value for name, value in os.environ.items() if name not in SITE_VARIABLES}
        own = {"DATABASE_URL": f"sqlite:///{database}", "DJANGO_SETTINGS_MODULE": "project.settings"}
        self.env = inherited | own | {"PYTHONUNBUFFERED": "1"} | env
        self.processes: list[subprocess.Popen[str]] = []

    @classmethod
    def migrated(cls, directory: Path) -> Path:
        """Makes a database with all tables and returns its path."""
        database = directory / "migrated.sqlite3"
        cls(database).manage("migrate", "--verbosity", "0")
        return database

    def manage(self, *args: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs `manage.py args`. An exit other than 0 fails the test, unless `check` is off."""
        output = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
        with python(["manage.py", *args], cwd=self.root, env=self.env, **output | options) as process:
            try:
                out, error = process.communicate(timeout=START_SECONDS)
            finally:
                process.kill()
        if check and process.returncode:
            raise AssertionError(f"manage.py {' '.join(args)} ended with {process.returncode}\n{out}{error}")
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)

    def shell(self, code: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs code in a process of the site."""
        return self.manage("shell", "-v", "0", "-c", code, **options)

    def spawn(self, *command: str, **options: Any) -> "subprocess.Popen[str]":
        """Starts a Python program, such as `manage.py broadcast tail`, that runs until it ends or the test does.

        With `is_fresh` it imports all by itself, for what changes the libraries.
        """
        options = {"stdin": subprocess.DEVNULL} | options
        process = python(command, cwd=self.root, env=self.env, **options)
        self.processes.append(process)
        return process

    def end(self) -> None:
        """Ends what still runs: asked first, so that its coverage is written down, and killed if it does not listen."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            with process:  # closes its pipes, and waits
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
        self.processes.clear()


class Daphne(Site):
    """A daphne that serves the site on a port that stays the same when it starts again."""

    application = "project.asgi:application"
    options: tuple[str, ...] = ()

    def __init__(self, database: Path, **env: str) -> None:
        super().__init__(database, **env)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ws_url = f"ws://127.0.0.1:{self.port}/ws"
        self.log_file = database.with_name(f"daphne-{self.port}.log")
        self.log_file.touch()

    @property
    def log(self) -> str:
        """All that the server has said so far, over all its starts."""
        return self.log_file.read_text()

    @property
    def failures(self) -> list[str]:
        """What the log says of failures."""
        return re.findall(r"^.*(?:Traceback|ERROR|CRITICAL|Unhandled|never retrieved).*$", self.log, re.MULTILINE)

    @property
    def process(self) -> "subprocess.Popen[str]":
        """The server's process, running or ended, as of its last start."""
        return self.processes[-1]

    def endpoint(self) -> str:
        return f"tcp:port={self.port}:interface=127.0.0.1:backlog=4096"

    def socket(self) -> socket.socket:
        """A connection to the server."""
        return socket.create_connection(("127.0.0.1", self.port), START_SECONDS)

    def start(self) -> None:
        """Starts the server and returns when it accepts connections."""
        with self.log_file.open("a") as log:
            daphne = ("-m", "daphne", *self.options, "--endpoint", self.endpoint(), self.application)
            process = self.spawn(*daphne, stdout=log, stderr=subprocess.STDOUT)
        wait_until(lambda: process.poll() is not None or self.is_listening(), START_SECONDS)
        assert process.poll() is None, f"daphne did not start:\n{self.log}"

    def is_listening(self) -> bool:
        try:
            self.socket().close()
        except OSError:
            return False
        return True

    def stop(self) -> int:
        """Asks the server to end, as a service manager does. Returns its exit status."""
        self.process.terminate()
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """Ends the server at once, with nothing said to anyone."""
        self.process.kill()
        self.process.wait()


def python(
    arguments: Sequence[str], *, cwd: Path, env: dict[str, str], is_fresh: bool = False, **options: Any
) -> "subprocess.Popen[str]":
    """Starts a Python program."""
    kind = Forked if can_fork(env) and not is_fresh else subprocess.Popen
    return kind([sys.executable, *arguments], cwd=cwd, env=env, text=True, **options)


def free_port() -> int:
    """Finds a port that nobody listens on, below those that the kernel gives to clients.

    A client that keeps trying to reach a stopped server can then never be given the server's own port. Tests that run
    side by side look in ports of their own: what one has found free, another would take before a server listens.
    """
    for port in ports_in_turn():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("There is no port that nobody listens on")


@cache
def ports_in_turn() -> Iterator[int]:
    """The ports of this process: none twice, for who has asked for one may not listen on it yet."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first, begin = 20_000 + worker % PORT_RANGES * PORTS, random.randrange(PORTS)
    return (first + (begin + number) % PORTS for number in count())
