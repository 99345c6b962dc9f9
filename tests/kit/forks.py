"""Processes of Python that begin with other people's libraries imported: forks of one process that imported them once.

To import them takes most of the time that a server needs to start, and the tests start hundreds. Nothing of this
repository is imported before the fork: each process does that itself, in its own environment and directory.
"""

import ctypes
import gc
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

LIBRARIES = (
    *("asyncio", "autobahn.twisted.websocket", "channels.auth", "channels.consumer", "channels.layers"),
    *("channels.routing", "channels.testing", "channels_redis.core", "channels_redis.pubsub"),
    *("confusable_homoglyphs.confusables", "django.contrib.admin.helpers"),
    *("django.contrib.messages.storage.fallback", "django.contrib.staticfiles.handlers", "django.core.asgi"),
    *("django.core.mail", "django.core.management.commands.migrate", "django.core.management.commands.shell"),
    *("django.core.management.commands.check", "django.core.paginator", "django.db.backends.sqlite3.base"),
    *("django.db.migrations.executor", "django.db.models", "django.forms", "django.template.defaulttags"),
    *("django.template.loader_tags", "django.test.signals", "django.views.generic", "environ", "psycopg"),
    *("redis.asyncio", "twisted.internet.asyncioreactor", "twisted.internet.endpoints", "twisted.web.http"),
)
LENGTH = 4  # bytes, of the number that says how long a request is
PR_SET_CHILD_SUBREAPER = 36


class ForkServer:
    """The process that is forked. What it forks is a child of this process, as if this one had started it."""

    def __init__(self) -> None:
        assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
        self.lock = threading.Lock()
        self.control, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-u", str(Path(__file__))]
            os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)])

    def fork(self, arguments: list[str], directory: str, env: dict[str, str], files: list[int]) -> int:
        """Starts `python arguments` with these for its standard input, output and errors. Returns its number."""
        request = json.dumps([arguments, directory, env]).encode()
        with self.lock:
            socket.send_fds(self.control, [len(request).to_bytes(LENGTH)], files)
            self.control.sendall(request)
            number = int.from_bytes(self.control.recv(LENGTH, socket.MSG_WAITALL))
        if not number:
            raise ChildProcessError("The process that is forked has ended: what it said last is on standard error.")
        return number


fork_server = cache(ForkServer)


class Forked(subprocess.Popen[str]):
    """`Popen` of a Python program that need not wait for an interpreter and its libraries."""

    def _execute_child(self, args: Any, *options: Any) -> None:
        preexec, passed, directory, env, pipes = options[1], options[3], options[4], options[5], options[9:15]
        assert (preexec, passed) == (None, ()), "A fork takes no preexec_fn and no pass_fds: start it with is_fresh."
        files = [mine if mine >= 0 else number for number, mine in enumerate((pipes[0], pipes[3], pipes[5]))]
        self.pid = fork_server().fork(args[1:], str(directory), env, files)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def can_fork(env: dict[str, str]) -> bool:
    """False for a program with an interpreter set up in a way of its own."""
    return all(env.get(name) == os.environ.get(name) for name in {*env, *os.environ} if is_of_interpreter(name))


def is_of_interpreter(name: str) -> bool:
    return name.startswith("PYTHON") and name not in ("PYTHONPATH", "PYTHONUNBUFFERED")


# In the process that is forked


def serve(control: socket.socket) -> list[str]:
    """Forks on demand. Returns in each new process, which is one of its own by now: the arguments."""
    while size := int.from_bytes((first := socket.recv_fds(control, LENGTH, 3))[0]):
        arguments, directory, env = json.loads(control.recv(size, socket.MSG_WAITALL))
        files = first[1]
        reader, writer = os.pipe()
        between = os.fork()
        if between == 0:  # it leaves the new process to the one that asked for it
            if (pid := os.fork()) == 0:
                os.close(reader)
                os.close(writer)
                return become(arguments, directory, env, files)
            os.write(writer, pid.to_bytes(LENGTH))
            os._exit(0)
        os.waitpid(between, 0)
        control.sendall(os.read(reader, LENGTH))
        for file in (reader, writer, *files):
            os.close(file)
    os._exit(0)


def become(arguments: list[str], directory: str, env: dict[str, str], files: list[int]) -> list[str]:
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = [directory, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    return arguments


def run(arguments: list[str]) -> None:
    """Does what `python arguments` does."""
    match arguments:
        case ["-m", module, *rest]:
            sys.argv = [module, *rest]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", code, *rest]:
            sys.argv = ["-c", *rest]
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        case [path, *rest]:
            sys.argv = [path, *rest]
            runpy.run_path(path, run_name="__main__")


if __name__ == "__main__":
    sys.path.pop(0)  # this file's directory
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=os.dup(0)) as asked:
        wanted = serve(asked)
    run(wanted)
