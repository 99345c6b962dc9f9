"""Each test begins like a process that has just been started."""

from collections.abc import Iterator

import pytest
from asgiref.sync import SyncToAsync
from django.db import connections

from broadcast.engine.process import this_process


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    this_process.reset()
    yield
    this_process.hints.flush()
    # The thread in which async tests use the database outlives them; its connection need not.
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()
