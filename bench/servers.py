"""The measured servers: each one a process of its own, started afresh on a free loopback port."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from bench.cores import OF_SERVERS, keep_to
from bench.databases import KINDS, Databases
from bench.link import Link
from bench.rows import ROOT, Row
from tests.services import Missing

BACKLOG = 1024
START_SECONDS = 60
STOP_SECONDS = 10
LONG = "86400"  # seconds: without pings every byte that a client gets is a message
ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "bench.served.settings",
    "DEBUG": "off",
    "OPEN_DEMO": "on",
    "SECRET_KEY": "measured on loopback only",
    "REDIS_URL": "",
    "ALLOWED_HOSTS": "127.0.0.1",
}


class CannotStart(Exception):
    """A server that does not run on this machine."""


class Workshop:
    """A directory for the databases, logs and programs of one run, removed at its end."""

    def __init__(self) -> None:
        self.path = Path(mkdtemp(prefix="broadcast-bench-"))
        self._ending = ExitStack()

    def __enter__(self) -> Workshop:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()
        shutil.rmtree(self.path)

    @cache  # noqa: B019 (a run has one workshop)
    def stage(self, project: Path) -> Path:
        """A directory in which Python finds this benchmark beside the app and the host site of a checkout."""
        stage = Path(mkdtemp(prefix="stage-", dir=self.path))
        (stage / "bench").symlink_to(ROOT / "bench")
        for name in ("broadcast", "project"):
            (stage / name).symlink_to(project.resolve() / name)
        return stage

    @cache  # noqa: B019
    def databases(self, kind: str) -> Databases:
        """Where databases of a kind are made, until the run ends."""
        directory = Path(mkdtemp(prefix=f"{kind}-", dir=self.path))
        self.path.chmod(0o755)
        try:
            databases = KINDS[kind](directory)
        except Missing as missing:
            raise CannotStart(str(missing)) from None
        self._ending.callback(databases.close)
        return databases

    @cache  # noqa: B019
    def prepared(self, project: Path, kind: str, users: int) -> str:
        """The address of a database with all tables, and with so many users who are signed in, to be copied."""
        stage, url = self.stage(project), self.databases(kind).make()
        env = os.environ | ENVIRONMENT | {"DATABASE_URL": url}
        finish([sys.executable, "-m", "django", "migrate", "--skip-checks", "--verbosity", "0"], stage, env)
        if users:
            finish([sys.executable, "-m", "bench.served.population", str(users)], stage, env)
        return url

    @cache  # noqa: B019
    def compiled(self) -> Path:
        """The C program."""
        compiler = shutil.which("cc")
        if compiler is None:
            raise CannotStart("needs a C compiler (cc)")
        program = self.path / "loop"
        source = ROOT / "bench" / "served" / "loop.c"
        finish([compiler, "-O2", "-o", str(program), str(source)], self.path, dict(os.environ))
        return program


def finish(command: list[str], cwd: Path, env: dict[str, str]) -> None:
    """Runs a command that servers need done before they start."""
    done = subprocess.run(command, cwd=cwd, env=env, stderr=subprocess.PIPE, text=True)  # noqa: S603
    if done.returncode:
        raise CannotStart(f"{command[0]} failed:\n{done.stderr.strip()}")


class Program:
    """A process that listens on a port."""

    def __init__(self, command: list[str], cwd: Path, log: Path, env: dict[str, str]) -> None:
        self.log = log
        with log.open("wb") as said:
            self.process = subprocess.Popen(  # noqa: S603
                command, cwd=cwd, env=os.environ | env, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
        keep_to(OF_SERVERS, self.pid)

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_for(self, port: int) -> None:
        """Returns when the port is listened to."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise CannotStart(f"did not start:\n{self.log.read_text(errors='replace')}") from None
            time.sleep(0.02)

    def kill(self) -> None:
        """Ends the process at once, with nothing said to anyone."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Server:
    """A running row: its process, its port, and the control connection.

    ``pings`` is daphne's default of one every 20 seconds; ``product_limits`` are those of the app. There are ``users``
    who are signed in; and queries are counted where ``counts_queries`` is on, which takes time.
    """

    def __init__(
        self,
        row: Row,
        workshop: Workshop,
        pings: bool = False,
        product_limits: bool = False,
        users: int = 0,
        counts_queries: bool = False,
    ) -> None:
        self.row = row
        self.env: dict[str, str] | None = None
        self.port = free_port()
        self._workshop = workshop
        self._pings = pings
        self._product_limits = product_limits
        self._users = users
        self._counts_queries = counts_queries
        self._open = ExitStack()

    def __enter__(self) -> Server:
        with ExitStack() as opening:
            if self.env is None:
                self.env = self._environment(opening)
            program = Program(self._command(), self._workshop.stage(self.row.project), self._log("server"), self.env)
            opening.callback(program.stop)
            program.wait_for(self.port)
            self.pid, self.kill = program.pid, program.kill
            self.control = opening.enter_context(Link(self.port, "/bench"))
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def another(self) -> Server:
        """One more process of this row, on the same database and the same Redis."""
        other = self.twin()
        other.env = self.env
        return other

    def twin(self) -> Server:
        """A server of the same kind that has nothing to do with this one."""
        return Server(self.row, self._workshop, self._pings, self._product_limits, self._users, self._counts_queries)

    def complaint(self) -> str:
        """The last error in the server's log, as far as there is one."""
        log = self._log("server")
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return next((f" ({line})" for line in reversed(lines) if " ERROR " in line), "")

    def _log(self, name: str) -> Path:
        return self._workshop.path / f"{self.row.key}-{self.port}-{name}.log"

    def _command(self) -> list[str]:
        port = str(self.port)
        if self.row.application == "c":
            return [str(self._workshop.compiled()), port, str(BACKLOG)]
        if self.row.application == "websockets":
            return [sys.executable, "-m", "bench.served.websockets_server", port, str(BACKLOG)]
        if self.row.server != "daphne":
            return [sys.executable, "-m", "bench.served.other_servers", self.row.server, port, str(BACKLOG)]
        endpoint = f"tcp:port={port}:interface=127.0.0.1:backlog={BACKLOG}"
        pings = [] if self._pings else ["--ping-interval", LONG]
        return [sys.executable, "-m", "daphne", *pings, "--endpoint", endpoint, "bench.served.asgi:application"]

    def _environment(self, opening: ExitStack) -> dict[str, str]:
        if not self.row.is_django:
            return {}
        kind = self.row.database
        database = self._workshop.databases(kind).copy(self._workshop.prepared(self.row.project, kind, self._users))
        env = ENVIRONMENT | {"DATABASE_URL": database, "BENCH_APPLICATION": self.row.application}
        if self.row.site:
            env["BENCH_BROADCAST"] = self.row.site
        if self._product_limits:
            env["BENCH_PRODUCT_LIMITS"] = "on"
        if self._counts_queries:
            env["BENCH_COUNTS"] = "on"
        if self.row.layer != "memory":
            env |= {"REDIS_URL": self._redis(opening), "REDIS_LAYER": self.row.layer}
        return env

    def _redis(self, opening: ExitStack) -> str:
        program = shutil.which("redis-server")
        if program is None:
            raise CannotStart("needs redis-server")
        port = free_port()
        keep_nothing = ["--save", "", "--appendonly", "no"]
        command = [program, "--bind", "127.0.0.1", "--port", str(port), *keep_nothing]
        redis = Program(command, self._workshop.path, self._log("redis"), {})
        opening.callback(redis.stop)
        redis.wait_for(port)
        return f"redis://127.0.0.1:{port}/0"


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel gives to clients."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
