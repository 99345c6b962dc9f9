"""The host site as it is simulated."""

import atexit
import os
import tempfile
from pathlib import Path
from typing import Any

from project.settings import *  # noqa: F403
from project.settings import DATABASES

NAMES = ("a", "b", "c")  # of groups
BROADCAST: dict[str, Any] = {  # type: ignore[no-redef]
    "GROUPS": {
        **{name: {"subscribe": "anyone", "publish": "anyone"} for name in NAMES},
        "c": {"subscribe": "anyone", "publish": "anyone", "keep_messages": 12},  # of which something is gone, soon
    },
    "MESSAGE_RATE": 1000,
}
LOGGING_CONFIG = None
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    memory = Path("/dev/shm")
    directory = memory if memory.is_dir() and os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    DATABASES["default"] |= {
        "NAME": directory / f"broadcast-simulation-{os.getpid()}.sqlite3",
        # Who waits for a lock waits in virtual time.
        "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;", "timeout": 0},
    }


def make_database() -> None:
    """Each process has a database of its own; that of SQLite comes into being by itself, and ends with the process."""
    database = DATABASES["default"]
    if database["ENGINE"] == "django.db.backends.sqlite3":
        for suffix in ("", "-wal", "-shm"):
            atexit.register(Path(f"{database['NAME']}{suffix}").unlink, missing_ok=True)
        return
    from tests.simulation.postgresql import create

    create(database)
