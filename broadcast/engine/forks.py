"""What a process that was forked must not share with its parent: locks, threads, its name."""

from __future__ import annotations

import os
from collections.abc import Callable


def after_fork(function: Callable[[], None]) -> None:
    """Calls ``function`` in every child of this process, where the system has forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
