"""Which cores are whose: the load client has one to itself, and the servers have the others.

Else the kernel, which runs a woken process where it was woken, has the client take turns with the server, and a figure
is the time of both.
"""

from __future__ import annotations

import os

CORES = sorted(os.sched_getaffinity(0))
OF_CLIENT = {CORES[-1]}
OF_SERVERS = set(CORES[:-1]) or OF_CLIENT


def keep_to(cores: set[int], pid: int = 0) -> None:
    """Keeps a process, or this one, and whatever it starts from now on to some cores."""
    os.sched_setaffinity(pid, cores)
