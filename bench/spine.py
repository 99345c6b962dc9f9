"""The spine of one message: every call of the app from ``send("hi")`` in a view until its bytes are with the kernel.

    python -m bench.spine [--project DIR] [--ground]

Serves the site in DIR with a real daphne in this process, connects one client and prints the calls in order, then
how many there were, of how many functions, in how many files. Calls into settings and names (the ground floor) are
counted with ``--ground`` only.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import socket
import sys
import tempfile
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

GROUND = ("conf.py", "exceptions.py", "groups.py", "models.py")
COMPREHENSIONS = ("<genexpr>", "<listcomp>", "<dictcomp>", "<setcomp>")
WARM_UP = 5  # messages sent before the one that is traced


class Spine:
    """The calls that two threads make: the sender's, and the event loop's until the kernel has the bytes."""

    def __init__(self, package: Path, with_ground: bool) -> None:
        self.package = str(package) + os.sep
        self.with_ground = with_ground
        self.calls: list[tuple[str, str]] = []
        self.sent = threading.Event()

    def trace(self, frame: types.FrameType, event: str, arg: Any) -> None:
        """A profile function, as ``sys.setprofile`` takes it."""
        code = frame.f_code
        if not code.co_filename.startswith(self.package):
            return
        if event == "c_call" and getattr(arg, "__name__", "") == "send" and isinstance(arg.__self__, socket.socket):
            sys.setprofile(None)
            self.sent.set()
        elif event == "call" and code.co_name not in COMPREHENSIONS:
            file = code.co_filename.removeprefix(self.package)
            if self.with_ground or file not in GROUND:
                self.calls.append((file, code.co_qualname if hasattr(code, "co_qualname") else code.co_name))

    def report(self) -> str:
        lines = []
        before = ""
        for file, name in self.calls:
            lines.append(f"{file if file != before else '':40} {name}")
            before = file
        functions, files = len(set(self.calls)), len({file for file, _ in self.calls})
        changes = sum(a[0] != b[0] for a, b in zip(self.calls, self.calls[1:], strict=False))
        total = f"{len(self.calls)} calls of {functions} functions in {files} files, {changes} changes of file"
        return "\n".join([*lines, total])


def site_with(view: Callable[[Any], Any]) -> Any:
    """The ASGI application of the site in the current directory, migrated, with ``view`` at ``/spine``."""
    folder = tempfile.mkdtemp()
    os.environ |= {"DATABASE_URL": f"sqlite:///{folder}/db.sqlite3", "DJANGO_SETTINGS_MODULE": "project.settings"}
    from django.conf import settings

    settings.BROADCAST = {**settings.BROADCAST, "POLL_INTERVAL": 3600}
    import django

    django.setup()
    from django.core.management import call_command
    from django.urls import path

    call_command("migrate", verbosity=0)
    from project import urls

    urls.urlpatterns.insert(0, path("spine", view))
    from project.asgi import application

    return application


def connected(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    key = base64.b64encode(os.urandom(16)).decode()
    headers = (
        *("GET /ws HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"),
        *("Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Protocol: broadcast.v1"),
    )
    client.sendall("".join(f"{line}\r\n" for line in (*headers, "")).encode())
    heard = b""
    while b"Welcome!" not in heard:
        heard += client.recv(4096)
    return client


def requested(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"GET /spine HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while client.recv(4096):
            pass


def measure(with_ground: bool) -> Spine:
    sys.path.insert(0, os.getcwd())
    spine = Spine(Path("broadcast").resolve(), with_ground)
    is_traced = False
    loop: Any = None

    def view(request: Any) -> Any:
        from django.http import HttpResponse

        from broadcast import send

        if is_traced:
            ready = threading.Event()
            loop.call_soon_threadsafe(sys.setprofile, spine.trace)
            loop.call_soon_threadsafe(ready.set)
            ready.wait()
            sys.setprofile(spine.trace)
        send("hi")
        sys.setprofile(None)
        return HttpResponse("")

    application = site_with(view)
    from daphne.endpoints import build_endpoint_description_strings
    from daphne.server import Server
    from twisted.internet import reactor

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def drive() -> None:
        nonlocal is_traced
        client = connected(port)
        for _ in range(WARM_UP):
            requested(port)
            client.recv(4096)
        is_traced = True
        requested(port)
        spine.sent.wait(10)
        reactor.callFromThread(reactor.stop)  # type: ignore[misc]

    endpoints = build_endpoint_description_strings(host="127.0.0.1", port=port)
    driver = threading.Thread(target=drive)

    def ready() -> None:
        nonlocal loop
        loop = asyncio.get_event_loop_policy().get_event_loop()
        driver.start()

    Server(application, endpoints=endpoints, signal_handlers=False, ready_callable=ready).run()
    driver.join()
    return spine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, default=Path(), help="a checkout with the host site")
    parser.add_argument("--ground", action="store_true", help="count the ground floor too")
    given = parser.parse_args()
    os.chdir(given.project)
    print(measure(given.ground).report())


if __name__ == "__main__":
    main()
