"""The system that the engine runs on: clocks, chance, new names, threads. A simulation brings one of its own.

The engine asks for them here and nowhere else; lint finds new direct uses. What waits in an event loop goes by that
loop's clock. Locks of ``threading`` are used as they are: who holds one waits for nobody.
"""

from __future__ import annotations

import atexit
import os
import random
import secrets
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone


def one_thread(name: str) -> Executor:
    """One thread that runs what it is given, in order."""
    return ThreadPoolExecutor(1, name)


def token() -> str:
    """Twelve characters that nobody can guess."""
    return secrets.token_urlsafe(9)


def start_thread(target: Callable[[], None], name: str, daemon: bool) -> None:
    """Raises RuntimeError where no thread can be started."""
    threading.Thread(target=target, name=name, daemon=daemon).start()


def greenlet_library() -> str:
    """The library that has made greenlets of the threads of this process; "" where a thread is a thread.

    A loop of asyncio in such a "thread" counts as running for all code of the process, and Django then refuses every
    query. A real thread beside greenlets is no safe way out: the locks of imports are greenlets' too, and with gevent
    26 imports of both were seen to wait for each other for ever, and the whole process with them.
    """
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent is not None and gevent.is_module_patched("threading"):
        return "gevent"
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        return "eventlet"
    return ""


def is_under_test() -> bool:
    """True in a test run, from Django's ``setup_test_environment()`` on."""
    state = getattr(sys.modules.get("django.test.utils"), "_TestState", None)
    return hasattr(state, "saved_data")


def after_fork(function: Callable[[], None]) -> None:
    """Calls ``function`` in every child of this process, where the system has forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def at_exit(function: Callable[[], None]) -> None:
    atexit.register(function)


@dataclass(frozen=True)
class System:
    """The functions by which the engine asks its surroundings; by default those of this machine and this Python."""

    monotonic: Callable[[], float] = time.monotonic  # seconds of a clock that never goes back
    now: Callable[[], datetime] = timezone.now
    sleep: Callable[[float], None] = time.sleep  # blocks this thread, for so many seconds
    uniform: Callable[[float, float], float] = random.uniform
    uuid: Callable[[], uuid.UUID] = uuid.uuid4
    token: Callable[[], str] = token
    executor: Callable[[str], Executor] = one_thread
    start_thread: Callable[[Callable[[], None], str, bool], None] = start_thread  # target, name, whether a daemon
    event: Callable[[], threading.Event] = threading.Event  # for which a thread may wait long
    greenlet_library: Callable[[], str] = greenlet_library
    is_under_test: Callable[[], bool] = is_under_test
    hint_ways: Callable[[Any], Sequence[Any]] | None = None  # of a process, instead of those of this machine
    after_fork: Callable[[Callable[[], None]], None] = after_fork
    at_exit: Callable[[Callable[[], None]], None] = at_exit
