"""The system that the engine runs on: clocks, chance, new names, threads. A simulation brings one of its own.

What waits in an event loop goes by that loop's clock; everything else in the engine comes through here.
"""

from __future__ import annotations

import atexit
import os
import random
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import datetime

from django.utils import timezone


class System:
    """The real one: this machine and this Python."""

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back."""
        return time.monotonic()

    def now(self) -> datetime:
        """The time of day, as Django gives it to the site."""
        return timezone.now()

    def sleep(self, seconds: float) -> None:
        """Blocks this thread."""
        time.sleep(seconds)

    def uniform(self, low: float, high: float) -> float:
        return random.uniform(low, high)

    def uuid(self) -> uuid.UUID:
        return uuid.uuid4()

    def token(self) -> str:
        """Twelve characters that nobody can guess."""
        return secrets.token_urlsafe(9)

    def executor(self, name: str) -> Executor:
        """One thread that runs what it is given, in order."""
        return ThreadPoolExecutor(1, name)

    def start_thread(self, target: Callable[[], None], name: str, daemon: bool) -> threading.Thread:
        """Raises RuntimeError where no thread can be started."""
        thread = threading.Thread(target=target, name=name, daemon=daemon)
        thread.start()
        return thread

    def after_fork(self, function: Callable[[], None]) -> None:
        """Calls ``function`` in every child of this process, where the system has forks."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=function)

    def at_exit(self, function: Callable[[], None]) -> None:
        atexit.register(function)
