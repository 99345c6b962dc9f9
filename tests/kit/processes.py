"""Threads and processes that use the test's own database."""

import os
import subprocess
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.db import connection, connections

from tests.site import Site

SECONDS = 60


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Starts all calls at the same moment, each in a thread of its own; what each returned or raised."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        try:
            start.wait(SECONDS)
            return call()
        except Exception as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(SECONDS) for future in [pool.submit(run, call) for call in calls]]


def elsewhere(call: Callable[[], Any]) -> Any:
    """What a call returns or raises in another thread, on a connection of its own."""
    return together(call)[0]


def database_url() -> str:
    """The test's own database, for other processes."""
    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{settings['NAME']}"
    credentials = f"{quote(settings['USER'])}:{quote(settings['PASSWORD'])}"
    return (
        f"{connection.vendor}://{credentials}@{quote(settings['HOST'], safe='')}:{settings['PORT']}/{settings['NAME']}"
    )


def python(code: str, **env: str) -> "subprocess.Popen[str]":
    """Starts a process of the host site, on the test's own database, that runs ``code``."""
    site = Site(
        Path(os.devnull), **{"DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "project.settings"} | env
    )
    set_up = "import django\ndjango.setup()\nfrom broadcast import send, send_many\n"
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return site.spawn("-c", set_up + textwrap.dedent(code), **pipes)


def ended(process: "subprocess.Popen[str]", status: int = 0) -> str:
    """Waits for a process to end, expects its status, and returns what it printed."""
    try:
        out, error = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == status, error
    return out
